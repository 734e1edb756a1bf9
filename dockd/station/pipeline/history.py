"""Compares this station's journal with the newest anchor of it that the receiver has.

A ledger that is restored to an older state, or runs twice, makes a journal that forks: it
continues from an entry that once had another successor. The anchors in the receiver's
manifests show that; they are asked for at the start and once a day, with a fresh nonce.
"""

from collections.abc import Sequence

from dockd.base.clock import Clock
from dockd.base.errors import (
    JournalForkedError,
    LedgerError,
    ReceiptRefusedError,
    TargetError,
    TransientError,
)
from dockd.base.incidents import Incidents
from dockd.base.randomness import Randomness
from dockd.base.retry import Wakeup
from dockd.base.threads import in_thread
from dockd.evidence.keys import VerifyKey
from dockd.evidence.statements import Anchor, verify_anchor
from dockd.station import events
from dockd.station.ledger.ledger import Ledger
from dockd.station.reports import HoldsChanged, Reports
from dockd.station.targets import Target, fresh_nonce

COMPARE_SECONDS = 86400.0
"""Seconds between two comparisons."""
_RETRY_FIRST, _RETRY_CAP = 1.0, 60.0
_PATIENCE = 60.0
"""Seconds that the receiver may be unreachable before it is reported that wipes wait for it."""
_HINT = (
    "the ledger was restored to an older state, or another station uses this key; wipes are held."
    " Give the station a new key: docs/operate.md"
)


class History:
    """Whether this station's journal continues the one that the receiver has seen."""

    def __init__(
        self,
        ledger: Ledger,
        target: Target,
        clock: Clock,
        incidents: Incidents,
        *,
        kid: str,
        receiver_keys: Sequence[VerifyKey],
        reports: Reports,
        randomness: Randomness | None = None,
    ) -> None:
        """Start without a comparison.

        Args:
            ledger: has the journal.
            target: the receiver, which has the anchors.
            clock: paces comparisons.
            incidents: takes failed comparisons.
            kid: the key that this station signs with.
            receiver_keys: the keys whose statements are accepted.
            reports: takes the end of the hold on wipes.
            randomness: makes each request's nonce.
        """
        self._ledger = ledger
        self._target = target
        self._clock = clock
        self._kid = kid
        self._keys = receiver_keys
        self._reports = reports
        self._randomness = randomness or Randomness()
        self._agrees = not target.gives_receipts
        """Without receipts nothing is wiped anyway."""
        self._failing_since: float | None = None
        self._wakeup = Wakeup(clock)
        self._incidents = incidents.scope("history")

    @property
    def holds_wipes(self) -> bool:
        """Whether the journal has forked, or was not compared in this run."""
        return not self._agrees

    def compare_now(self) -> None:
        """Compare at once."""
        self._wakeup.wake()

    def doubted(self) -> None:
        """Compare at once, as the receiver has refused a manifest over a forked journal."""
        if self._agrees:
            self.compare_now()

    async def run(self) -> None:
        """Compare until cancelled, where there is a receiver."""
        pause = _RETRY_FIRST
        while self._target.gives_receipts:
            if await self._compare():
                pause = _RETRY_FIRST
                await self._wakeup.pause(COMPARE_SECONDS)
            else:
                await self._wakeup.pause(pause)
                pause = min(2 * pause, _RETRY_CAP)

    async def _compare(self) -> bool:
        try:
            await self._check_own()
            await self._check(await self._ask())
        except JournalForkedError as error:
            self._agrees = False
            self._incidents.close(events.journal_unwitnessed)
            self._incidents.failed(events.journal_forked(), error)
            return False
        except (TransientError, LedgerError) as error:
            # A short failure is not reported; that wipes wait for it is.
            now = self._clock.monotonic()
            self._failing_since = self._failing_since or now
            if now - self._failing_since >= _PATIENCE:
                self._incidents.failed(events.journal_unwitnessed(), error)
            return False
        except (TargetError, ReceiptRefusedError) as error:
            error.hint = error.hint or "check target.receiver_keys, and which receiver answers"
            self._incidents.failed(events.journal_unwitnessed(), error)
            return False
        self._failing_since = None
        self._incidents.recovered(events.journal_forked)
        self._incidents.recovered(events.journal_unwitnessed)
        if not self._agrees:
            self._agrees = True
            self._reports.put(HoldsChanged())
        return True

    async def _ask(self) -> Anchor:
        nonce = fresh_nonce(self._randomness)
        token = await self._target.anchor(self._kid, nonce)
        return verify_anchor(token, self._keys, nonce=nonce, kid=self._kid)

    async def _check_own(self) -> None:
        """Check that the journal has the newest entry that this station's manifests name."""
        last = await in_thread(self._ledger.journal.last_anchor, self._kid)
        if not await in_thread(self._ledger.journal.holds, last):
            raise JournalForkedError(
                f"a manifest that this station has signed names journal entry {last.seq},"
                " which is missing",
                hint=_HINT,
            )

    async def _check(self, anchor: Anchor) -> None:
        head = anchor.journal
        if head is None or await in_thread(self._ledger.journal.holds, head):
            return
        own = await in_thread(self._ledger.journal.head)
        has = "differs here" if own.seq >= head.seq else f"is missing here, after {own.seq}"
        raise JournalForkedError(
            f"{anchor.receiver.id} has entry {head.seq} of this station's journal, which {has}",
            hint=_HINT,
        )
