import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import DBusError, ErrorType, Variant

from dockd.host.dbus import connected
from dockd.host.timesync import is_synchronised
from tests.bus import SILENCE, Bus, Service, private_bus


class Timedate(Service):
    """systemd-timedated."""

    def __init__(self, properties: dict[str, Variant]) -> None:
        answers = {"GetAll": ("a{sv}", lambda _path, _interface: properties)}
        super().__init__("org.freedesktop.timedate1", answers)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    with private_bus(tmp_path) as bus:
        yield bus


def asked(bus: Bus, timedate: Timedate) -> bool | None:
    async def main() -> bool | None:
        async with timedate.on(bus):
            return await is_synchronised(bus.address)

    return asyncio.run(main())


@pytest.mark.parametrize("answer", [True, False])
def test_what_timedated_says_is_said(bus: Bus, answer: bool) -> None:
    timedate = Timedate({"NTPSynchronized": Variant("b", answer)})
    assert asked(bus, timedate) is answer
    assert timedate.asked == [
        ("/org/freedesktop/timedate1", "GetAll", ["org.freedesktop.timedate1"])
    ]


@pytest.mark.parametrize("properties", [{}, {"NTPSynchronized": Variant("s", "yes")}])
def test_an_answer_that_says_nothing_is_no_answer(bus: Bus, properties: dict[str, Any]) -> None:
    assert asked(bus, Timedate(properties)) is None


@pytest.mark.parametrize(
    "fault",
    [
        DBusError(ErrorType.UNKNOWN_OBJECT, "none"),
        DBusError("org.freedesktop.systemd1.UnitMasked", ""),
    ],
)
def test_an_error_is_no_answer(bus: Bus, fault: DBusError) -> None:
    timedate = Timedate({})
    timedate.faults["GetAll"] = [fault]
    assert asked(bus, timedate) is None


def test_a_bus_that_goes_away_is_no_answer(bus: Bus) -> None:
    timedate = Timedate({})
    timedate.faults["GetAll"] = [bus.vanish]
    assert asked(bus, timedate) is None


def test_without_the_service_there_is_no_answer(bus: Bus) -> None:
    assert asyncio.run(is_synchronised(bus.address)) is None


def test_without_a_bus_there_is_no_answer(tmp_path: Path) -> None:
    assert asyncio.run(is_synchronised(f"unix:path={tmp_path}/none")) is None


def test_a_service_that_never_answers_is_not_waited_for(bus: Bus) -> None:
    async def main() -> None:
        async with timedate.on(bus), connected(bus.address) as connection:
            with pytest.raises(DBusError) as caught:
                await connection.call(timedate.name, "/", "a.b.C", seconds=0.05)
        assert caught.value.type == ErrorType.NO_REPLY.value
        assert "did not answer in 0.05 s" in caught.value.text

    timedate = Timedate({})
    timedate.faults["C"] = [SILENCE]
    asyncio.run(main())
