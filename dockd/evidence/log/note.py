"""Signed notes, their keys, and cosignatures: C2SP ``signed-note``, ``tlog-cosignature``.

A note is text ending in a newline, an empty line, and a line for each signature.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dockd.base.errors import StatementLogError

ED25519 = 0x01
COSIGNATURE = 0x04
"""Types of signatures."""
_MAX_SIZE = 1 << 20
_DASH = "\N{EM DASH} "
_KEY_ID = 4
_TIME = 8


@dataclass(frozen=True)
class NoteKey:
    """A public key under a name, as notes know it."""

    name: str
    public: bytes
    """32 bytes: Ed25519."""
    kind: int = ED25519

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(named).digest()[:_KEY_ID]

    def __str__(self) -> str:
        """Return it as a verifier key: ``name+id+key``."""
        key = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> "NoteKey":
        """Read a verifier key.

        Raises:
            StatementLogError: it isn't one of Ed25519.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise StatementLogError(f"{text!r} is not a verifier key") from error
        if len(data) != 33 or data[0] not in {ED25519, COSIGNATURE} or not is_name(name):
            raise StatementLogError(f"{text!r} is not a verifier key of Ed25519")
        key = cls(name, data[1:], data[0])
        if key.id.hex() != key_id:
            raise StatementLogError(f"{text!r} has another key id than its key")
        return key

    def verifies(self, text: str, signature: bytes) -> bool:
        """Return whether a signature over a note's text is valid."""
        signed = text
        if self.kind == COSIGNATURE:
            if len(signature) != _TIME + 64:
                return False
            seconds, signature = int.from_bytes(signature[:_TIME], "big"), signature[_TIME:]
            signed = _cosigned(text, seconds)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, signed.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class NoteSigner:
    """A private key under a name."""

    name: str
    key: Ed25519PrivateKey

    @property
    def verifier(self) -> NoteKey:
        """The key that verifies its signatures."""
        return NoteKey(self.name, self.key.public_key().public_bytes_raw())

    def sign(self, text: str) -> "Signature":
        """Sign a note's text."""
        return Signature(self.name, self.verifier.id, self.key.sign(text.encode()))

    @property
    def cosigner(self) -> NoteKey:
        """The key that verifies its cosignatures."""
        return NoteKey(self.name, self.key.public_key().public_bytes_raw(), COSIGNATURE)

    def cosign(self, text: str, at: datetime) -> "Signature":
        """Sign a checkpoint's text as seen at a time, to the second."""
        seconds = int(at.timestamp())
        signed = self.key.sign(_cosigned(text, seconds).encode())
        return Signature(self.name, self.cosigner.id, seconds.to_bytes(_TIME, "big") + signed)


@dataclass(frozen=True)
class Signature:
    """A line of a note below its text."""

    name: str
    key_id: bytes
    value: bytes
    """What follows the key id: a signature, in a cosignature after its time."""

    def __str__(self) -> str:
        """Return the line, without its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}"

    @property
    def cosigned_at(self) -> datetime:
        """The time of a cosignature that has been verified."""
        return datetime.fromtimestamp(int.from_bytes(self.value[:_TIME], "big"), UTC)


@dataclass(frozen=True)
class Note:
    """A text, and who says to have signed it."""

    text: str
    """Ends with a newline."""
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        """Return the note as it is stored and sent."""
        return self.text + "\n" + "".join(f"{signature}\n" for signature in self.signatures)

    @classmethod
    def parse(cls, data: bytes) -> "Note":
        """Take a note apart; no signature has been verified then.

        Raises:
            StatementLogError: it is none.
        """
        if len(data) > _MAX_SIZE:
            raise StatementLogError("the note is too large")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise StatementLogError("the note is not UTF-8") from error
        if any(ord(character) < 0x20 and character != "\n" for character in whole):
            raise StatementLogError("the note has control characters")
        text, separator, rest = whole.rpartition("\n\n")
        if not separator or not rest.endswith("\n"):
            raise StatementLogError("the note has no signatures")
        lines = rest.removesuffix("\n").split("\n")
        return cls(f"{text}\n", tuple(parse_signature(line) for line in lines))

    def verified_by(self, keys: Sequence[NoteKey]) -> list[tuple[NoteKey, Signature]]:
        """Return the valid signatures of known keys, with them; others' are passed over.

        Raises:
            StatementLogError: a known key's signature isn't valid.
        """
        valid = []
        for signature in self.signatures:
            for key in keys:
                if (key.name, key.id) != (signature.name, signature.key_id):
                    continue
                if not key.verifies(self.text, signature.value):
                    raise StatementLogError(f"the signature of {key.name} is not valid")
                valid.append((key, signature))
        return valid

    def signed_also(self, *signatures: Signature) -> "Note":
        """Return it with further signatures; of each key the newest counts."""
        given = {(one.name, one.key_id) for one in signatures}
        kept = [one for one in self.signatures if (one.name, one.key_id) not in given]
        return Note(self.text, (*kept, *signatures))


def parse_signature(line: str) -> Signature:
    """Take a signature line apart.

    Raises:
        StatementLogError: it is none.
    """
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise StatementLogError("a signature line is not base64") from error
    if not line.startswith(_DASH) or not is_name(name) or len(data) <= _KEY_ID:
        raise StatementLogError("a line below a note's text is not a signature")
    return Signature(name, data[:_KEY_ID], data[_KEY_ID:])


def is_name(name: str) -> bool:
    """Return whether a key may have a name: not empty, without spaces and ``+``."""
    return bool(name) and "+" not in name and not any(one.isspace() for one in name)


def _cosigned(text: str, seconds: int) -> str:
    return f"cosignature/v1\ntime {seconds}\n{text}"
