import asyncio
from collections import Counter
from datetime import time

import pytest

from dockd.station.config import BandwidthRule
from dockd.station.targets.bandwidth import BURST_SECONDS, GRANTS_PER_SECOND, Limiter, current_limit
from tests.clocks import FakeClock

MIB = 2**20


async def send(limiter: Limiter, total: int, block: int = MIB) -> None:
    while total:
        total -= await limiter.take(min(block, total))


def test_without_a_limit_nothing_waits_and_blocks_stay_whole() -> None:
    clock = FakeClock()
    limiter = Limiter(clock, lambda: 0)
    assert asyncio.run(limiter.take(64 * MIB)) == 64 * MIB
    assert clock.slept == []


@pytest.mark.parametrize("rate", [1, 100, 10_000, 3 * MIB, 200 * MIB])
def test_a_long_transfer_takes_as_long_as_the_rate_says(rate: int) -> None:
    clock = FakeClock()
    asyncio.run(send(Limiter(clock, lambda: rate), 100 * rate))
    assert 100 - BURST_SECONDS - 1 <= clock.elapsed <= 100


def test_silence_earns_no_more_than_one_burst() -> None:
    clock = FakeClock()
    limiter = Limiter(clock, lambda: MIB)

    async def run() -> None:
        await send(limiter, MIB)
        clock.elapsed += 3600
        before = clock.elapsed
        await send(limiter, 10 * MIB)
        assert clock.elapsed - before >= 10 - BURST_SECONDS - 1 / GRANTS_PER_SECOND

    asyncio.run(run())


def test_a_slow_link_is_used_in_small_parts_not_in_long_silences() -> None:
    clock = FakeClock()
    asyncio.run(send(Limiter(clock, lambda: 4096), 100_000))
    assert max(clock.slept) <= 1 / GRANTS_PER_SECOND


def test_uploads_share_the_rate_evenly_whatever_their_blocks() -> None:
    clock = FakeClock()
    limiter = Limiter(clock, lambda: MIB)
    had: Counter[str] = Counter()

    async def upload(name: str, block: int) -> None:
        while clock.elapsed < 60:
            had[name] += await limiter.take(block)

    async def run() -> None:
        await asyncio.gather(upload("a", MIB), upload("b", MIB), upload("c", MIB // 4))

    asyncio.run(run())
    first_burst = BURST_SECONDS * MIB + 2 * MIB / GRANTS_PER_SECOND
    assert max(had.values()) - min(had.values()) <= first_burst
    assert sum(had.values()) == pytest.approx(61 * MIB, rel=0.02)


def test_a_changed_rate_counts_at_once() -> None:
    clock = FakeClock()
    rate = 1000
    limiter = Limiter(clock, lambda: rate)

    async def run() -> None:
        nonlocal rate
        await send(limiter, 10_000)
        rate = 0
        before = clock.elapsed
        await send(limiter, 1000 * MIB)
        assert clock.elapsed == before

    asyncio.run(run())


def test_an_upload_that_is_cancelled_while_it_waits_holds_nobody_back() -> None:
    async def run() -> None:
        clock = FakeClock()
        limiter = Limiter(clock, lambda: 8)
        waiting = [asyncio.create_task(send(limiter, 1000)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await waiting[1]
        assert waiting[0].cancelled()

    asyncio.run(run())


def rule(since: time, until: time, limit: int) -> BandwidthRule:
    return BandwidthRule(since=since, until=until, limit=limit)


DAY = rule(time(7), time(19), 100)
NIGHT = rule(time(22), time(5, 30), 300)
ALWAYS = rule(time(0), time(0), 900)


@pytest.mark.parametrize(
    ("local", "limit"),
    [
        (time(6, 59, 59), 50),
        (time(7), 100),
        (time(18, 59, 59), 100),
        (time(19), 50),
        (time(22), 300),
        (time(23, 59, 59), 300),
        (time(0), 300),
        (time(5, 29), 300),
        (time(5, 30), 50),
    ],
)
def test_the_rule_whose_hours_it_is_sets_the_limit(local: time, limit: int) -> None:
    assert current_limit(50, (DAY, NIGHT), local) == limit


def test_the_first_rule_that_applies_counts() -> None:
    assert current_limit(0, (DAY, ALWAYS), time(12)) == 100
    assert current_limit(0, (ALWAYS, DAY), time(12)) == 900


def test_a_rule_that_ends_when_it_begins_applies_all_day() -> None:
    assert current_limit(0, (ALWAYS,), time(0)) == 900
    assert current_limit(0, (ALWAYS,), time(13)) == 900


def test_without_a_schedule_the_bandwidth_is_the_limit() -> None:
    assert current_limit(0, (), time(12)) == 0
