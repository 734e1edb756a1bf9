"""A clock for tests: time passes only when somebody sleeps, and then at once."""

import asyncio
from datetime import UTC, datetime, timedelta

from dockd.base.clock import Clock

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class FakeClock(Clock):
    """Stands still except for sleeping, which takes no real time."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.slept: list[float] = []
        super().__init__()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed += seconds
        await asyncio.sleep(0)
