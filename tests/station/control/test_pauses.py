"""Orders to hold something, as time passes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from dockd.base.clock import Clock, timestamp
from dockd.base.errors import LedgerError
from dockd.base.incidents import Incidents
from dockd.station.ledger.ledger import Ledger
from dockd.station.ledger.orders import Orders
from dockd.station.model import Pausable, Pause
from dockd.station.pipeline.pauses import Pauses
from tests.clocks import START, FakeClock
from tests.support import Handled


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


def pauses_of(ledger: Ledger, clock: FakeClock, changed: Callable[[], object]) -> Pauses:
    return Pauses(ledger, clock, Incidents(clock), Handled(lambda _: changed()))


def test_a_pause_is_over_at_its_end_whether_anybody_noticed_or_not(ledger: Ledger) -> None:
    clock = FakeClock()
    pauses = pauses_of(ledger, clock, lambda: None)
    asyncio.run(pauses.pause(["wipes"], reason="x", until=after(100), uid=1))
    assert pauses.holds("wipes")
    assert not pauses.holds("uploads")
    clock.elapsed = 100
    assert not pauses.holds("wipes")
    assert pauses.current() == []


def test_the_end_is_waited_for_told_and_kept(ledger: Ledger) -> None:
    clock = FakeClock()
    changes: list[bool] = []
    pauses: Pauses = pauses_of(ledger, clock, lambda: changes.append(pauses.holds("wipes")))

    async def run() -> None:
        await pauses.pause(["wipes"], reason="x", until=after(200), uid=1)
        running = asyncio.create_task(pauses.run())
        while ledger.queries.pauses():  # noqa: ASYNC110  # the fake clock takes no time
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(run())
    assert changes == [True, False]
    assert clock.elapsed >= 200


def test_a_clock_that_is_set_is_noticed_within_a_minute(ledger: Ledger) -> None:
    clock = SettableClock()
    pauses = pauses_of(ledger, clock, lambda: None)

    async def run() -> None:
        await pauses.pause(["wipes"], reason="x", until=after(10 * 86400), uid=1)
        running = asyncio.create_task(pauses.run())
        await clock.waits.wait()
        running.cancel()

    asyncio.run(run())
    assert clock.slept[-1] <= 60


def test_what_was_held_is_held_after_a_restart_and_told_again(ledger: Ledger) -> None:
    first = pauses_of(ledger, FakeClock(), lambda: None)
    asyncio.run(first.pause(["uploads", "wipes"], reason="a search", until=None, uid=1000))
    second = pauses_of(ledger, FakeClock(), lambda: None)
    assert second.current() == first.current()
    asyncio.run(second.resume(["uploads"], uid=0))
    assert [pause.what for pause in pauses_of(ledger, FakeClock(), lambda: None).current()] == [
        "wipes"
    ]
    assert [(e.event, e.detail["uid"]) for e in ledger.journal.entries()] == [
        ("order.pause", 1000),
        ("order.pause", 1000),
        ("order.resume", 0),
    ]


def test_resuming_what_is_not_held_changes_nothing(ledger: Ledger) -> None:
    pauses = pauses_of(ledger, FakeClock(), lambda: None)
    asyncio.run(pauses.resume(["uploads"], uid=0))
    assert list(ledger.journal.entries()) == []


class SlowOrders(Orders):
    """Orders that are forgotten and resumed only when a test lets them, and may fail."""

    gate: threading.Event
    asked: threading.Event
    errors: Iterator[Exception]

    def forget_pause(self, pause: Pause) -> None:
        self._wait()
        super().forget_pause(pause)

    def resume(self, whats: Sequence[Pausable], uid: int) -> None:
        self._wait()
        super().resume(whats, uid)

    def _wait(self) -> None:
        self.asked.set()
        assert self.gate.wait(20)
        for error in self.errors:
            raise error


class SlowLedger(Ledger):
    """A ledger with such orders."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path, clock)
        self.orders = self.slow = SlowOrders(self.database, self.journal, self.queries, self.clips)
        self.slow.gate, self.slow.asked = threading.Event(), threading.Event()
        self.slow.errors = iter(())


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowLedger]:
    with closing(SlowLedger(tmp_path / "slow.db", FakeClock())) as opened:
        yield opened


@asynccontextmanager
async def expiring(pauses: Pauses, clock: SettableClock, slow: SlowLedger) -> AsyncIterator[None]:
    """Let two orders run out, as far as the ledger that is asked to forget the first."""
    await pauses.pause(["uploads", "wipes"], reason="two hours", until=after(7200), uid=1)
    running = asyncio.create_task(pauses.run())
    await clock.waits.wait()
    clock.elapsed = 7200
    clock.waits.clear()
    pauses._new.set()
    await asyncio.to_thread(slow.slow.asked.wait, 20)
    yield
    slow.slow.gate.set()
    async with asyncio.timeout(20):
        await clock.waits.wait()
    running.cancel()


def test_an_order_that_comes_while_an_earlier_one_is_put_away_stays_in_force(
    slow: SlowLedger,
) -> None:
    clock = SettableClock()
    pauses = pauses_of(slow, clock, lambda: None)

    async def run() -> None:
        async with expiring(pauses, clock, slow):
            order = pauses.pause(["wipes"], reason="keep them", until=None, uid=2)
            ordering = asyncio.create_task(order)
            # It gets as far as it can, which is to the end where nothing makes it wait.
            await asyncio.wait({ordering}, timeout=0.1)
        await ordering

    asyncio.run(run())
    assert [(one.what, one.reason) for one in pauses.current()] == [("wipes", "keep them")]
    assert slow.queries.pauses() == pauses.current()


def test_resuming_what_is_just_over_hurts_nobody(slow: SlowLedger) -> None:
    clock = SettableClock()
    pauses = pauses_of(slow, clock, lambda: None)

    async def run() -> None:
        async with expiring(pauses, clock, slow):
            resuming = asyncio.create_task(pauses.resume(["uploads", "wipes"], uid=2))
            await asyncio.sleep(0)
        await resuming

    asyncio.run(run())
    assert pauses.current() == slow.queries.pauses() == []


def test_two_who_resume_at_once_are_both_obeyed(slow: SlowLedger) -> None:
    pauses = pauses_of(slow, FakeClock(), lambda: None)

    async def run() -> None:
        await pauses.pause(["wipes"], reason="x", until=None, uid=1)
        both = asyncio.gather(pauses.resume(["wipes"], uid=1), pauses.resume(["wipes"], uid=2))
        await asyncio.to_thread(slow.slow.asked.wait, 20)
        slow.slow.gate.set()
        await both

    asyncio.run(run())
    assert pauses.current() == []
    assert [entry.event for entry in slow.journal.entries()] == ["order.pause", "order.resume"]


@pytest.mark.parametrize("error", [LedgerError("no room"), RuntimeError("a mistake")])
def test_what_can_not_be_put_away_is_over_and_tried_again(
    slow: SlowLedger, error: Exception
) -> None:
    slow.slow.gate.set()
    slow.slow.errors = iter([error])
    changes: list[bool] = []
    pauses: Pauses = pauses_of(slow, FakeClock(), lambda: changes.append(pauses.holds("wipes")))

    async def run() -> None:
        await pauses.pause(["wipes"], reason="x", until=after(10), uid=1)
        running = asyncio.create_task(pauses.run())
        while log[-1]["event"] != "pause.recovered":
            assert not running.done()
            await asyncio.sleep(0)
        running.cancel()

    with structlog.testing.capture_logs() as log:
        asyncio.run(run())
    assert changes == [True, False, False]
    assert slow.queries.pauses() == []
    told = [line["event"] for line in log]
    assert told == ["order.pause", "pause.failed", "pause.expired", "pause.recovered"]


@pytest.mark.parametrize("until", ["2099-99-99T99:99:99.999Z", "", "9999-12-31T23:59:59-10:00"])
def test_a_kept_end_that_is_no_moment_keeps_nothing_from_starting(
    ledger: Ledger, until: str
) -> None:
    ledger.orders.pause([Pause("wipes", "x", after(0), until, 1)])
    clock = SettableClock()
    pauses = pauses_of(ledger, clock, lambda: None)

    async def run() -> None:
        running = asyncio.create_task(pauses.run())
        async with asyncio.timeout(20):
            await clock.waits.wait()
        assert pauses.holds("wipes")
        await pauses.resume(["wipes"], uid=1)
        running.cancel()

    asyncio.run(run())
    assert pauses.current() == ledger.queries.pauses() == []
