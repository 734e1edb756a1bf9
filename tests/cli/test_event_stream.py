"""The examples and rules of the HTML Living Standard, section 9.2."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd.station.control.event_stream import Message, parse


@pytest.mark.parametrize(
    ("stream", "messages"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Message("message", "YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
            b"data:  third event\n\n",
            [
                Message("message", "first event"),
                Message("message", "second event"),
                Message("message", " third event"),
            ],
        ),
        (
            b"data\n\ndata\ndata\n\ndata:",
            [Message("message", ""), Message("message", "\n")],
        ),
        (b"data:test\n\ndata: test\n\n", [Message("message", "test")] * 2),
        (b"event: add\ndata: 1\n\ndata: 2\n\n", [Message("add", "1"), Message("message", "2")]),
        (b"event: add\n\ndata: 2\n\n", [Message("message", "2")]),
        (b"\xef\xbb\xbfdata: x\n\n", [Message("message", "x")]),
        (b"data: x\n\xef\xbb\xbfdata: y\n\n", [Message("message", "x")]),
        (b"data: cut off\n", []),
        (b"unknown: x\nretry: 10\ndata: x\n\n", [Message("message", "x")]),
        (b"data: \xff\n\n", [Message("message", "\N{REPLACEMENT CHARACTER}")]),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream: bytes, messages: list[Message]) -> None:
    assert list(parse([stream])) == messages


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_any_line_end_counts_wherever_the_stream_is_cut(end: bytes, piece: int) -> None:
    stream = end.join([b"event: status", b"data: one", b"data: two", b"", b"data: three", b"", b""])
    chunks = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    assert list(parse(chunks)) == [Message("status", "one\ntwo"), Message("message", "three")]


@given(st.text())
def test_what_is_no_line_end_in_the_standard_ends_no_line(text: str) -> None:
    data = json.dumps(text, ensure_ascii=False).replace("\x7f", "").encode("utf-8", "replace")
    (message,) = parse([b"data: " + data + b"\n\n"])
    assert message.data == data.decode()


def test_an_event_is_told_before_the_next_bytes_are_waited_for() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"data: x\r\n\r\n"
        raise AssertionError("waited")

    assert next(parse(chunks())) == Message("message", "x")
