"""Threads of one camera's own: what hangs there in the kernel holds nobody else up."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakSet

from dockd.base.errors import CameraHangsError

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a folder has for an answer, unless it is asked for more."""
DEVICES_PATIENCE = 600.0
"""The same of a device: the kernel tries for minutes before it gives up on a bad sector."""
_SLOWEST = 1 << 20
"""Bytes a second of the slowest camera."""
_GRACE = 5.0
"""Seconds that a cancellation waits for an answer."""
_MOST = 96
"""Calls of one camera at once; more of them wait."""

_everybodys: WeakSet["Threads"] = WeakSet()


class Threads:
    """Where the blocking calls of one camera are made.

    A call that doesn't return is left to itself, and while there is one, no other is made:
    a network folder whose server is gone would take thread after thread.
    """

    def __init__(self, name: str, patience: float | None = None) -> None:
        self.patience = PATIENCE if patience is None else patience
        self._name = name
        self._executor = ThreadPoolExecutor(_MOST, thread_name_prefix=name)
        self._hanging: set[asyncio.Future[object]] = set()
        self._since = 0.0
        _everybodys.add(self)

    @property
    def hanging(self) -> int:
        """How many calls have been left to themselves, and have not returned."""
        return len(self._hanging)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that should be answered soon.

        Raises:
            CameraHangsError: it wasn't, or an earlier one has not been.
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
        """Make a call that may take its time.

        Args:
            function: blocks.
            more: seconds that it may take beside the usual patience.
            alive: when it last got on, by ``time.monotonic``.
            stop: asks it to end: it has been given up.

        Raises:
            CameraHangsError: it hangs, or an earlier call does.
        """
        if self._hanging:
            raise self._hangs()
        began = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(self._executor, function)
        try:
            while not running.done():
                left = max(began, alive()) + self.patience + more - time.monotonic()
                if left <= 0:
                    stop()
                    self._give_up(running)
                    raise self._hangs()
                await asyncio.wait({running}, timeout=left)
        except asyncio.CancelledError:
            stop()
            await _within(running, _GRACE)
            if running.done():
                running.exception()  # the cancellation outweighs it
            else:
                self._give_up(running)
            raise
        return running.result()

    def _give_up(self, running: "asyncio.Future[T]") -> None:
        if not self._hanging:
            self._since = time.monotonic()
        call: asyncio.Future[object] = running  # type: ignore[assignment]
        self._hanging.add(call)
        call.add_done_callback(self._returned)

    def _returned(self, call: "asyncio.Future[object]") -> None:
        self._hanging.discard(call)
        if not call.cancelled():
            call.exception()  # nobody waits for it

    def _hangs(self) -> CameraHangsError:
        seconds = time.monotonic() - self._since
        return CameraHangsError(
            f"{self._name}: {len(self._hanging)} calls have not returned, the first given up"
            f" {seconds:.0f} s ago",
            hint="check the folder's server and mount, or the device; dockd goes on once they do",
        )


def reading_seconds(size: int) -> float:
    """Return how long it may take, beside the usual patience, to read or write so many bytes."""
    return size / _SLOWEST


async def _within(running: "asyncio.Future[T]", seconds: float) -> None:
    """Wait for something, at most for so long; further cancellations change nothing."""
    end = time.monotonic() + seconds
    while not running.done() and (left := end - time.monotonic()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({running}, timeout=left)


def left_behind() -> int:
    """Return how many calls of whatever camera hang."""
    return sum(threads.hanging for threads in list(_everybodys))
