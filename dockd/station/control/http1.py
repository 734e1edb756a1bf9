"""The client's side of HTTP/1.1, as far as the control API needs it: one request a connection.

``http.client`` would do, but takes as long to import as all else that a short command imports.

Source: RFC 9112, sections 3 (request line), 4 (status line), 6.3 (length of a body) and 7.1
(chunked transfer coding).
"""

import re
import socket
from collections.abc import Iterator
from typing import BinaryIO

_LONGEST_LINE = 16 * 1024
_MOST_FIELDS = 100
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?\r\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r\n")


class BrokenAnswerError(Exception):
    """The answer ended early, or is not HTTP."""


class Response:
    """An answer whose body is still to be read.

    Everything may raise an OSError of the connection, or a BrokenAnswerError.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        match = _STATUS_LINE.fullmatch(self._line())
        if match is None:
            raise BrokenAnswerError("the answer is not HTTP")
        self.status = int(match[1])
        self._fields: dict[str, str] = {}
        for _ in range(_MOST_FIELDS):
            line = self._line()
            if line == b"\r\n":
                return
            name, _, value = line.decode("latin-1").partition(":")
            self._fields[name.lower()] = value.strip().lower()
        raise BrokenAnswerError("the answer has too many header fields")

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        if self._fields.get("transfer-encoding") == "chunked":
            yield from self._chunks()
        elif (length := self._fields.get("content-length", "")).isdecimal():
            yield self._exactly(int(length))
        else:
            yield from iter(lambda: self._stream.read(_LONGEST_LINE), b"")

    def _chunks(self) -> Iterator[bytes]:
        while True:
            match = _CHUNK_SIZE.fullmatch(self._line())
            if match is None:
                raise BrokenAnswerError("a chunk of the answer has no size")
            if not (size := int(match[1], 16)):
                return
            yield self._exactly(size)
            self._line()

    def _exactly(self, size: int) -> bytes:
        content = self._stream.read(size)
        if len(content) < size:
            raise BrokenAnswerError("the answer ended early")
        return content

    def _line(self) -> bytes:
        line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\r\n"):
            raise BrokenAnswerError("the answer ended early")
        return line


def send(connection: socket.socket, method: str, target: str, body: bytes) -> None:
    """Send a request, the only one of its connection.

    Raises:
        OSError: the connection failed.
    """
    head = (
        f"{method} {target} HTTP/1.1\r\n"
        "Host: dockd\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "\r\n"
    )
    connection.sendall(head.encode("ascii") + body)
