"""What fails is shown for as long as it does."""

from datetime import timedelta

from dockd.base import events
from dockd.base.board import Board
from dockd.base.errors import SpoolError
from dockd.base.logs import Repeats
from tests.clocks import START, FakeClock


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.board = Board()
        self.repeats = Repeats(self.clock, events.SPOOL_FAILED, events.SPOOL_RECOVERED, self.board)

    def fail(self, *key: str, retry_in: float | None = None) -> None:
        error = SpoolError("the disk is gone", hint="look at it")
        self.repeats.failure(*key, error=error, retry_in=retry_in)


def test_a_failure_is_shown_with_its_reason_since_its_first_time() -> None:
    bench = Bench()
    bench.fail("a")
    bench.clock.elapsed = 90.0
    bench.fail("a", retry_in=5.0)
    (failing,) = bench.board.failing()
    assert failing.event == "spool.failed"
    assert failing.error.hint == "look at it"
    assert failing.since == START
    assert failing.at == START + timedelta(seconds=90)
    assert failing.next_try == START + timedelta(seconds=95)
    assert failing.failures == 2


def test_success_ends_it_and_leaves_others() -> None:
    bench = Bench()
    bench.fail("a")
    bench.fail("b")
    bench.repeats.success("a")
    assert len(bench.board.failing()) == 1
    bench.repeats.success("b")
    assert bench.board.failing() == []


def test_what_is_gone_is_forgotten_with_all_its_keys() -> None:
    bench = Bench()
    bench.fail("camera", "1")
    bench.fail("camera", "2")
    bench.fail("cam", "3")
    bench.repeats.forget("camera")
    assert len(bench.board.failing()) == 1
    assert not bench.repeats.success("camera", "1")


def test_of_several_tries_to_come_the_next_one_is_shown() -> None:
    bench = Bench()
    bench.fail("target", retry_in=10.0)
    bench.fail("target", retry_in=300.0)
    assert bench.board.failing()[0].next_try == START + timedelta(seconds=10)
    bench.clock.elapsed = 20.0
    bench.fail("target", retry_in=300.0)
    bench.clock.elapsed = 21.0
    bench.fail("target", retry_in=300.0)
    assert bench.board.failing()[0].next_try == START + timedelta(seconds=320)


def test_the_oldest_failure_is_named_first() -> None:
    bench = Bench()
    bench.fail("old")
    bench.clock.elapsed = 5.0
    bench.fail("new")
    bench.fail("old")
    assert [one.failures for one in bench.board.failing()] == [2, 1]
