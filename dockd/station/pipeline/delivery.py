"""Delivers one clip: asks for its receipt, uploads its ciphertext, keeps its receipt."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import NoReturn

from dockd.base.clock import Clock
from dockd.base.concurrency import finished, to_the_end
from dockd.base.errors import (
    ReceiptRefusedError,
    RejectedError,
    SpoolDamagedError,
    SpoolError,
    TransientError,
)
from dockd.station import events
from dockd.station.events import SealedFields
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Clip
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.confirming import Confirmations, Confirmed
from dockd.station.spool import Spool, check_ciphertext
from dockd.station.targets import NotStored, Sealed, Target, Verifying

PATIENCE = 300.0
"""Seconds that a target may take to read a clip back before that is reported."""
_SHORTEST_WAIT = 1.0
"""Seconds between two requests for one receipt, at least; they grow with the time waited."""


@dataclass(frozen=True)
class Means:
    """What every delivery uses."""

    ledger: Ledger
    spool: Spool
    target: Target
    clock: Clock
    activity: Activity
    confirmations: Confirmations


class Delivery:
    """The delivery of one clip, over all attempts."""

    def __init__(self, clip: Clip, means: Means) -> None:
        self.clip = clip
        self.settled = False
        """Whether its receipt is in the ledger."""
        self.under_way: asyncio.Future[float | None] | None = None
        """The current attempt."""
        self.failing_since: int | None = None
        """The target's count of successes when attempts began to fail; None: they don't fail."""
        self.failures = 0
        """Consecutive failures that only this clip has."""
        self.at_least: float | None = None
        """Seconds of the current pause that are kept when the target is up again; None: all."""
        self._means = means
        self._url = clip.upload_url
        self._sent = 0
        self._furthest = 0
        self._verifying_since: float | None = None

    @property
    def about(self) -> SealedFields:
        """The fields that identify the clip in the log."""
        return {**self.clip.about, "clip_id": str(self.clip.clip_id)}

    def break_off(self) -> None:
        """Cancel the current attempt, if there is one."""
        if self.under_way is not None:
            self.under_way.cancel()

    def start_anew(self) -> None:
        """Upload from the start, as the ledger has dropped what was sent."""
        self._url = None
        self.break_off()

    def progressed(self) -> bool:
        """Return whether the last attempt got further than those before it."""
        further = self._sent > self._furthest
        self._furthest = max(self._sent, self._furthest)
        if further:
            self.failing_since = None
            self.failures = 0
        return further

    async def attempt(self) -> float | None:
        """Upload the clip and get its receipt, if the target gives receipts.

        Returns:
            None when done; while the target reads the clip back, the seconds after which to
            ask again.

        Raises:
            TransientError, ReceiptRefusedError, SpoolError, LedgerError: to be retried.
            RejectedError: permanently rejected by the server.
            SpoolDamagedError: the ciphertext is missing or damaged.
        """
        clip, target = self.clip, self._means.target
        sealed = Sealed.of(clip, self._means.spool.path(str(clip.ciphertext_sha256)))
        await to_the_end(self._means.ledger.uploads.begin, clip)
        answer = await self._ask(sealed)
        if isinstance(answer, NotStored):
            await self._send(sealed)
            if not target.gives_receipts:
                return None
            answer = await self._ask(sealed)
        if isinstance(answer, Verifying):
            return self._ask_again_in(answer.retry_after)
        self._verifying_since = None
        match answer:
            case Confirmed():
                await finished(self._keep(answer))
            case NotStored():
                await self._look_for_damage(sealed)
        return None

    def _ask_again_in(self, wanted: float) -> float:
        """Return the seconds until a receipt that is not ready is asked for again.

        Raises:
            TransientError: it takes so long that it is reported.
        """
        now = self._means.clock.monotonic()
        if self._verifying_since is None:
            self._verifying_since = now
        waited = now - self._verifying_since
        wanted = max(wanted, _SHORTEST_WAIT)
        pause = max(wanted, waited / 4)
        if waited + pause > PATIENCE:
            raise TransientError(
                f"the server has the clip, and after {waited:.0f} s wants another {wanted:.0f} s"
                " to read it back",
                hint="check the receiver's log and its disk; dockd asks for the receipt again",
                retry_after=wanted,
            )
        return pause

    async def _send(self, sealed: Sealed) -> None:
        means = self._means

        async def remember(url: str) -> None:
            await to_the_end(means.ledger.uploads.remember, self.clip, url)
            self._url = url

        began = means.clock.monotonic()
        with means.activity.working(self.clip, "upload", sealed.size) as work:
            began_at: int | None = None

            def progress(done: int) -> None:
                nonlocal began_at
                # The first offset, and any lower one, is where the server resumes.
                if (began_at is None and done) or (began_at is not None and done < work.done):
                    events.clip_upload_resumed(**self.about, offset=done)
                if began_at is None:
                    began_at = done
                    work.begin_at(done)
                work.at(done)
                self._sent = done

            await means.target.upload(sealed, self._url, remember, progress)
        await to_the_end(means.ledger.uploads.uploaded, self.clip)
        sent = sealed.size - (began_at or 0)
        seconds = round(means.clock.monotonic() - began, 3)
        events.clip_uploaded(**self.about, size=sealed.size, sent=sent, seconds=seconds)
        means.activity.counting.uploaded(sent, seconds)

    async def _ask(self, sealed: Sealed) -> Confirmed | Verifying | NotStored:
        means = self._means
        try:
            return await means.confirmations.ask(sealed)
        except ReceiptRefusedError as refused:
            means.activity.counting.receipt_refused(refused.reason)
            await to_the_end(
                means.ledger.clips.note_problem, self.clip, refused.event, refused.message
            )
            raise ReceiptRefusedError(
                refused.detail,
                hint=refused.hint
                or "check target.receiver_keys and the receiver; nothing is wiped meanwhile",
                reason=refused.reason,
            ) from refused

    async def _keep(self, confirmed: Confirmed) -> None:
        """Record a verified receipt; must run to its end."""
        clip, means = self.clip, self._means
        await to_the_end(means.ledger.uploads.acknowledge, clip, confirmed.token, confirmed.answer)
        means.confirmations.remember(clip, confirmed.token)
        self.settled = True
        events.clip_acknowledged(**self.about, receiver=confirmed.receipt.receiver.id)
        means.activity.counting.acknowledged()
        await means.spool.remove(str(clip.ciphertext_sha256))
        with contextlib.suppress(SpoolError):  # it does not count against the budget
            await to_the_end(means.spool.remove_set_aside, str(clip.clip_id))

    async def _look_for_damage(self, sealed: Sealed) -> NoReturn:
        """Find out why a server that had the whole upload has not stored the clip.

        Raises:
            SpoolDamagedError: the ciphertext does not match the manifest.
            TransientError: it does, so the server has lost it; it is uploaded again.
        """
        await to_the_end(check_ciphertext, sealed.path, sealed.sha256)
        await to_the_end(self._means.ledger.uploads.remember, self.clip, None)
        self._url = None
        raise TransientError(
            f"the server had all of clip {sealed.clip_id}, and no longer has it",
            hint="check the receiver's log; dockd uploads the clip again",
        )

    async def reject(self, error: RejectedError) -> None:
        """Leave the clip for operator action; raises LedgerError."""
        await to_the_end(self._means.ledger.uploads.reject, self.clip, error.event, error.message)
        events.clip_rejected(error, **self.about)

    async def give_up_ciphertext(self, error: SpoolDamagedError) -> None:
        """Have the clip ingested again; what is left of its ciphertext is set aside first.

        Raises:
            SpoolError, LedgerError: failed; nothing is lost.
        """
        clip, means = self.clip, self._means
        sha256 = str(clip.ciphertext_sha256)
        await to_the_end(means.spool.set_aside, sha256, str(clip.clip_id))
        await to_the_end(means.ledger.ingests.spool_lost, clip, error.event, error.message)
        events.spool_damaged(error, **self.about)
