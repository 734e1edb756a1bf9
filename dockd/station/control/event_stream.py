"""Server-sent events: the ``text/event-stream`` format.

Source: HTML Living Standard (WHATWG), section 9.2 "Server-sent events", 9.2.5 "Parsing an
event stream" and 9.2.6 "Interpreting an event stream". Reconnection, ``id`` and ``retry``
are left to the caller.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Message:
    """One event."""

    event: str
    data: str


def parse(chunks: Iterable[bytes]) -> Iterator[Message]:
    """Yield the events of a stream, each as soon as its blank line is received.

    An incomplete event at the end of the stream is discarded.
    """
    event, data = "", list[str]()
    for line in _lines(chunks):
        if not line:
            if data:
                yield Message(event or "message", "\n".join(data))
            event, data = "", []
            continue
        # A line that starts with a colon is a comment: a field without a name.
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "data":
            data.append(value)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    # Not str.splitlines: JSON may contain U+2028 and U+0085, which are no line ends here.
    rest, after_cr, at_start = b"", False, True
    for chunk in chunks:
        new = chunk[1:] if after_cr and chunk.startswith(b"\n") else chunk
        after_cr = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(rest + new)
        for line in lines:
            yield (line.removeprefix(_BOM) if at_start else line).decode("utf-8", "replace")
            at_start = False
