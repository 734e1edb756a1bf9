"""Time as a seam: reading clocks, and waiting.

Waits and time limits run on the event loop's own clock; a simulation brings a loop as well.
"""

import asyncio
import math
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

_STEP = 1.0
"""Seconds by which the wall clock overtakes the monotonic one only if it was set."""


class Clock:
    """The machine's clocks; tests and simulations replace it to make time pass."""

    def __init__(self) -> None:
        self._ahead = math.inf
        """By how much the wall clock is ahead of the monotonic one, at most."""
        self._steady_since = self.monotonic()
        self.steady()

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds of a clock that is never set."""
        return time.monotonic()

    def steady(self) -> float:
        """Return for at least how many seconds the wall clock has not been set forward.

        Nothing is known of the time before this object was made, such as a boot without a
        time server.
        """
        before, wall, after = self.monotonic(), self.now().timestamp(), self.monotonic()
        if wall - after > self._ahead + _STEP:
            self._steady_since = after
            self._ahead = wall - before
        else:
            self._ahead = min(self._ahead, wall - before)
        return after - self._steady_since

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await asyncio.sleep(seconds)

    def block(self, seconds: float) -> None:
        """Wait for a number of seconds on a worker thread."""
        time.sleep(seconds)

    def timeout(self, seconds: float | None) -> "Timeout":
        """Return a time limit for an ``async with``, which raises TimeoutError; None: no limit."""
        return Timeout(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event, at most for a number of seconds; return whether it occurred."""
        sleeper = asyncio.ensure_future(self.sleep(seconds))
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({sleeper, waiter}, return_when=asyncio.FIRST_COMPLETED)
            return event.is_set()
        finally:
            sleeper.cancel()
            waiter.cancel()


class Timeout:
    """A time limit on what is awaited within; it can be restarted."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None

    async def __aenter__(self) -> Self:
        """Begin the time."""
        self._timeout = asyncio.timeout(self._seconds)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the time.

        Raises:
            TimeoutError: it was exceeded.
        """
        assert self._timeout is not None
        await self._timeout.__aexit__(kind, error, trace)

    def restart(self, seconds: float | None) -> None:
        """Set the limit to some seconds from now; None: no limit. Once expired, it stays so."""
        if self._timeout is not None and not self._timeout.expired():
            now = asyncio.get_running_loop().time()
            self._timeout.reschedule(None if seconds is None else now + seconds)


def timestamp(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
