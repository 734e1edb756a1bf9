"""Server-sent events, the side that sends; ``event_stream`` has the side that reads.

Source: HTML Living Standard (WHATWG), section 9.2 "Server-sent events".
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dockd.control.views import Status, View

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # keeps a proxy from collecting events
    "X-Content-Type-Options": "nosniff",
}


def message(event: str, view: View) -> bytes:
    """Return one event whose data is a view as JSON, which has no line ends."""
    return f"event: {event}\ndata: {view.model_dump_json()}\n\n".encode()


def stream(
    request: Request,
    changes: Callable[[], AsyncIterator[Status]],
    encode: Callable[[Status], bytes],
    *,
    when_quiet: Callable[[Status], bytes],
    quiet_seconds: float,
) -> Response:
    """Answer with what changes, for as long as the client listens.

    Args:
        request: what is answered; a HEAD gets no events.
        changes: yields the status at once, then each that differs.
        encode: makes an event of a status.
        when_quiet: makes the sign of life that is sent when nothing has changed for a while.
        quiet_seconds: that while.
    """
    if request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=HEADERS)
    events = _events(changes(), encode, when_quiet, quiet_seconds)
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)


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
