"""A day in seconds: an event loop whose time passes only while everybody waits."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple

from dockd.base.clock import Clock
from tests.clocks import START

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """Lets time pass instead of waiting, but for work on a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.working = 0
        """How many calls threads are busy with."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.working and timeout != 0:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout:
            self.elapsed += timeout
        return ready


async def _called(function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    return function(*arguments)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.elapsed

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        if executor is None:
            # Right here is faster, and nobody could tell.
            return asyncio.ensure_future(_called(func, *args), loop=self)
        self.selector.working += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: object) -> None:
        self.selector.working -= 1


class VirtualClock(Clock):
    """The clock of the loop that runs where it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return self._loop.time()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run something on such a loop."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main)


async def run_for(seconds: float, work: Awaitable[None]) -> None:
    """Let something work for so long, then cancel it."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    await asyncio.wait({task})
    for ended in done:
        ended.result()
