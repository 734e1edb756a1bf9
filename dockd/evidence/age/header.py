"""The textual header of an age file: stanzas and their MAC.

Follows the ABNF in "Header" of https://c2sp.org/age strictly, so that a header has exactly
one form.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from dockd.base.errors import AgeHeaderError, AgeHmacError
from dockd.evidence.age.kdf import derive_key

MAX_HEADER = 1 << 20
"""Maximum bytes of a header: enough for 600 hybrid recipients."""

VERSION_LINE = b"age-encryption.org/v1\n"
"""The first line of every age v1 file."""
_COLUMNS = 64
_MAC_SIZE = 32


@dataclass(frozen=True, slots=True)
class Stanza:
    """One wrapped file key: its arguments, the type first, and its body."""

    args: tuple[str, ...]
    body: bytes

    def serialize(self) -> bytes:
        """Return the stanza's lines."""
        body = encode_base64(self.body)
        # The last line is shorter than the others, and empty if they contain all.
        starts = range(0, len(body) + 1, _COLUMNS)
        lines = ["-> " + " ".join(self.args), *(body[at : at + _COLUMNS] for at in starts)]
        return "".join(f"{line}\n" for line in lines).encode("ascii")


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header."""

    stanzas: tuple[Stanza, ...]
    authenticated: bytes
    """The bytes that the MAC covers: all up to and including ``---``."""
    mac: bytes

    def verify(self, file_key: bytes) -> None:
        """Verify the MAC with the file key from a stanza.

        Raises:
            AgeHmacError: the header was modified.
        """
        if not hmac.compare_digest(_mac(file_key, self.authenticated), self.mac):
            raise AgeHmacError(hint="fetch the file again from where it is stored")


def serialize_header(stanzas: Sequence[Stanza], file_key: bytes) -> bytes:
    """Return the whole header, MAC line included."""
    authenticated = VERSION_LINE + b"".join(stanza.serialize() for stanza in stanzas) + b"---"
    mac = encode_base64(_mac(file_key, authenticated)).encode("ascii")
    return authenticated + b" " + mac + b"\n"


def read_header(version_line: bytes, source: IO[bytes]) -> Header:
    """Read a header, up to the first byte of the payload.

    Args:
        version_line: the first line, read already, with its line feed.
        source: the file after that line.

    Raises:
        AgeHeaderError: it is not a valid age v1 header.
    """
    if version_line != VERSION_LINE:
        raise AgeHeaderError(
            "it does not start with the line age-encryption.org/v1",
            hint="check that this is an age file, and not of a later version",
        )
    lines = _Lines(version_line, source)
    stanzas = []
    while not (line := lines.next()).startswith(b"---"):
        stanzas.append(_read_stanza(line, lines))
    if not stanzas:
        raise AgeHeaderError("it has no recipient stanza")
    mark, space, encoded = line.partition(b" ")
    if mark != b"---" or not space:
        raise AgeHeaderError("its MAC line is malformed")
    mac = decode_base64(encoded, "the MAC")
    if len(mac) != _MAC_SIZE:
        raise AgeHeaderError(f"its MAC has {len(mac)} bytes and not {_MAC_SIZE}")
    authenticated = lines.consumed[: -len(line) - 1] + mark
    return Header(tuple(stanzas), bytes(authenticated), mac)


def encode_base64(data: bytes) -> str:
    """Return the unpadded base64 that age headers use."""
    return base64.b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64(text: bytes, what: str) -> bytes:
    """Return the bytes of unpadded, canonical base64; ``what`` is its name in errors.

    Raises:
        AgeHeaderError: it is anything else (RFC 4648, section 3.5).
    """
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise AgeHeaderError(f"{what} is not base64") from error
    if encode_base64(data).encode("ascii") != text:
        raise AgeHeaderError(f"{what} is not canonical base64")
    return data


class _Lines:
    """The header's lines, and all bytes read so far."""

    def __init__(self, first: bytes, source: IO[bytes]) -> None:
        self._source = source
        self.consumed = bytearray(first)

    def next(self) -> bytes:
        """Return the next line without its line feed."""
        line = self._source.readline(MAX_HEADER - len(self.consumed))
        if not line.endswith(b"\n"):
            if len(self.consumed) + len(line) == MAX_HEADER:
                raise AgeHeaderError(f"it is longer than {MAX_HEADER} bytes")
            raise AgeHeaderError("it is truncated")
        self.consumed += line
        return line[:-1]


def _read_stanza(opening: bytes, lines: _Lines) -> Stanza:
    mark, *args = opening.split(b" ")
    if mark != b"->" or not args:
        raise AgeHeaderError("a stanza does not start with '->' and its type")
    if not all(arg and all(0x21 <= byte <= 0x7E for byte in arg) for arg in args):
        raise AgeHeaderError("a stanza has an empty argument or one that is not visible ASCII")
    body = bytearray()
    full = True
    while full:
        line = lines.next()
        if len(line) > _COLUMNS:
            raise AgeHeaderError(f"a stanza's body has a line longer than {_COLUMNS} columns")
        full = len(line) == _COLUMNS
        body += decode_base64(line, "a stanza's body")
    return Stanza(tuple(arg.decode("ascii") for arg in args), bytes(body))


def _mac(file_key: bytes, authenticated: bytes) -> bytes:
    return hmac.digest(derive_key(file_key, b"header"), authenticated, "sha256")
