"""Checkpoints, which say how a log stands, and proofs that stand alone.

After C2SP ``tlog-checkpoint`` and ``tlog-proof``.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dockd.base.errors import StatementLogError
from dockd.evidence.log.merkle import HASH_SIZE, verify_inclusion
from dockd.evidence.log.note import Note, NoteKey

_PROOF = "c2sp.org/tlog-proof@v1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_HASHES = 63


@dataclass(frozen=True)
class Checkpoint:
    """The size and root of a log."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is signed of it."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, self.size, root, *self.extensions))

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a checkpoint from the text of a note.

        Raises:
            StatementLogError: it isn't one.
        """
        origin, size, root, *extensions = [*text.removesuffix("\n").split("\n"), "", ""]
        lines = text.count("\n")
        if lines < 3 or not origin or not _NUMBER.fullmatch(size):
            raise StatementLogError("the note is not a checkpoint")
        extensions = extensions[: lines - 3]
        if not all(extensions):
            raise StatementLogError("the checkpoint has an empty line")
        return cls(origin, int(size), _hash(root), tuple(extensions))


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint that its log has signed, perhaps with cosignatures."""

    checkpoint: Checkpoint
    note: Note
    cosigners: tuple[str, ...] = ()
    """Names of the known witnesses that have cosigned it."""

    @classmethod
    def verify(
        cls, data: bytes, log: Sequence[NoteKey], witnesses: Sequence[NoteKey] = ()
    ) -> "SignedCheckpoint":
        """Read a signed checkpoint, and verify what is signed by known keys.

        Args:
            data: the note.
            log: the keys that a log may sign with; their name is its origin.
            witnesses: the known witnesses' keys for cosignatures.

        Raises:
            StatementLogError: it isn't one, the log hasn't signed it, or a signature is invalid.
        """
        try:
            note = Note.parse(data)
            by_log = note.verified_by(log)
            by_witnesses = note.verified_by(witnesses)
        except StatementLogError as error:
            raise StatementLogError(str(error)) from error
        checkpoint = Checkpoint.parse(note.text)
        if not any(key.name == checkpoint.origin for key, _ in by_log):
            raise StatementLogError(f"it is not signed by the log {checkpoint.origin}")
        cosigners = tuple(sorted({key.name for key, _ in by_witnesses}))
        return cls(checkpoint, note, cosigners)


@dataclass(frozen=True)
class LogProof:
    """A proof that an entry is in a log, for whoever knows the log's key and nothing else."""

    index: int
    hashes: tuple[bytes, ...]
    """From the leaf's sibling to the root's child."""
    checkpoint: bytes
    """The signed note."""

    def __str__(self) -> str:
        """Return it as the lines of a ``tlog-proof``."""
        hashes = [base64.b64encode(one).decode() for one in self.hashes]
        head = "\n".join([_PROOF, f"index {self.index}", *hashes, "", ""])
        return head + self.checkpoint.decode()

    @classmethod
    def parse(cls, text: str) -> "LogProof":
        """Read a proof; nothing has been verified then.

        Raises:
            StatementLogError: it isn't one.
        """
        head, separator, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not separator or lines.pop(0) != _PROOF:
            raise StatementLogError(f"it does not begin with {_PROOF}")
        if lines and lines[0].startswith("extra "):
            del lines[0]
        word, _, number = lines.pop(0).partition(" ") if lines else ("", "", "")
        if word != "index" or not _NUMBER.fullmatch(number) or len(lines) > _MAX_HASHES:
            raise StatementLogError("it has no index, or too many hashes")
        try:
            hashes = tuple(_hash(line) for line in lines)
        except StatementLogError as error:
            raise StatementLogError(str(error)) from error
        return cls(int(number), hashes, checkpoint.encode())

    def verify(
        self, leaf: bytes, log: Sequence[NoteKey], witnesses: Sequence[NoteKey] = ()
    ) -> SignedCheckpoint:
        """Check that an entry is in the log, by its leaf hash; returns the checkpoint.

        Raises:
            StatementLogError: that isn't shown.
        """
        signed = SignedCheckpoint.verify(self.checkpoint, log, witnesses)
        checkpoint = signed.checkpoint
        verify_inclusion(leaf, self.index, checkpoint.size, checkpoint.root, self.hashes)
        return signed


def _hash(line: str) -> bytes:
    try:
        digest = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise StatementLogError("a hash is not base64") from error
    if len(digest) != HASH_SIZE:
        raise StatementLogError("a hash has another length than SHA-256's")
    return digest
