"""Receipts of stored clips, given out once their ciphertext was read back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from dockd.base.clock import Clock
from dockd.base.errors import ClocksDifferError, HistoryForkedError, UploadDamagedError
from dockd.evidence.statements import JournalHead, Manifest, statement_sha256
from dockd.receiver.core.errors import Reason, RefusedError
from dockd.receiver.core.faults import Faults
from dockd.receiver.core.underway import UnderWay
from dockd.receiver.core.verifier import Verification, Verifier
from dockd.receiver.core.waiting import wait_for
from dockd.receiver.core.workers import Workers
from dockd.receiver.index.anchors import Anchors
from dockd.receiver.store.protocol import Store

QUEUE_SECONDS = 30
"""When to ask again for a clip whose station has too many waiting to be read back."""
MAX_LISTED = 100
"""Receipts of one clip that are returned at once."""


@dataclass(frozen=True)
class Held:
    """A receipt, and when its ciphertext was last read back."""

    receipt: str
    read_at: datetime


@dataclass(frozen=True)
class Wait:
    """The clip is here, and its bytes still have to be read back."""

    seconds: int
    """When to ask again."""


class ReceiptDesk:
    """Answers questions for receipts and anchors."""

    def __init__(
        self,
        store: Store,
        anchors: Anchors,
        under_way: UnderWay,
        verifier: Verifier,
        faults: Faults,
        workers: Workers,
        clock: Clock,
    ) -> None:
        self._store = store
        self._anchors = anchors
        self._under_way = under_way
        self._verifier = verifier
        self._faults = faults
        self._workers = workers
        self._clock = clock

    async def check_history(self, manifest: Manifest, token: str) -> None:
        """Check that a manifest continues what its station signed before.

        Raises:
            HistoryForkedError: it contradicts that.
        """
        await self._workers.ask(self._anchors.check, manifest, token)

    async def newest_anchor(self, kid: str) -> JournalHead | None:
        """Return the newest anchor of a station's key, if there is one."""
        return await self._workers.ask(self._anchors.newest, kid)

    async def receipt(self, manifest: Manifest, token: str, wait: float) -> Held | Wait:
        """Return the receipt of the upload that a manifest brought, once it is read back.

        Args:
            manifest: the manifest, checked.
            token: its compact form.
            wait: seconds to wait for a verification that runs.

        Raises:
            RefusedError: the clip has to be uploaded, or the disk failed in verification.
            ClocksDifferError, HistoryForkedError: no receipt can be signed.
            OSError: the disk failed.
        """
        await self.check_history(manifest, token)
        deadline = self._clock.monotonic() + wait
        sha256 = statement_sha256(token)
        while True:
            copy = await self._workers.ask(self._store.find, manifest, token)
            read_at = self._verifier.read_at(sha256)
            if copy is not None and copy.receipt is not None and read_at is not None:
                return Held(copy.receipt, read_at)
            verification: Verification | None
            if (upload := self._under_way.arrived(token)) is not None:
                verification = self._verifier.finish(upload)
            elif copy is not None:
                verification = self._verifier.confirm(copy)
            else:
                raise RefusedError(Reason.NOT_STORED, "it has to be uploaded")
            if verification is None:
                return Wait(QUEUE_SECONDS)
            left = max(deadline - self._clock.monotonic(), 0)
            await wait_for(verification, left, self._under_way.stopping)
            if self._under_way.stopping.is_set() or not verification.done():
                return Wait(1)
            self._raise_failure(verification)

    def _raise_failure(self, verification: Verification) -> None:
        match verification.result():
            case None:
                pass
            case HistoryForkedError() | ClocksDifferError() as error:
                raise error
            case UploadDamagedError() as error:
                detail = f"{error.detail}; it has to be uploaded again"
                raise RefusedError(Reason.NOT_STORED, detail, hint=error.hint)
            case failure:
                raise self._faults.refused(failure)

    async def stored(
        self, clip_id: str, of: Callable[[str], bool] = lambda _station: True
    ) -> list[tuple[str, str]]:
        """Return a clip's newest receipts, newest first, each with the name of its station.

        Args:
            clip_id: which clip.
            of: whether a station's receipts are wanted, by its name.
        """

        def read() -> list[tuple[str, str]]:
            wanted = (one for one in self._store.receipts(clip_id) if of(one[0].id))
            return [(station.id, token) for station, token in islice(wanted, MAX_LISTED)]

        return await self._workers.ask(read)
