"""Orders to hold something, as time passes."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from dockd.clock import timestamp
from dockd.ledger import Ledger
from dockd.pauses import Pauses
from tests.clocks import START, FakeClock


class SettableClock(FakeClock):
    """A clock on which waiting takes as long as the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        self.slept.append(seconds)
        self.waits.set()
        await event.wait()
        return True


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.db", FakeClock())) as opened:
        yield opened


def after(seconds: float) -> str:
    return timestamp(START + timedelta(seconds=seconds))


def test_a_pause_is_over_at_its_end_whether_anybody_noticed_or_not(ledger: Ledger) -> None:
    clock = FakeClock()
    pauses = Pauses(ledger, clock, lambda: None)
    asyncio.run(pauses.pause(["wipes"], reason="x", until=after(100), uid=1))
    assert pauses.holds("wipes")
    assert not pauses.holds("uploads")
    clock.elapsed = 100
    assert not pauses.holds("wipes")
    assert pauses.current() == []


def test_the_end_is_waited_for_told_and_kept(ledger: Ledger) -> None:
    clock = FakeClock()
    changes: list[bool] = []
    pauses = Pauses(ledger, clock, lambda: changes.append(pauses.holds("wipes")))

    async def run() -> None:
        await pauses.pause(["wipes"], reason="x", until=after(200), uid=1)
        running = asyncio.create_task(pauses.run())
        while len(changes) < 2:  # noqa: ASYNC110  # the fake clock takes no time
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(run())
    assert changes == [True, False]
    assert clock.elapsed >= 200
    assert ledger.pauses() == []


def test_a_clock_that_is_set_is_noticed_within_a_minute(ledger: Ledger) -> None:
    clock = SettableClock()
    pauses = Pauses(ledger, clock, lambda: None)

    async def run() -> None:
        await pauses.pause(["wipes"], reason="x", until=after(10 * 86400), uid=1)
        running = asyncio.create_task(pauses.run())
        await clock.waits.wait()
        running.cancel()

    asyncio.run(run())
    assert clock.slept[-1] <= 60


def test_what_was_held_is_held_after_a_restart_and_told_again(ledger: Ledger) -> None:
    first = Pauses(ledger, FakeClock(), lambda: None)
    asyncio.run(first.pause(["uploads", "wipes"], reason="a search", until=None, uid=1000))
    second = Pauses(ledger, FakeClock(), lambda: None)
    assert second.current() == first.current()
    asyncio.run(second.resume(["uploads"], uid=0))
    assert [pause.what for pause in Pauses(ledger, FakeClock(), lambda: None).current()] == [
        "wipes"
    ]
    assert [(e.event, e.detail["uid"]) for e in ledger.entries()] == [
        ("order.pause", 1000),
        ("order.pause", 1000),
        ("order.resume", 0),
    ]


def test_resuming_what_is_not_held_changes_nothing(ledger: Ledger) -> None:
    pauses = Pauses(ledger, FakeClock(), lambda: None)
    asyncio.run(pauses.resume(["uploads"], uid=0))
    assert list(ledger.entries()) == []
