"""Blocking work that outlasts cancellation, and workers that fail together."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from typing import ParamSpec, TypeVar

from dockd.base.threads import in_thread

P = ParamSpec("P")
T = TypeVar("T")


async def to_the_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function on a thread; a cancellation waits for it to return."""
    return await _shielded(lambda: None, function, *args, **kwargs)


async def until_cancelled(
    cancelled: threading.Event, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a function on a thread; a cancellation sets ``cancelled`` and waits for it to return."""
    return await _shielded(cancelled.set, function, *args, **kwargs)


async def _shielded(
    stop: Callable[[], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    return await finished(in_thread(function, *args, **kwargs), stop)


async def finished(work: Awaitable[T], stop: Callable[[], object] = lambda: None) -> T:
    """Wait for work to end; a cancellation calls ``stop`` and still waits for the end."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        while not running.done():
            # A second cancellation waits as well; it would end an await, but not the work.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # the cancellation takes precedence
        raise


@contextlib.asynccontextmanager
async def on_threads(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context on threads."""
    entering = asyncio.ensure_future(in_thread(manager.__enter__))
    try:
        value = await finished(entering)
    except asyncio.CancelledError:
        if not entering.exception():
            await to_the_end(manager.__exit__, None, None, None)
        raise
    try:
        yield value
    finally:
        await to_the_end(manager.__exit__, None, None, None)


async def work_through(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], *, workers: int
) -> None:
    """Process the items in order, several at a time; the first failure stops all and is raised.

    A cancellation takes precedence over a failure, even one of a worker that was ending.
    """
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await work(item)

    async def all_of_them() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(worker())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    # In a task of its own: Python 3.11's TaskGroup forgets a cancellation while it aborts.
    work_of_all = asyncio.ensure_future(all_of_them())
    await finished(work_of_all, work_of_all.cancel)
