"""Threads by what they wait for, so that a slow disk holds up nothing but itself."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

_WRITERS = 32
"""Pieces of uploads, and statements, that are written at once."""
_ASKERS = 8
"""Questions to the disk at once: is it there, how long is it, what does it say."""

_at_work: set[int] = set()
"""The threads, of whatever receiver, that are at the disk now."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """The receiver's threads."""

    def __init__(self, readers: int) -> None:
        self._writers = ThreadPoolExecutor(_WRITERS, "write")
        self._askers = ThreadPoolExecutor(_ASKERS, "ask")
        self._readers = ThreadPoolExecutor(readers, "read-back")
        self._recorder = ThreadPoolExecutor(1, "record")
        self._probe = ThreadPoolExecutor(1, "probe")
        self._begun: dict[int, float] = {}
        """When each piece of work that should be short was taken to its thread."""

    @property
    def longest(self) -> float:
        """Seconds that the oldest write or question has been at the disk."""
        begun = list(self._begun.values())
        return time.monotonic() - min(begun) if begun else 0.0

    def write(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what changes the disk."""
        return _run(self._writers, self._timed(partial(function, *args, **kwargs)))

    def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run a small question; it never waits for writes or for clips that are read back."""
        return _run(self._askers, self._timed(partial(function, *args, **kwargs)))

    def read(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what reads whole clips."""
        return _run(self._readers, partial(function, *args, **kwargs))

    def record(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what goes into the database, one after the other; it waits for no other writes."""
        return _run(self._recorder, self._timed(partial(function, *args, **kwargs)))

    def probe(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Run what tells whether the disk answers at all."""
        return _run(self._probe, partial(function, *args, **kwargs))

    def _timed(self, work: Callable[[], T]) -> Callable[[], T]:
        def timed() -> T:
            key = threading.get_ident()
            self._begun[key] = time.monotonic()
            try:
                return work()
            finally:
                del self._begun[key]

        return timed

    def close(self) -> None:
        """Take no more work, and wait for none; see :func:`left_behind`."""
        for pool in (self._writers, self._askers, self._readers, self._recorder, self._probe):
            pool.shutdown(wait=False, cancel_futures=True)


def left_behind() -> int:
    """Return how many threads are at the disk; Python waits for them when it ends."""
    return len(_at_work)


def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
    def noted() -> T:
        thread = threading.get_ident()
        _at_work.add(thread)
        try:
            return work()
        finally:
            _at_work.discard(thread)

    return asyncio.get_running_loop().run_in_executor(pool, noted)
