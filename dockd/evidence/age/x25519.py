"""The X25519 recipient type ("The X25519 recipient type", https://c2sp.org/age)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from dockd.base.errors import AgeHeaderError
from dockd.evidence.age.header import Stanza, encode_base64
from dockd.evidence.age.kdf import derive_key
from dockd.evidence.age.keys import Identity, Recipient

POINT_SIZE = 32

_TYPE = "X25519"
_INFO = b"age-encryption.org/v1/X25519"
_NONCE = bytes(12)  # fixed by the specification: every wrap key is used once


class X25519Recipient(Recipient):
    """An ``age1…`` public key.

    Raises:
        ValueError: the bytes are not a usable point.
    """

    hrp = "age"
    post_quantum = False

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._public = load_point(key)

    def wrap(self, file_key: bytes) -> Stanza:
        """Return an X25519 stanza with a new ephemeral share."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        key = _wrap_key(ephemeral.exchange(self._public), share, self._key)
        body = ChaCha20Poly1305(key).encrypt(_NONCE, file_key, None)
        return Stanza((_TYPE, encode_base64(share)), body)


class X25519Identity(Identity):
    """An ``AGE-SECRET-KEY-1…`` secret key."""

    hrp = "AGE-SECRET-KEY-"
    stanza_type = _TYPE
    share_size = POINT_SIZE

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self._private = X25519PrivateKey.from_private_bytes(secret)
        self._point = self._private.public_key().public_bytes_raw()

    @property
    def recipient(self) -> X25519Recipient:
        """The ``age1…`` public key that belongs to it."""
        return X25519Recipient(self._point)

    def _open(self, share: bytes, body: bytes) -> bytes | None:
        key = _wrap_key(agree(self._private, share), share, self._point)
        try:
            return ChaCha20Poly1305(key).decrypt(_NONCE, body, None)
        except InvalidTag:
            return None


def load_point(key: bytes) -> X25519PublicKey:
    """Return a usable public key.

    Raises:
        ValueError: it has a wrong length, or low order, so that every exchange with it
            returns zeros.
    """
    if len(key) != POINT_SIZE:
        raise ValueError(f"its X25519 key has {len(key)} bytes and not {POINT_SIZE}")
    public = X25519PublicKey.from_public_bytes(key)
    try:
        X25519PrivateKey.generate().exchange(public)
    except ValueError as error:
        raise ValueError("its X25519 key has low order and would protect nothing") from error
    return public


def agree(private: X25519PrivateKey, share: bytes) -> bytes:
    """Return the secret shared with the sender of an ephemeral share.

    Raises:
        AgeHeaderError: it is all zeros, because the share has low order.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:
        raise AgeHeaderError("an X25519 share has low order") from error


def _wrap_key(shared: bytes, share: bytes, recipient: bytes) -> bytes:
    return derive_key(shared, _INFO, salt=share + recipient)
