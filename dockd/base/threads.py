"""Threads as a seam: where blocking work runs.

Calls run by the event loop's executors (``run_in_executor``); a loop of another kind can run
them elsewhere. A call that hangs in the kernel can't be ended, only left behind.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakSet

from dockd.base.clock import Clock
from dockd.base.errors import CameraHangsError

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a folder has to answer, unless a call is given more."""
DEVICES_PATIENCE = 600.0
"""The same for a device: the kernel retries a bad sector for minutes."""
_SLOWEST = 1 << 20
"""Bytes per second of the slowest camera."""
_GRACE = 5.0
"""Seconds that a cancellation waits for a call to return."""
_MOST = 96
"""Concurrent calls of one camera; more of them wait."""

Thread = threading.Thread
"""A thread that was started; ``join`` waits for its end."""

_pools: WeakSet["Pool"] = WeakSet()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking function on one of the threads that everything shares."""
    return await asyncio.to_thread(function, *args, **kwargs)


def shared_pool(threads: int) -> None:
    """Set how many threads :func:`in_thread` has in the running event loop."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))


def start(run: Callable[[], None], name: str, *, daemon: bool = False) -> Thread:
    """Start a thread for one long piece of work; a daemon is not waited for at the end."""
    thread = Thread(target=run, name=name, daemon=daemon)
    thread.start()
    return thread


class Pool:
    """Threads for one kind of blocking call, which wait for no other kind."""

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._running: set[int] = set()
        """The threads on which a call runs now."""
        self.abandoned = False
        """Whether its calls are no longer awaited; see :func:`left_behind`."""
        _pools.add(self)

    @property
    def running(self) -> int:
        """The number of calls that have begun, and have not returned."""
        return len(self._running)

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Run a blocking call as soon as a thread is free."""

        def noted() -> T:
            thread = threading.get_ident()
            self._running.add(thread)
            try:
                return function()
            finally:
                self._running.discard(thread)

        return asyncio.get_running_loop().run_in_executor(self._executor, noted)

    def close(self) -> None:
        """Accept no more calls; those that were accepted still run."""
        self._executor.shutdown(wait=False)

    def abandon(self) -> None:
        """Accept no more calls, drop those that have not begun, and wait for none."""
        self.abandoned = True
        self._executor.shutdown(wait=False, cancel_futures=True)


def left_behind() -> int:
    """Return how many abandoned calls still run; Python waits for them when it exits."""
    return sum(pool.running for pool in list(_pools) if pool.abandoned)


class Threads:
    """Where the blocking calls of one camera are made.

    A call that doesn't return is abandoned, and while there is one, no other is made: a
    network folder whose server is gone would take thread after thread.
    """

    def __init__(
        self, name: str, patience: float | None = None, clock: Clock | None = None
    ) -> None:
        self.patience = PATIENCE if patience is None else patience
        self.clock = clock or Clock()
        self._name = name
        self._pool = Pool(name, _MOST)
        self._hanging: set[asyncio.Future[object]] = set()
        self._since = 0.0

    @property
    def hanging(self) -> int:
        """The number of calls that were abandoned, and have not returned."""
        return len(self._hanging)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that should return soon.

        Raises:
            CameraHangsError: it did not, or an earlier one has not.
        """
        return await self.patiently(partial(function, *args, **kwargs))

    async def patiently(
        self,
        function: Callable[[], T],
        *,
        more: float = 0.0,
        alive: Callable[[], float] = lambda: 0.0,
        stop: Callable[[], object] = lambda: None,
    ) -> T:
        """Make a call that may take long.

        Args:
            function: blocks.
            more: seconds that it may take beyond the usual patience.
            alive: when it last progressed, by ``self.clock.monotonic``.
            stop: asks the call to end, once it is abandoned.

        Raises:
            CameraHangsError: it hangs, or an earlier call does.
        """
        if self._hanging:
            raise self._hangs()
        began = self.clock.monotonic()
        running = self._pool.run(function)
        try:
            while not running.done():
                left = max(began, alive()) + self.patience + more - self.clock.monotonic()
                if left <= 0:
                    stop()
                    self._give_up(running)
                    raise self._hangs()
                await asyncio.wait({running}, timeout=left)
        except asyncio.CancelledError:
            stop()
            await self._within(running, _GRACE)
            if running.done():
                running.exception()  # the cancellation takes precedence
            else:
                self._give_up(running)
            raise
        return running.result()

    async def _within(self, running: "asyncio.Future[T]", seconds: float) -> None:
        """Wait for a call, at most for so long; further cancellations change nothing."""
        end = self.clock.monotonic() + seconds
        while not running.done() and (left := end - self.clock.monotonic()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running}, timeout=left)

    def _give_up(self, running: "asyncio.Future[T]") -> None:
        if not self._hanging:
            self._since = self.clock.monotonic()
        call: asyncio.Future[object] = running  # type: ignore[assignment]
        self._hanging.add(call)
        self._pool.abandoned = True
        call.add_done_callback(self._returned)

    def _returned(self, call: "asyncio.Future[object]") -> None:
        self._hanging.discard(call)
        self._pool.abandoned = bool(self._hanging)
        if not call.cancelled():
            call.exception()  # its result is not needed

    def _hangs(self) -> CameraHangsError:
        seconds = self.clock.monotonic() - self._since
        return CameraHangsError(
            f"{self._name}: {len(self._hanging)} calls have not returned, the first abandoned"
            f" {seconds:.0f} s ago",
            hint="check the folder's server and mount, or the device; dockd continues after that",
        )


def reading_seconds(size: int) -> float:
    """Return how long reading or writing some bytes may take beyond the usual patience."""
    return size / _SLOWEST
