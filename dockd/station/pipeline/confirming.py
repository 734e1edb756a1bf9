"""What the receiver has just confirmed: the answers that a wipe requires.

A receipt in the ledger may be older than a loss at the receiver, and the ledger itself may
have been restored from a backup. So a clip is wiped only after the receiver has answered a
request that this run of the daemon made minutes ago, with a fresh nonce.
"""

from collections.abc import Sequence

from dockd.base.clock import Clock
from dockd.base.errors import HISTORY_FORKED, DockdError, ReceiptRefusedError, TargetError
from dockd.base.randomness import Randomness
from dockd.evidence.keys import VerifyKey
from dockd.evidence.statements import Receipt, statement_sha256, verify_answer, verify_receipt
from dockd.station.model import Clip
from dockd.station.reports import JournalDoubted, Reports
from dockd.station.targets import (
    NotStored,
    ReceiptAnswer,
    Received,
    Sealed,
    Target,
    Verifying,
    fresh_nonce,
)

GOOD_FOR_SECONDS = 600.0
"""How long an answer is valid for a wipe: the receiver may have lost the clip since."""


class Confirmations:
    """Asks for receipts, and remembers which of them the receiver has confirmed."""

    def __init__(
        self,
        target: Target,
        receiver_keys: Sequence[VerifyKey],
        clock: Clock,
        reports: Reports,
        randomness: Randomness | None = None,
    ) -> None:
        """Start without confirmations.

        Args:
            target: the receiver.
            receiver_keys: the keys whose statements are accepted.
            clock: measures the age of answers.
            reports: takes the receiver's report that the station's journal has forked.
            randomness: makes each request's nonce.
        """
        self._target = target
        self._clock = clock
        self._keys = receiver_keys
        self._reports = reports
        self._randomness = randomness or Randomness()
        self._confirmed: dict[int, tuple[str, float]] = {}
        """Clips, with the digests of their receipts, and when the answer came."""

    async def ask(self, sealed: Sealed) -> "Confirmed | Verifying | NotStored":
        """Ask for a clip's receipt, and check that the answer is to this request.

        Raises:
            ReceiptRefusedError: invalid receipt or answer.
            TransientError, RejectedError: as :meth:`dockd.station.targets.Target.receipt`.
        """
        nonce = fresh_nonce(self._randomness)
        answer: ReceiptAnswer = await self._target.receipt(sealed, nonce)
        if not isinstance(answer, Received):
            return answer
        receipt = verify_receipt(answer.receipt, self._keys, sealed.manifest)
        if not answer.answer:
            raise ReceiptRefusedError(
                "the response has no signed answer",
                hint="the receiver is an older version, or a proxy drops Dockd-Answer",
                reason="unanswered",
            )
        verify_answer(answer.answer, self._keys, nonce=nonce, receipt_token=answer.receipt)
        return Confirmed(answer.receipt, answer.answer, receipt)

    def heed(self, error: DockdError) -> None:
        """Report a forked journal, if that is why the receiver refused."""
        if isinstance(error, TargetError) and error.code == HISTORY_FORKED:
            self._reports.put(JournalDoubted())

    def remember(self, clip: Clip, receipt: str) -> None:
        """Note that the receiver has just confirmed a clip's receipt."""
        now = self._clock.monotonic()
        self._confirmed.pop(clip.id, None)  # the newest is last
        self._confirmed[clip.id] = statement_sha256(receipt), now
        while self._is_old(next(iter(self._confirmed.values()))[1]):
            del self._confirmed[next(iter(self._confirmed))]

    def holds(self, clip: Clip) -> bool:
        """Return whether the receiver has recently confirmed the receipt in the ledger."""
        sha256, when = self._confirmed.get(clip.id, ("", 0.0))
        return sha256 == statement_sha256(clip.receipt or "") and not self._is_old(when)

    def _is_old(self, when: float) -> bool:
        return self._clock.monotonic() - when > GOOD_FOR_SECONDS


class Confirmed:
    """A verified receipt, and the receiver's answer that confirms it."""

    def __init__(self, token: str, answer: str, receipt: Receipt) -> None:
        self.token = token
        self.answer = answer
        self.receipt = receipt
