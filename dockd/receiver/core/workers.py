"""Threads by what they wait for, so that a slow disk delays nothing else."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from dockd.base.clock import Clock
from dockd.base.threads import Pool

_WRITERS = 32
"""Concurrent writes: pieces of uploads, and statements."""
_ASKERS = 8
"""Concurrent small reads: does it exist, how long is it, what does it say."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """The receiver's threads."""

    def __init__(self, readers: int, clock: Clock) -> None:
        self._clock = clock
        self._writers = Pool("write", _WRITERS)
        self._askers = Pool("ask", _ASKERS)
        self._readers = Pool("read-back", readers)
        self._recorder = Pool("record", 1)
        self._probe = Pool("probe", 1)
        self._log = Pool("statement-log", 1)
        self._begun: dict[int, float] = {}
        """When each call that should be short began, by its thread."""

    @property
    def longest(self) -> float:
        """Seconds that the oldest write or small read has been running."""
        begun = list(self._begun.values())
        return self._clock.monotonic() - min(begun) if begun else 0.0

    def write(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what changes the disk."""
        return self._writers.run(self._timed(partial(function, *args, **kwargs)))

    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run a small read; it never waits for writes or for clips that are read back."""
        return self._askers.run(self._timed(partial(function, *args, **kwargs)))

    def read(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what reads whole clips."""
        return self._readers.run(partial(function, *args, **kwargs))

    def record(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what writes to the index, one after the other; it waits for no other writes."""
        return self._recorder.run(self._timed(partial(function, *args, **kwargs)))

    def log(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run what extends the statement log; nothing else waits for it."""
        return self._log.run(partial(function, *args, **kwargs))

    def probe(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what shows whether the disk answers at all."""
        return self._probe.run(partial(function, *args, **kwargs))

    def _timed(self, work: Callable[[], T]) -> Callable[[], T]:
        def timed() -> T:
            key = threading.get_ident()
            self._begun[key] = self._clock.monotonic()
            try:
                return work()
            finally:
                del self._begun[key]

        return timed

    def close(self) -> None:
        """Accept no more work, and wait for none; see ``threads.left_behind``."""
        for pool in (
            self._writers,
            self._askers,
            self._readers,
            self._recorder,
            self._probe,
            self._log,
        ):
            pool.abandon()
