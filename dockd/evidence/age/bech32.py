"""Bech32 (BIP 173) without its length limit, as age uses it for keys."""

from collections.abc import Iterable

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {character: value for value, character in enumerate(_CHARSET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_LENGTH = 6


def encode(hrp: str, data: bytes) -> str:
    """Return the Bech32 string of some bytes, in the case of its human-readable part."""
    prefix = hrp.lower()
    padding = -len(data) * 8 % 5
    number = int.from_bytes(data, "big") << padding
    values = _split(number, (len(data) * 8 + padding) // 5)
    checksum = _polymod([*_expand(prefix), *values, *[0] * _CHECKSUM_LENGTH]) ^ 1
    symbols = [*values, *_split(checksum, _CHECKSUM_LENGTH)]
    text = prefix + "1" + "".join(_CHARSET[symbol] for symbol in symbols)
    return text if hrp == prefix else text.upper()


def decode(text: str) -> tuple[str, bytes]:
    """Return the human-readable part, in its own case, and the bytes of a Bech32 string.

    Raises:
        ValueError: it is not Bech32; the message never quotes the string, which may be
            a secret.
    """
    lower = text.lower()
    if text not in (lower, text.upper()):
        raise ValueError("it mixes upper and lower case")
    hrp, separator, encoded = lower.rpartition("1")
    if not separator or not hrp or len(encoded) < _CHECKSUM_LENGTH:
        raise ValueError("it is truncated")
    if not all("!" <= character <= "~" for character in hrp):
        raise ValueError("its prefix has an invalid character")
    if not _VALUES.keys() >= set(encoded):
        raise ValueError("it has an invalid character")
    values = [_VALUES[character] for character in encoded]
    if _polymod([*_expand(hrp), *values]) != 1:
        raise ValueError("its checksum doesn't match: it is mistyped or truncated")
    return text[: len(hrp)], _join(values[:-_CHECKSUM_LENGTH])


def _polymod(values: Iterable[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate(_GENERATOR):
            if top >> bit & 1:
                checksum ^= term
    return checksum


def _expand(hrp: str) -> list[int]:
    codes = hrp.encode("ascii")
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _split(number: int, count: int) -> list[int]:
    """Return a number as ``count`` groups of five bits, the highest first."""
    return [number >> 5 * place & 31 for place in reversed(range(count))]


def _join(values: list[int]) -> bytes:
    """Return groups of five bits as bytes; up to four bits of padding must be zero."""
    number = 0
    for value in values:
        number = number << 5 | value
    size, padding = divmod(len(values) * 5, 8)
    if padding > 4 or number & ((1 << padding) - 1):
        raise ValueError("its padding is not zero")
    return (number >> padding).to_bytes(size, "big")
