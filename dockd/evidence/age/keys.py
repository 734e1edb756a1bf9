"""Base classes of age keys: recipients wrap file keys, identities unwrap them."""

import hashlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import ClassVar, Self

from dockd.base.errors import AgeHeaderError
from dockd.evidence.age import bech32
from dockd.evidence.age.header import Stanza, decode_base64

FILE_KEY_SIZE = 16
_SECRET_SIZE = 32
_BODY_SIZE = FILE_KEY_SIZE + 16  # the AEAD's tag


class Recipient(ABC):
    """A public key that files are encrypted to; ``str()`` is its Bech32 form."""

    hrp: ClassVar[str]
    post_quantum: ClassVar[bool]

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __str__(self) -> str:
        return bech32.encode(self.hrp, self._key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(fingerprint={self.fingerprint!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipient) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(self._key)

    @cached_property
    def fingerprint(self) -> str:
        """Lower-case hex SHA-256 of the Bech32 form."""
        return hashlib.sha256(str(self).encode("ascii")).hexdigest()

    @abstractmethod
    def wrap(self, file_key: bytes) -> Stanza:
        """Return a stanza from which only this recipient's identity can unwrap the file key."""


class Identity(ABC):
    """A secret key that decrypts files; only ``str()`` reveals it.

    Raises:
        ValueError: the secret is not 32 bytes.
    """

    hrp: ClassVar[str]
    stanza_type: ClassVar[str]
    share_size: ClassVar[int]

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SECRET_SIZE:
            raise ValueError(f"it has {len(secret)} bytes and not {_SECRET_SIZE}")
        self._secret = secret

    @classmethod
    def generate(cls) -> Self:
        """Generate a new identity."""
        return cls(secrets.token_bytes(_SECRET_SIZE))

    def __str__(self) -> str:
        return bech32.encode(self.hrp, self._secret)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(recipient={self.recipient!r})"

    @property
    @abstractmethod
    def recipient(self) -> Recipient:
        """The public key that belongs to it."""

    def unwrap(self, stanzas: Iterable[Stanza]) -> bytes | None:
        """Return the file key, or None if no stanza is for this identity.

        Raises:
            AgeHeaderError: a stanza of this identity's type is malformed.
        """
        own = [self._parse(stanza) for stanza in stanzas if stanza.args[0] == self.stanza_type]
        for share, body in own:
            file_key = self._open(share, body)
            if file_key is not None:
                return file_key
        return None

    def _parse(self, stanza: Stanza) -> tuple[bytes, bytes]:
        if len(stanza.args) != 2:
            raise AgeHeaderError(f"a stanza {self.stanza_type} does not have two arguments")
        share = decode_base64(stanza.args[1].encode("ascii"), f"a {self.stanza_type} share")
        if len(share) != self.share_size:
            raise AgeHeaderError(
                f"a {self.stanza_type} share has {len(share)} bytes and not {self.share_size}"
            )
        # Checked before decryption, so that one body can't contain keys for many identities.
        if len(stanza.body) != _BODY_SIZE:
            raise AgeHeaderError(
                f"a {self.stanza_type} body has {len(stanza.body)} bytes and not {_BODY_SIZE}"
            )
        return share, stanza.body

    @abstractmethod
    def _open(self, share: bytes, body: bytes) -> bytes | None: ...
