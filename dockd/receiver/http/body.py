"""A request's body as it arrives, in batches, and never longer than it is waited for."""

import asyncio
import enum

from starlette.types import Receive

from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError

BATCH = 1 << 20
"""Bytes after which a batch is handed on."""
IDLE_SECONDS = 60.0
"""How long a body may stop arriving."""
BATCH_SECONDS = 300.0
"""How long a batch may take: no connection is held for less than some 3.5 KB/s."""
SMALL_SECONDS = 30.0
"""How long a body may take that is read at once."""


class End(enum.Enum):
    """How a body ended."""

    COMPLETE = "complete"
    GONE = "gone"
    SLOW = "slow"
    STOPPED = "stopped"


class Body:
    """A body that is read in batches, and can be stopped from outside."""

    def __init__(
        self,
        receive: Receive,
        *,
        idle_seconds: float = IDLE_SECONDS,
        batch_seconds: float = BATCH_SECONDS,
    ) -> None:
        self._receive = receive
        self._idle_seconds = idle_seconds
        self._batch_seconds = batch_seconds
        self._waiting: asyncio.Timeout | None = None
        self._stopped = False
        self.end: End | None = None
        """How it ended, once it has."""

    def stop(self) -> None:
        """Make the reader end now, with what has arrived."""
        self._stopped = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def batch(self) -> list[bytes]:
        """Return the next batch: about ``BATCH`` bytes, fewer at the end, none after it."""
        batch: list[bytes] = []
        size = 0
        now = asyncio.get_running_loop().time
        deadline = now() + self._batch_seconds

        def due() -> float:
            return min(now() + self._idle_seconds, deadline)

        try:
            async with asyncio.timeout_at(due()) as self._waiting:
                while size < BATCH and self.end is None and not self._stopped:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        self.end = End.GONE
                        break
                    if data := message.get("body", b""):
                        batch.append(data)
                        size += len(data)
                    if not message.get("more_body", False):
                        self.end = End.COMPLETE
                    self._waiting.reschedule(due())
        except TimeoutError:
            self.end = End.STOPPED if self._stopped else End.SLOW
        finally:
            self._waiting = None
        if self._stopped and self.end is None:
            self.end = End.STOPPED
        return batch


async def read_small(receive: Receive, limit: int) -> bytes:
    """Read a whole body of at most ``limit`` bytes.

    Raises:
        RequestError: it is longer, or did not arrive in time.
    """
    assert limit < BATCH  # so that one batch is all
    body = Body(receive, batch_seconds=SMALL_SECONDS)
    content = b"".join(await body.batch())
    if len(content) > limit:
        raise RequestError(problems.TOO_LARGE, f"the body is longer than {limit} bytes")
    if body.end is not End.COMPLETE:
        raise RequestError(problems.TOO_SLOW, "the body did not arrive whole")
    return content
