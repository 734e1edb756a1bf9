import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dockd.base.clock import Clock
from dockd.base.errors import (
    DockdError,
    LedgerError,
    ReceiptRefusedError,
    RejectedError,
    SpoolDamagedError,
    SpoolError,
    TransientError,
)
from dockd.base.randomness import Randomness
from dockd.base.retry import Wakeup, retrying
from tests.clocks import FakeClock

FIRST, CAP = 1.0, 30.0


def run_failing(
    errors: list[BaseException],
    *,
    pause: Callable[[float], Awaitable[None]],
    progressed: Callable[[], bool] = lambda: False,
) -> list[tuple[DockdError, float]]:
    """Fail with each error in turn, then succeed; returns what was waited for."""
    waits: list[tuple[DockdError, float]] = []
    remaining = iter(errors)

    async def run() -> None:
        attempts = retrying(
            first=FIRST,
            cap=CAP,
            randomness=Randomness(),
            pause=pause,
            progressed=progressed,
            on_wait=lambda error, seconds: waits.append((error, seconds)),
        )
        async for attempt in attempts:
            with attempt:
                for error in remaining:
                    raise error

    asyncio.run(run())
    return waits


def longest_pauses(count: int, *, runs: int = 60) -> list[float]:
    """The longest of many pauses after each failure in a row: near the jitter's upper edge."""
    longest = [0.0] * count
    for _ in range(runs):
        clock = FakeClock()
        run_failing([TransientError() for _ in range(count)], pause=clock.sleep)
        longest = [max(pair) for pair in zip(longest, clock.slept, strict=True)]
    return longest


def test_pauses_are_random_in_a_window_that_doubles_up_to_the_cap() -> None:
    windows = [1, 2, 4, 8, 16, 30, 30]
    for longest, window in zip(longest_pauses(len(windows)), windows, strict=True):
        assert window * 0.7 < longest <= window


def test_transient_failures_are_retried_without_end() -> None:
    clock = FakeClock()
    run_failing([TransientError() for _ in range(2000)], pause=clock.sleep)
    assert len(clock.slept) == 2000
    assert max(clock.slept) <= CAP


def test_a_longer_pause_that_the_server_asks_for_is_kept() -> None:
    clock = FakeClock()
    run_failing([TransientError(retry_after=120.0)], pause=clock.sleep)
    assert clock.slept == [120.0]


def test_a_server_that_asks_for_no_pause_does_not_switch_the_backoff_off() -> None:
    clock = FakeClock()
    run_failing([TransientError(retry_after=0.0) for _ in range(20)], pause=clock.sleep)
    assert max(clock.slept) > FIRST


def test_progress_begins_the_backoff_again() -> None:
    clock = FakeClock()
    errors: list[BaseException] = [TransientError() for _ in range(50)]
    run_failing(errors, pause=clock.sleep, progressed=lambda: True)
    assert max(clock.slept) <= FIRST


def test_each_pause_is_announced_with_its_error() -> None:
    clock = FakeClock()
    errors: list[BaseException] = [TransientError("one"), TransientError("two")]
    waits = run_failing(errors, pause=clock.sleep)
    assert [error for error, _ in waits] == errors
    assert [seconds for _, seconds in waits] == clock.slept


@pytest.mark.parametrize("error", [SpoolError(), LedgerError(), ReceiptRefusedError()])
def test_trouble_that_is_not_the_servers_is_retried_as_well(error: DockdError) -> None:
    clock = FakeClock()
    assert [raised for raised, _ in run_failing([error], pause=clock.sleep)] == [error]


@pytest.mark.parametrize(
    "error", [RejectedError("too large"), SpoolDamagedError("gone"), ValueError("a bug")]
)
def test_other_errors_end_the_attempts_as_they_are(error: Exception) -> None:
    clock = FakeClock()
    with pytest.raises(type(error)) as raised:
        run_failing([error], pause=clock.sleep)
    assert raised.value is error
    assert clock.slept == []


def test_a_cancellation_ends_the_attempts() -> None:
    with pytest.raises(asyncio.CancelledError):
        run_failing([asyncio.CancelledError()], pause=FakeClock().sleep)


def test_a_cancellation_ends_a_pause() -> None:
    async def run() -> None:
        pausing = asyncio.Event()
        wakeup = Wakeup(Clock())

        async def pause(_: float) -> None:
            pausing.set()
            await wakeup.pause(3600)

        async def work() -> None:
            attempts = retrying(
                first=FIRST,
                cap=CAP,
                randomness=Randomness(),
                pause=pause,
                progressed=lambda: False,
                on_wait=lambda *_: None,
            )
            async for attempt in attempts:
                with attempt:
                    raise TransientError

        task = asyncio.create_task(work())
        await pausing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_wake_up_ends_every_pause_that_is_under_way_and_no_later_one() -> None:
    async def run() -> None:
        wakeup = Wakeup(Clock())
        pauses = [asyncio.create_task(wakeup.pause(3600)) for _ in range(3)]
        await asyncio.sleep(0)
        wakeup.wake()
        await asyncio.gather(*pauses)

        later = asyncio.create_task(wakeup.pause(3600))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not later.done()
        later.cancel()

    asyncio.run(run())


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_good_news_ends_a_pause_as_far_as_it_allows() -> None:
    async def run() -> None:
        wakeup = Wakeup(Clock())
        whole = asyncio.create_task(wakeup.pause(3600))
        first_part = asyncio.create_task(wakeup.pause(3600, at_least=1800))
        none_of_it = asyncio.create_task(wakeup.pause(3600, at_least=0))
        await asyncio.sleep(0.01)
        wakeup.ease()
        await none_of_it
        await settled()
        assert not whole.done()
        assert not first_part.done()
        wakeup.wake()
        await asyncio.gather(whole, first_part)

    asyncio.run(run())


def test_good_news_that_came_too_early_counts_when_the_pause_allows_it() -> None:
    async def run() -> None:
        wakeup = Wakeup(Clock())
        pausing = asyncio.create_task(wakeup.pause(3600, at_least=0.01))
        await asyncio.sleep(0)
        wakeup.ease()
        await pausing

    asyncio.run(run())


def test_an_order_ends_both_parts_of_a_pause() -> None:
    async def run() -> None:
        wakeup = Wakeup(Clock())
        pauses = [asyncio.create_task(wakeup.pause(3600, at_least=least)) for least in (0, 60)]
        await asyncio.sleep(0.01)
        wakeup.wake()
        await asyncio.gather(*pauses)

    asyncio.run(run())


def test_a_pause_ends_by_itself() -> None:
    clock = FakeClock()
    asyncio.run(Wakeup(clock).pause(7))
    assert clock.elapsed == 7
    asyncio.run(Wakeup(clock).pause(7, at_least=3))
    assert clock.slept == [7, 3, 4]
