"""The post-quantum hybrid recipient type, ML-KEM-768 with X25519.

Follows "The MLKEM768-X25519 hybrid post-quantum recipient type" of
https://c2sp.org/age, which is HPKE (RFC 9180) with the KEM of draft-ietf-hpke-pq.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from dockd.evidence.age.header import Stanza, encode_base64
from dockd.evidence.age.keys import Identity, Recipient
from dockd.evidence.age.x25519 import POINT_SIZE, agree, load_point

_TYPE = "mlkem768x25519"
_INFO = b"age-encryption.org/mlkem768x25519"
_MLKEM_KEY_SIZE = 1184
_MLKEM_SEED_SIZE = 64
_ENC_SIZE = 1120
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class HybridRecipient(Recipient):
    """An ``age1pq1…`` public key: the ML-KEM-768 key, then the X25519 point.

    Raises:
        ValueError: the bytes are not such a key.
    """

    hrp = "age1pq"
    post_quantum = True

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        size = _MLKEM_KEY_SIZE + POINT_SIZE
        if len(key) != size:
            raise ValueError(f"it has {len(key)} bytes and not {size}")
        self._public = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(key[:_MLKEM_KEY_SIZE]),
            load_point(key[_MLKEM_KEY_SIZE:]),
        )

    def wrap(self, file_key: bytes) -> Stanza:
        """Return an mlkem768x25519 stanza with a new encapsulation."""
        sealed = _SUITE.encrypt(file_key, self._public, info=_INFO)
        enc, body = sealed[:_ENC_SIZE], sealed[_ENC_SIZE:]
        return Stanza((_TYPE, encode_base64(enc)), body)


class HybridIdentity(Identity):
    """An ``AGE-SECRET-KEY-PQ-1…`` secret key: the seed of both keys."""

    hrp = "AGE-SECRET-KEY-PQ-"
    stanza_type = _TYPE
    share_size = _ENC_SIZE

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        seeds = hashlib.shake_256(secret).digest(_MLKEM_SEED_SIZE + POINT_SIZE)
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(seeds[:_MLKEM_SEED_SIZE])
        self._x25519 = X25519PrivateKey.from_private_bytes(seeds[_MLKEM_SEED_SIZE:])
        self._private = MLKEM768X25519PrivateKey(self._mlkem, self._x25519)

    @property
    def recipient(self) -> HybridRecipient:
        """The ``age1pq1…`` public key that belongs to it."""
        return HybridRecipient(
            self._mlkem.public_key().public_bytes_raw()
            + self._x25519.public_key().public_bytes_raw()
        )

    def _open(self, share: bytes, body: bytes) -> bytes | None:
        # HPKE does not distinguish a low-order share from a stanza for another identity, age does.
        agree(self._x25519, share[-POINT_SIZE:])
        try:
            return _SUITE.decrypt(share + body, self._private, info=_INFO)
        except InvalidTag:
            return None
