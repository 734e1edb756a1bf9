"""Failures that go on: how often they are logged, and what is shown of them."""

import asyncio
import io
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import structlog

from dockd.base.errors import SpoolError, SpoolFullError
from dockd.base.incidents import REPEAT_CAP, REPEAT_FIRST, Incidents
from dockd.base.logs import configure
from dockd.station import events
from tests.clocks import START, FakeClock
from tests.support import log_lines


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure(level="debug", style="json", stream=stream)
    yield stream
    structlog.reset_defaults()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return log_lines(log.getvalue())


class Trouble:
    """A failure on a clock that the test sets."""

    def __init__(self, log: io.StringIO) -> None:
        self.log = log
        self.clock = FakeClock()
        self.incidents = Incidents(self.clock)
        self.scope = self.incidents.scope("spool")

    def fail(self, *scope: str, retry_in: float | None = None) -> None:
        error = SpoolFullError("no room", hint="look at it")
        self.scope.within(*scope).failed(events.spool_failed(), error, retry_in=retry_in)

    def works(self, *scope: str) -> bool:
        return self.scope.within(*scope).recovered(events.spool_failed)

    def told(self) -> list[tuple[str, int]]:
        return [(line["event"], line["failures"]) for line in lines(self.log)]


@pytest.fixture
def trouble(log: io.StringIO) -> Trouble:
    return Trouble(log)


def test_a_failure_is_written_at_once(trouble: Trouble) -> None:
    trouble.fail()
    assert trouble.told() == [("spool.failed", 1)]


def test_a_failure_that_goes_on_is_written_at_growing_intervals(trouble: Trouble) -> None:
    written: list[float] = []
    for _ in range(6 * 3600):
        before = len(trouble.log.getvalue())
        trouble.fail()
        if len(trouble.log.getvalue()) > before:
            written.append(trouble.clock.elapsed)
        trouble.clock.elapsed += 1
    intervals = [later - earlier for earlier, later in pairwise(written)]
    assert intervals[:7] == [REPEAT_FIRST * 2**n for n in range(6)] + [REPEAT_CAP]
    assert set(intervals[6:]) == {REPEAT_CAP}


def test_a_new_cause_is_written_at_once_and_causes_that_take_turns_are_no_flood(
    trouble: Trouble,
) -> None:
    for number in range(3600):
        error = SpoolFullError("no room") if number % 2 else SpoolError("no such disk")
        trouble.scope.failed(events.spool_failed(), error)
        trouble.clock.elapsed += 1
    first, second, *others = lines(trouble.log)
    assert (first["error"], second["error"]) == ("spool.failed", "spool.full")
    assert len(others) == 2 * 5


def test_words_that_never_repeat_are_no_flood(trouble: Trouble) -> None:
    for number in range(3600):
        word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        trouble.scope.failed(events.spool_failed(), SpoolError(f"request {word}, {number}"))
        trouble.clock.elapsed += 1
    assert len(lines(trouble.log)) < 30


def test_a_run_of_failures_ends_in_one_line_that_sums_it_up(trouble: Trouble) -> None:
    for _ in range(10):
        trouble.fail()
        trouble.clock.elapsed += 5
    trouble.works()
    trouble.works()
    assert trouble.told() == [("spool.failed", 1), ("spool.recovered", 10)]
    assert lines(trouble.log)[-1]["seconds"] == 50.0


def test_a_success_without_a_failure_is_not_worth_a_line(trouble: Trouble) -> None:
    trouble.works()
    assert trouble.told() == []


@pytest.mark.parametrize("error", [SpoolFullError("no room"), KeyError("a mistake")])
def test_no_error_leaves_a_fence(trouble: Trouble, error: Exception) -> None:
    with trouble.scope.fence(events.spool_failed()):
        raise error
    with trouble.scope.fence(events.spool_failed()):
        pass
    assert trouble.told() == [("spool.failed", 1), ("spool.recovered", 1)]


def test_a_fence_lets_a_cancellation_through(trouble: Trouble) -> None:
    with pytest.raises(asyncio.CancelledError), trouble.scope.fence(events.spool_failed()):
        raise asyncio.CancelledError
    assert trouble.told() == []


def test_a_new_run_after_a_recovery_is_written_at_once(trouble: Trouble) -> None:
    trouble.fail()
    trouble.works()
    trouble.fail()
    assert trouble.told() == [("spool.failed", 1), ("spool.recovered", 1), ("spool.failed", 1)]


def test_failures_of_different_things_are_told_apart(trouble: Trouble) -> None:
    for key in ("a", "b", "a", "b"):
        trouble.fail(key)
    trouble.works("a")
    assert trouble.told() == [("spool.failed", 1), ("spool.failed", 1), ("spool.recovered", 2)]


# What is shown


def test_a_failure_is_shown_with_its_reason_since_its_first_time(trouble: Trouble) -> None:
    trouble.fail("a")
    trouble.clock.elapsed = 90.0
    trouble.fail("a", retry_in=5.0)
    (failing,) = trouble.incidents.shown()
    assert failing.event == "spool.failed"
    assert failing.error.hint == "look at it"
    assert failing.since == START
    assert failing.at == START + timedelta(seconds=90)
    assert failing.next_try == START + timedelta(seconds=95)
    assert failing.failures == 2


def test_success_ends_it_and_leaves_others(trouble: Trouble) -> None:
    trouble.fail("a")
    trouble.fail("b")
    trouble.works("a")
    assert len(trouble.incidents.shown()) == 1
    trouble.works("b")
    assert trouble.incidents.shown() == []


def test_what_is_gone_is_forgotten_with_all_its_keys(trouble: Trouble) -> None:
    trouble.fail("camera", "1")
    trouble.fail("camera", "2")
    trouble.fail("cam", "3")
    trouble.scope.within("camera").close()
    assert len(trouble.incidents.shown()) == 1
    assert not trouble.works("camera", "1")


def test_of_several_tries_to_come_the_next_one_is_shown(trouble: Trouble) -> None:
    trouble.fail("target", retry_in=10.0)
    trouble.fail("target", retry_in=300.0)
    assert trouble.incidents.shown()[0].next_try == START + timedelta(seconds=10)
    trouble.clock.elapsed = 20.0
    trouble.fail("target", retry_in=300.0)
    trouble.clock.elapsed = 21.0
    trouble.fail("target", retry_in=300.0)
    assert trouble.incidents.shown()[0].next_try == START + timedelta(seconds=320)


def test_the_oldest_failure_is_named_first(trouble: Trouble) -> None:
    trouble.fail("old")
    trouble.clock.elapsed = 5.0
    trouble.fail("new")
    trouble.fail("old")
    assert [one.failures for one in trouble.incidents.shown()] == [2, 1]
