"""Server-sent events: the server's side; ``event_stream`` is the client's.

Source: HTML Living Standard (WHATWG), section 9.2 "Server-sent events".
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from dockd.station.control.encoding import encode
from dockd.station.control.problems import ApiError
from dockd.station.control.views import Status, View

MOST = 48
"""Concurrent streams of a listener; its other connections are for short requests."""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # keeps a proxy from collecting events
    "X-Content-Type-Options": "nosniff",
}


def message(event: str, view: View) -> bytes:
    """Return one event whose data is a view as JSON, which has no line ends."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), encode(view))


class Streams:
    """The streams of one listener."""

    def __init__(self) -> None:
        self._open = 0

    def answer(
        self,
        request: Request,
        changes: Callable[[], AsyncIterator[Status]],
        encode: Callable[[Status], bytes],
        *,
        when_quiet: Callable[[Status], bytes],
        quiet_seconds: float,
    ) -> Response:
        """Answer with changes for as long as the client is connected.

        Args:
            request: what is answered; a HEAD gets no events.
            changes: yields the status at once, then each different one.
            encode: makes an event of a status.
            when_quiet: makes the sign of life that is sent when nothing has changed for a
                while.
            quiet_seconds: that while.
        """
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=HEADERS)
        return _Stream(self, _events(changes(), encode, when_quiet, quiet_seconds))

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a stream within the context.

        Raises:
            ApiError: the limit is reached.
        """
        if self._open >= MOST:
            raise ApiError(
                503,
                "busy",
                f"the limit of {MOST} event streams is reached",
                hint="close one of them",
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class _Stream(StreamingResponse):
    """A response that counts as one of a listener's streams while it is sent."""

    def __init__(self, streams: Streams, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=HEADERS)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._streams.one_more():
            await super().__call__(scope, receive, send)


async def _events(
    changes: AsyncIterator[Status],
    encode: Callable[[Status], bytes],
    when_quiet: Callable[[Status], bytes],
    quiet_seconds: float,
) -> AsyncIterator[bytes]:
    first = await anext(changes, None)
    if first is None:
        return
    status = first
    yield encode(status)
    upcoming = asyncio.ensure_future(anext(changes))
    try:
        while True:
            # A timeout around anext would cancel, and by that end, what makes the changes.
            await asyncio.wait({upcoming}, timeout=quiet_seconds)
            if not upcoming.done():
                yield when_quiet(status)
                continue
            try:
                status = upcoming.result()
            except StopAsyncIteration:
                return
            yield encode(status)
            upcoming = asyncio.ensure_future(anext(changes))
    finally:
        upcoming.cancel()
