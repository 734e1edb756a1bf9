"""Randomness as a seam: where names, nonces and jitter come from.

Keys of encryption and signatures are not drawn here: these must be random in any case.
"""

import base64
import secrets

_UNIT_BITS = 53
"""The bits of a float's fraction."""


class Randomness:
    """The operating system's randomness; overriding ``bytes`` alone makes a run repeatable."""

    def bytes(self, count: int) -> bytes:
        """Return random bytes."""
        return secrets.token_bytes(count)

    def hex(self, count: int) -> str:
        """Return random bytes as lower-case hex, two digits a byte."""
        return self.bytes(count).hex()

    def token(self, count: int) -> str:
        """Return random bytes as base64url without padding."""
        return base64.urlsafe_b64encode(self.bytes(count)).rstrip(b"=").decode("ascii")

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to less than ``limit``."""
        # 64 bits more than needed make the remainder's bias negligible.
        return int.from_bytes(self.bytes(limit.bit_length() // 8 + 9)) % limit

    def uniform(self, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        return low + (high - low) * self.below(1 << _UNIT_BITS) / (1 << _UNIT_BITS)
