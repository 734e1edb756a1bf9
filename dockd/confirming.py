"""What the receiver has confirmed in this run: the answers that a wipe may rest on.

A receipt in the ledger may be older than a loss at the receiver, and the ledger itself may
have been restored from a backup. So a clip is wiped only after the receiver has answered a
question that this run of the daemon has asked, whose nonce nobody can have known before.
"""

import secrets
from collections.abc import Sequence

from dockd.errors import ReceiptRefusedError
from dockd.keys import VerifyKey
from dockd.manifest import Receipt, statement_sha256, verify_answer, verify_receipt
from dockd.model import Clip
from dockd.targets import NotStored, ReceiptAnswer, Received, Sealed, Target, Verifying

_NONCE_BYTES = 24


class Confirmations:
    """Asks for receipts, and remembers which of them the receiver stands by."""

    def __init__(self, target: Target, receiver_keys: Sequence[VerifyKey]) -> None:
        self._target = target
        self._keys = receiver_keys
        self._confirmed: dict[int, str] = {}
        """Clips, and the digests of their receipts."""

    async def ask(self, sealed: Sealed) -> "Confirmed | Verifying | NotStored":
        """Ask for a clip's receipt, and check that the answer is to this very question.

        Raises:
            ReceiptRefusedError: it can't be relied on.
            TransientError, RejectedError: as :meth:`dockd.targets.Target.receipt`.
        """
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        answer: ReceiptAnswer = await self._target.receipt(sealed, nonce)
        if not isinstance(answer, Received):
            return answer
        receipt = verify_receipt(answer.receipt, self._keys, sealed.manifest)
        if not answer.answer:
            raise ReceiptRefusedError(
                "no signed answer to this question came with it",
                hint="the receiver is of an older version, or a proxy drops Dockd-Answer",
                reason="unanswered",
            )
        verify_answer(answer.answer, self._keys, nonce=nonce, receipt_token=answer.receipt)
        return Confirmed(answer.receipt, answer.answer, receipt)

    def remember(self, clip: Clip, receipt: str) -> None:
        """Note that the receiver stands by a clip's receipt now."""
        self._confirmed[clip.id] = statement_sha256(receipt)

    def forget(self, clip: Clip) -> None:
        """Drop what is known of a clip."""
        self._confirmed.pop(clip.id, None)

    def holds(self, clip: Clip) -> bool:
        """Say whether the receiver has stood by the receipt that the ledger has, in this run."""
        return self._confirmed.get(clip.id) == statement_sha256(clip.receipt or "")


class Confirmed:
    """A receipt that was verified, and the answer in which the receiver stands by it."""

    def __init__(self, token: str, answer: str, receipt: Receipt) -> None:
        self.token = token
        self.answer = answer
        self.receipt = receipt
