"""ASCII armor, for reading only.

Follows "ASCII armor" of https://c2sp.org/age: strict PEM (RFC 7468, figure 3) with LF
or CRLF, and white space allowed before and after it.
"""

import base64
import binascii
import io
from collections.abc import Iterator
from typing import IO

from dockd.base.errors import AgeError

_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END = b"-----END AGE ENCRYPTED FILE-----"
_COLUMNS = 64
_FULL_LINE = 48  # bytes that 64 columns of base64 stand for
_MAX_LINE = 128


def is_armor(first_line: bytes) -> bool:
    """Return whether a file with this first line is armored, even if malformed."""
    return first_line.startswith(b"-----") or (first_line != b"" and not first_line.strip())


def dearmor(first_line: bytes, source: IO[bytes]) -> io.BufferedReader:
    """Return the binary content of an armored file whose first line was read already.

    Reading from it raises an ``AgeError`` if the armor is malformed.
    """
    return io.BufferedReader(_ArmorReader(_decoded_lines(first_line, source)))


class _ArmorReader(io.RawIOBase):
    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what callers pass
        self._rest = self._rest or next(self._lines, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _decoded_lines(line: bytes, source: IO[bytes]) -> Iterator[bytes]:
    while line and not line.strip():
        line = source.readline(_MAX_LINE)
    if _without_newline(line) != _BEGIN:
        raise AgeError("its ASCII armor has no valid beginning")
    size = _FULL_LINE
    while (line := _without_newline(source.readline(_MAX_LINE))) != _END:
        if size < _FULL_LINE:
            raise AgeError("its ASCII armor does not end after a short line")
        data = _decode(line)
        size = len(data)
        yield data
    while rest := source.readline(_MAX_LINE):
        if rest.strip():
            raise AgeError("unexpected data after its ASCII armor")


def _without_newline(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _decode(line: bytes) -> bytes:
    try:
        data = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise AgeError("its ASCII armor has a line that is not base64") from error
    if not data or len(line) > _COLUMNS or base64.b64encode(data) != line:
        raise AgeError("its ASCII armor has a line that is empty, too long or not canonical")
    return data
