"""One clip on its way: its receipt is asked for, its ciphertext sent, its receipt kept."""

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
"""Seconds that a target may take to read a clip back before somebody should hear of it."""
_SHORTEST_WAIT = 1.0
"""Seconds between two questions for one receipt, at least; they grow with the time it takes."""


@dataclass(frozen=True)
class Means:
    """What every delivery works with."""

    ledger: Ledger
    spool: Spool
    target: Target
    clock: Clock
    activity: Activity
    confirmations: Confirmations


class Delivery:
    """One clip on its way, over all attempts."""

    def __init__(self, clip: Clip, means: Means) -> None:
        self.clip = clip
        self.settled = False
        """Whether its receipt is kept."""
        self.under_way: asyncio.Future[float | None] | None = None
        """The attempt that goes on."""
        self.failing_since: int | None = None
        """How many clips had gone through when its attempts began to fail; None: they don't."""
        self.failures = 0
        """How often it failed in a row for reasons of its own."""
        self.at_least: float | None = None
        """How much of the pause after its last failure is kept when the target is up again;
        None: all of it."""
        self._means = means
        self._url = clip.upload_url
        self._sent = 0
        self._furthest = 0
        self._verifying_since: float | None = None

    @property
    def about(self) -> SealedFields:
        """What identifies it in the log."""
        return {**self.clip.about, "clip_id": str(self.clip.clip_id)}

    def break_off(self) -> None:
        """End the attempt under way, if there is one."""
        if self.under_way is not None:
            self.under_way.cancel()

    def start_anew(self) -> None:
        """Forget what was sent: the ledger knows it no longer."""
        self._url = None
        self.break_off()

    def progressed(self) -> bool:
        """Say whether the last attempt got further than those before it."""
        further = self._sent > self._furthest
        self._furthest = max(self._sent, self._furthest)
        if further:
            self.failing_since = None
            self.failures = 0
        return further

    async def attempt(self) -> float | None:
        """Bring the clip to its receipt, or as far as the target goes.

        Returns:
            None when that is done; while the target reads the clip back, the seconds after
            which to ask again.

        Raises:
            TransientError, ReceiptRefusedError, SpoolError, LedgerError: try again.
            RejectedError: the server never will store the clip.
            SpoolDamagedError: the ciphertext is not what was written.
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
        """Return how long to wait for a receipt that the target wants to be asked for again.

        Raises:
            TransientError: it is long enough to be told.
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
                hint="look at the receiver's log and its disk; the receipt is asked for again",
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
                # A first number is where the server stands, and so is one that falls back.
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
        """Enter a receipt that holds; whatever is ordered meanwhile, this is not left halfway."""
        clip, means = self.clip, self._means
        await to_the_end(means.ledger.uploads.acknowledge, clip, confirmed.token, confirmed.answer)
        means.confirmations.remember(clip, confirmed.token)
        self.settled = True
        events.clip_acknowledged(**self.about, receiver=confirmed.receipt.receiver.id)
        means.activity.counting.acknowledged()
        await means.spool.remove(str(clip.ciphertext_sha256))
        with contextlib.suppress(SpoolError):  # it takes no room of the budget
            await to_the_end(means.spool.remove_set_aside, str(clip.clip_id))

    async def _look_for_damage(self, sealed: Sealed) -> NoReturn:
        """Find out why a server that has had everything says that it has nothing.

        Raises:
            SpoolDamagedError: what was sent is not what the manifest says.
            TransientError: it is; so the server lost it, and is sent it again.
        """
        await to_the_end(check_ciphertext, sealed.path, sealed.sha256)
        await to_the_end(self._means.ledger.uploads.remember, self.clip, None)
        self._url = None
        raise TransientError(
            f"the server had all of clip {sealed.clip_id}, and has it no longer",
            hint="look at the receiver's log; the clip is uploaded again",
        )

    async def reject(self, error: RejectedError) -> None:
        """Leave the clip for operator action; raises LedgerError."""
        await to_the_end(self._means.ledger.uploads.reject, self.clip, error.event, error.message)
        events.clip_rejected(error, **self.about)

    async def give_up_ciphertext(self, error: SpoolDamagedError) -> None:
        """Have the clip read again; what is left of its ciphertext is set aside first.

        Raises:
            SpoolError, LedgerError: that failed; nothing is lost by it.
        """
        clip, means = self.clip, self._means
        sha256 = str(clip.ciphertext_sha256)
        await to_the_end(means.spool.set_aside, sha256, str(clip.clip_id))
        await to_the_end(means.ledger.ingests.spool_lost, clip, error.event, error.message)
        events.spool_damaged(error, **self.about)
