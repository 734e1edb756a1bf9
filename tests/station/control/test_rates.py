"""Bytes a second, of late."""

import pytest

from dockd.station.pipeline.activity import RATE_SECONDS, Meter
from tests.clocks import FakeClock


def test_a_rate_is_that_of_the_last_seconds() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    for _ in range(20):
        clock.elapsed += 1
        meter.add(1000)
    assert meter.rate() == pytest.approx(1000, rel=0.3)


def test_a_rate_is_right_from_the_first_second() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    clock.elapsed = 0.5
    meter.add(500)
    assert meter.rate() == pytest.approx(1000)


def test_what_stands_still_has_no_rate() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    clock.elapsed = 1
    meter.add(10**9)
    clock.elapsed = 1.1 + RATE_SECONDS
    assert meter.rate() == 0


def test_many_small_pieces_take_no_memory_each() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    for _ in range(10_000):
        clock.elapsed += 0.001
        meter.add(1)
    assert len(meter._counted) < 100
