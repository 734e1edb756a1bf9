"""The client of the control socket reads HTTP/1.1 answers, and refuses what is none."""

import io
import socket

import pytest

from dockd.station.control.http1 import BrokenAnswerError, Response, send

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        (HEAD + b"Content-Length: 3\r\n\r\nabcd", [b"abc"]),
        (b"HTTP/1.0 200\r\n\r\nabc", [b"abc"]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nA;x=1\r\n" + b"0" * 10, None),
        (
            HEAD
            + b"transfer-encoding: Chunked\r\n\r\n2\r\nab\r\nA ;x=1\r\n0123456789\r\n0\r\n\r\n",
            [b"ab", b"0123456789"],
        ),
        (HEAD + b"Content-Length: 4\r\n\r\nabc", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\na", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\na", None),
        (HEAD + b"Content-Length: 3\r\n", None),
        (HEAD + b"X: y\r\n" * 200 + b"\r\n", None),
        (HEAD + b"X: " + b"y" * 20_000 + b"\r\n\r\n", None),
        (b"", None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"HTTP/2 200\r\n\r\n", None),
    ],
)
def test_a_body_is_whole_or_refused(answer: bytes, pieces: list[bytes] | None) -> None:
    if pieces is None:
        with pytest.raises(BrokenAnswerError):
            Response(io.BytesIO(answer)).read()
        return
    read = Response(io.BytesIO(answer))
    assert read.status == 200
    assert list(read.pieces()) == pieces


def test_a_request_states_how_long_its_body_is() -> None:
    here, there = socket.socketpair()
    with here, there:
        send(here, "POST", "/v1/resync", b"{}")
        here.shutdown(socket.SHUT_WR)
        with there.makefile("rb") as sent:
            head, body = sent.read().split(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/resync HTTP/1.1\r\nHost: dockd\r\n")
    assert b"\r\nContent-Length: 2" in head
    assert body == b"{}"
