import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from dockd.base.concurrency import to_the_end, until_cancelled, work_through


class Blocking:
    """A function on a thread that returns when it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.release = threading.Event()
        self.returned = False

    def __call__(self) -> str:
        self.started.set()
        assert self.release.wait(10)
        self.returned = True
        return "done"


def test_a_function_runs_on_a_thread_and_gives_its_result() -> None:
    def add(first: int, *, second: int) -> tuple[int, bool]:
        return first + second, threading.current_thread() is threading.main_thread()

    assert asyncio.run(to_the_end(add, 1, second=2)) == (3, False)


def test_a_functions_error_is_raised() -> None:
    def fail() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        asyncio.run(to_the_end(fail))


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_cancellation_waits_until_the_function_has_returned(times: int) -> None:
    async def main() -> None:
        work = Blocking()
        task = asyncio.create_task(to_the_end(work))
        await asyncio.to_thread(work.started.wait)
        for _ in range(times):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done()
        work.release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.returned

    asyncio.run(main())


def test_a_cancellation_tells_the_function_to_stop() -> None:
    async def main() -> None:
        cancelled, started = threading.Event(), threading.Event()

        def work() -> None:
            started.set()
            assert cancelled.wait(10)
            raise OSError("broken off")

        task = asyncio.create_task(until_cancelled(cancelled, work))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_an_event_is_not_set_without_a_cancellation() -> None:
    cancelled = threading.Event()
    assert asyncio.run(until_cancelled(cancelled, lambda: "done")) == "done"
    assert not cancelled.is_set()


def collect(items: list[int], work: Callable[[int], Awaitable[None]], workers: int) -> None:
    asyncio.run(work_through(items, work, workers=workers))


def test_items_are_begun_in_order_so_many_at_a_time() -> None:
    begun: list[int] = []
    under_way, most = 0, 0

    async def work(item: int) -> None:
        nonlocal under_way, most
        begun.append(item)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    collect(list(range(20)), work, 3)
    assert begun == list(range(20))
    assert most == 3


def test_no_items_are_no_work() -> None:
    async def work(item: int) -> None:
        raise AssertionError

    collect([], work, 2)


def test_the_first_failure_stops_all_and_is_raised_itself() -> None:
    ended: list[int] = []

    async def work(item: int) -> None:
        if item == 1:
            raise ValueError(str(item))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(ValueError, match="1"):
        collect([0, 1, 2, 3], work, 2)
    assert ended == [0]


def test_a_cancellation_from_outside_cancels_every_worker() -> None:
    ended: list[int] = []
    begun = asyncio.Event()

    async def work(item: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    async def main() -> None:
        task = asyncio.create_task(work_through([1, 2, 3], work, workers=2))
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert set(ended) == {1, 2}


def test_a_cancellation_that_comes_while_a_failure_winds_up_outweighs_it() -> None:
    winding_up = asyncio.Event()

    async def work(item: int) -> None:
        if item == 1:
            raise ValueError(str(item))
        try:
            await asyncio.Event().wait()
        finally:
            winding_up.set()
            await asyncio.sleep(0.01)

    async def main() -> None:
        task = asyncio.create_task(work_through([0, 1], work, workers=2))
        await winding_up.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
