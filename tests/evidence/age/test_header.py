import io
from collections.abc import Callable

import pytest

from dockd.base.errors import AgeHeaderError, AgeHmacError
from dockd.evidence.age import Stanza, X25519Identity
from dockd.evidence.age.header import MAX_HEADER, read_header, serialize_header

FILE_KEY = b"sixteen bytes on"


def read(header: bytes) -> tuple[Stanza, ...]:
    source = io.BytesIO(header)
    parsed = read_header(source.readline(), source)
    parsed.verify(FILE_KEY)
    return parsed.stanzas


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 96, 97, 1000])
def test_a_stanza_of_any_body_is_read_as_it_was_written(size: int) -> None:
    stanzas = (Stanza(("grease", "!~", "x"), bytes(range(256)) * 4), Stanza(("x",), b"b" * size))

    header = serialize_header(stanzas, FILE_KEY)

    assert read(header) == stanzas
    assert max(len(line) for line in header.splitlines()) == 64


def test_the_payload_begins_right_after_the_header() -> None:
    source = io.BytesIO(serialize_header([Stanza(("x",), b"")], FILE_KEY) + b"payload")

    read_header(source.readline(), source)

    assert source.read() == b"payload"


def test_another_file_key_does_not_match_the_mac() -> None:
    source = io.BytesIO(serialize_header([Stanza(("x",), b"")], FILE_KEY))
    header = read_header(source.readline(), source)

    with pytest.raises(AgeHmacError):
        header.verify(bytes(16))


@pytest.mark.parametrize(
    "damage",
    [
        lambda header: b"",
        lambda header: header[:-1],
        lambda header: header.replace(b"\n", b"\r\n"),
        lambda header: header.replace(b"/v1", b"/v2"),
        lambda header: header.replace(b"-> x", b"->  x"),
        lambda header: header.replace(b"-> x", b"-> x "),
        lambda header: header.replace(b"-> x", b"-> \xc3\xa9"),
        lambda header: header.replace(b"-> x", b"->"),
        lambda header: header.replace(b"-> x", b"x"),
        lambda header: header.replace(b"-> x", b"=> x"),
        lambda header: header.replace(b"YmI\n", b"YmI=\n"),
        lambda header: header.replace(b"YmI\n", b"YmJ\n"),
        lambda header: header.replace(b"YmI\n", b""),
        lambda header: header.replace(b"YmI\n", b"YmI\nYmI\n"),
        lambda header: header.replace(b"YmI\n", b"YmJi" * 17 + b"\n"),
        lambda header: header.replace(b"YmI\n", b"Ym I\n"),
        lambda header: header.replace(b"--- ", b"---"),
        lambda header: header.replace(b"--- ", b"---  "),
        lambda header: header.replace(b"--- ", b"---- "),
        lambda header: header[:-2] + b"\n",
        lambda header: header[:-44] + b"AAAA\n",
        lambda header: header[:-1] + b" \n",
        lambda header: header[: header.index(b"->")] + header[header.index(b"---") :],
    ],
)
def test_a_header_that_the_grammar_does_not_allow_is_refused(
    damage: Callable[[bytes], bytes],
) -> None:
    header = serialize_header([Stanza(("x",), b"bb")], FILE_KEY)
    assert read(header)
    assert damage(header) != header

    with pytest.raises(AgeHeaderError):
        read(damage(header))


class Endless(io.RawIOBase):
    """A source that goes on with the same bytes for ever."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what callers pass
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self.given += count
        return count


@pytest.mark.parametrize("endless", [b"A" * 4096, b"-> x\n\n" * 1000])
def test_a_header_without_end_is_refused_before_it_fills_the_memory(endless: bytes) -> None:
    source = Endless(endless)

    with pytest.raises(AgeHeaderError, match="longer than"), io.BufferedReader(source) as reader:
        read_header(b"age-encryption.org/v1\n", reader)

    assert source.given < 2 * MAX_HEADER


def test_a_stanza_says_its_type_first() -> None:
    stanza = X25519Identity.generate().recipient.wrap(FILE_KEY)

    assert stanza.args[0] == "X25519"
    assert len(stanza.body) == 32
