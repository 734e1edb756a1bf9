"""A request body as it arrives, with time limits."""

from collections.abc import AsyncIterator

from starlette.types import Receive

from dockd.base.clock import Clock
from dockd.receiver.core.body import BATCH
from dockd.receiver.core.errors import BodyBrokenError
from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError

IDLE_SECONDS = 60.0
"""How long a body may pause."""
BATCH_SECONDS = 300.0
"""How long ``BATCH`` bytes may take: no connection is held for less than about 3.5 KB/s."""
SMALL_SECONDS = 30.0
"""How long a small body may take as a whole."""


async def pieces(
    receive: Receive,
    clock: Clock,
    *,
    idle_seconds: float = IDLE_SECONDS,
    batch_seconds: float = BATCH_SECONDS,
) -> AsyncIterator[bytes]:
    """Yield a body's pieces; only the time spent waiting for the client counts.

    Raises:
        BodyBrokenError: the client is gone, or too slow.
    """
    left, size = batch_seconds, 0
    while True:
        began = clock.monotonic()
        try:
            async with clock.timeout(min(idle_seconds, left)):
                message = await receive()
        except TimeoutError as error:
            raise BodyBrokenError from error
        left -= clock.monotonic() - began
        if message["type"] == "http.disconnect":
            raise BodyBrokenError
        if piece := message.get("body", b""):
            yield piece
            size += len(piece)
            if size >= BATCH:
                left, size = batch_seconds, 0
        if not message.get("more_body", False):
            return


async def read_small(receive: Receive, limit: int, clock: Clock) -> bytes:
    """Read a whole body of at most ``limit`` bytes.

    Raises:
        RequestError: it is longer, or did not arrive in time.
    """
    assert limit < BATCH  # so that the time of one batch is that of all
    content = b""
    try:
        async for piece in pieces(receive, clock, batch_seconds=SMALL_SECONDS):
            content += piece
            if len(content) > limit:
                raise RequestError(problems.TOO_LARGE, f"the body is longer than {limit} bytes")
    except BodyBrokenError as error:
        raise RequestError(problems.TOO_SLOW, "the body did not arrive whole") from error
    return content
