"""The key derivation of age: HKDF-SHA-256 (RFC 5869) to 32 bytes."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive_key(secret: bytes, info: bytes, *, salt: bytes = b"") -> bytes:
    """Return the 32-byte key that HKDF-SHA-256 derives from a secret."""
    return HKDF(SHA256(), length=32, salt=salt, info=info).derive(secret)
