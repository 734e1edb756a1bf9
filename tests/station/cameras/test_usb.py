import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockd.base.errors import SourceError
from dockd.base.logs import configure
from dockd.station.cameras import Media
from dockd.station.config import BayConfig
from tests.clocks import FakeClock
from tests.support import log_lines
from tests.usb import Dock, Station, make_profile, until

NAME = "bodycam:CAM-0001"


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path)


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure(style="json", stream=stream)
    return stream


def lines(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for line in log_lines(log.getvalue()) if line["event"] == event]


# Docking


@pytest.mark.parametrize("trouble", [SourceError("no udev"), KeyError("x")])
def test_a_look_that_fails_leaves_docked_cameras_in_the_dock(
    station: Station, log: io.StringIO, trouble: Exception
) -> None:
    async def scenario() -> None:
        dock = Dock()
        async with station.running(dock):
            station.plug("3")
            await until(lambda: dock.now)
            station.udev.trouble = trouble
            await station.looked()
            assert dock.now
            station.udev.trouble = None
            await station.looked()
        assert dock.begun == [NAME]

    asyncio.run(scenario())
    (failed,) = lines(log, "usb.monitor_failed")
    assert str(trouble) in failed["detail"]
    assert lines(log, "usb.monitor_recovered")


def test_a_camera_is_docked_in_its_bay_while_it_is_plugged_in(station: Station) -> None:
    station.bays = [BayConfig(name="bay 3", port="*-usb-0:3")]

    async def scenario() -> None:
        dock = Dock()
        async with station.running(dock):
            await station.looked()
            assert not dock.now
            assert station.beats
            station.plug("3")
            await until(lambda: dock.now)
            assert dock.now[NAME].place == "bay 3"
            assert dock.now[NAME].is_there()
            station.udev.unplug("3")
            await until(lambda: not dock.now)
        assert dock.begun == [NAME]

    asyncio.run(scenario())


def test_cameras_that_are_there_at_the_start_are_docked_all_at_once(station: Station) -> None:
    for number in range(1, 9):
        station.plug(str(number), serial=f"CAM-{number}")

    async def scenario() -> None:
        dock = Dock()
        async with station.running(dock):
            await until(lambda: len(dock.now) == 8)
        assert not dock.now

    asyncio.run(scenario())


def test_a_camera_put_back_between_two_looks_is_docked_anew(station: Station) -> None:
    async def scenario() -> None:
        dock = Dock()
        volume = station.volume()
        station.plug(volumes=(volume,))
        async with station.running(dock):
            await until(lambda: dock.now)
            media = dock.now[NAME]
            # Same port, same node, and never away as far as any listing could tell.
            station.udev.unplug(hint=False)
            station.plug(volumes=(volume,))
            assert not media.is_there()
            await until(lambda: len(dock.begun) == 2)
            await until(lambda: dock.now)
            assert dock.now[NAME].is_there()

    asyncio.run(scenario())


def test_a_camera_that_moves_to_another_port_is_never_docked_twice_at_once(
    station: Station,
) -> None:
    async def hold(media: Media) -> None:
        async with media.opened():
            await asyncio.Event().wait()

    async def scenario() -> None:
        dock = Dock(hold)
        station.mounter.gates["unmount"] = asyncio.Event()
        volume = station.volume()
        station.plug("1", volumes=(volume,))
        async with station.running(dock):
            await until(lambda: station.mounter.mounted)
            station.udev.unplug("1")
            station.plug("2", volumes=(replace(volume, node="/dev/sdz"),))
            station.mounter.folders["/dev/sdz"] = station.folder(volume)
            await station.mounter.reached.wait()
            await station.looked()
            assert dock.begun == [NAME]  # the old docking still unmounts
            station.mounter.gates.pop("unmount").set()
            await until(lambda: "/dev/sdz" in station.mounter.mounted)

    asyncio.run(scenario())


def test_a_camera_that_was_formatted_is_docked_anew(station: Station) -> None:
    async def scenario() -> None:
        dock = Dock()
        device = station.plug()
        async with station.running(dock):
            await until(lambda: dock.now)
            formatted = replace(device.volumes[0], uuid="FFFF-FFFF")
            station.udev.show("1", replace(device, volumes=(formatted,)))
            await until(lambda: len(dock.begun) == 2)
            await until(lambda: dock.now)
            assert dock.now[NAME].facts["filesystem_uuid"] == "FFFF-FFFF"

    asyncio.run(scenario())


def test_a_docking_that_ends_while_the_camera_stays_is_begun_again(station: Station) -> None:
    async def scenario() -> None:
        begun: list[str] = []

        async def dock(media: Media) -> None:
            begun.append(media.camera.id)

        station.plug()
        recorder: Any = dock
        async with station.running(recorder):
            await until(lambda: len(begun) == 3)
        assert 5.0 in station.clock.slept

    asyncio.run(scenario())


# Strangers and cameras that are refused


def test_a_stranger_is_told_once_a_plug_and_never_passed_to_the_mounter(
    station: Station, log: io.StringIO
) -> None:
    async def use(media: Media) -> None:
        async with media.opened():
            pass

    async def scenario() -> None:
        dock = Dock(use)
        stick = {"vendor": "0951", "serial": "STICK", "model": "DataTraveler"}
        volume = station.volume(label="MY STICK")
        station.plug("1", **stick, volumes=(volume,))
        station.plug("2")
        async with station.running(dock):
            await until(lambda: dock.now)
            await until(lambda: lines(log, "device.ignored"))
            await station.looked()
            assert len(lines(log, "device.ignored")) == 1
            station.udev.unplug("1")
            await station.looked()
            station.plug("1", **stick, volumes=(volume,))
            await until(lambda: len(lines(log, "device.ignored")) == 2)
            await station.looked()
        assert volume.node not in {node for _, node in station.mounter.calls}
        assert dock.begun == [NAME]
        line = lines(log, "device.ignored")[0]
        del line["time"], line["level"], line["event"]
        assert line == {
            "vendor": "0951",
            "product": "5678",
            "serial": "STICK",
            "model": "DataTraveler",
            "labels": ["MY STICK"],
            "port": "pci-0000:00:14.0-usb-0:1",
            "hint": "if it is a camera: dockd profile suggest",
        }

    asyncio.run(scenario())


def test_two_cameras_with_one_serial_are_never_docked_under_one_id(
    station: Station, log: io.StringIO
) -> None:
    async def scenario() -> None:
        dock = Dock()
        station.plug("1")
        async with station.running(dock):
            await until(lambda: dock.now)
            station.plug("2")
            await until(lambda: not dock.now)
            await until(lambda: len(lines(log, "camera.refused")) == 2)
            await station.looked()
            assert not dock.now
            # Each of them is told of once, by its place.
            told = lines(log, "camera.refused")
            assert {line["place"][-1] for line in told} == {"1", "2"}
            assert len(told) == 2
            assert "bodycam:CAM-0001" in told[0]["detail"]
            shown = station.incidents.shown()
            assert {one.fields["place"] for one in shown} == {line["place"] for line in told}
            assert {one.fields["serial"] for one in shown} == {"CAM-0001"}
            station.udev.unplug("1")
            await until(lambda: dock.now)
            assert station.incidents.shown() == []
            assert dock.now[NAME].place.endswith("2")

    asyncio.run(scenario())


def test_cameras_that_share_a_serial_are_told_apart_by_their_volumes(station: Station) -> None:
    station.profiles = [make_profile(identity="volume")]
    for port, uuid in [("1", "AAAA-0001"), ("2", "AAAA-0002")]:
        station.plug(port, volumes=(station.volume(uuid=uuid),))

    async def scenario() -> None:
        dock = Dock()
        async with station.running(dock):
            await until(lambda: len(dock.now) == 2)
        assert set(dock.begun) == {"bodycam:CAM-0001+AAAA-0001", "bodycam:CAM-0001+AAAA-0002"}

    asyncio.run(scenario())


def test_a_camera_may_take_its_time_to_show_a_file_system(
    station: Station, log: io.StringIO
) -> None:
    async def scenario() -> None:
        dock = Dock()
        device = station.plug(volumes=())
        async with station.running(dock):
            await station.looked(1)
            if station.clock.elapsed < 15:
                assert not lines(log, "camera.refused")
            await until(lambda: lines(log, "camera.refused"))
            assert station.clock.elapsed >= 15
            await station.looked()
            (line,) = lines(log, "camera.refused")
            assert "no supported file system" in line["detail"]
            assert line["hint"]
            station.udev.show("1", replace(device, volumes=(station.volume(),)))
            await until(lambda: dock.now)

    asyncio.run(scenario())


def test_a_part_of_a_camera_that_cannot_be_read_is_told_and_the_rest_docked(
    station: Station, log: io.StringIO
) -> None:
    async def scenario() -> None:
        dock = Dock()
        station.plug(unusable=("/dev/sdb2",))
        async with station.running(dock):
            await until(lambda: dock.now)
        (line,) = lines(log, "camera.volume_unusable")
        assert (line["camera"], line["node"]) == (NAME, "/dev/sdb2")

    asyncio.run(scenario())


# Events


class HeldClock(FakeClock):
    """A clock that a test moves on; whoever sleeps waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: dict[asyncio.Future[None], float] = {}

    async def sleep(self, seconds: float) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers[sleeper] = self.elapsed + seconds
        try:
            await sleeper
        finally:
            del self._sleepers[sleeper]

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds
        for sleeper, due in self._sleepers.items():
            if due <= self.elapsed and not sleeper.done():
                sleeper.set_result(None)

    def advance_to_rest(self, seconds: float) -> bool:
        """Move on unless nobody's sleep ends soon; return whether that is so."""
        due_in = self.due_in()
        if due_in and min(due_in) <= seconds:
            self.advance(seconds)
        return bool(due_in) and min(due_in) > seconds

    def due_in(self) -> set[float]:
        return {round(due - self.elapsed, 3) for due in self._sleepers.values()}


def test_a_burst_of_a_thousand_hints_lists_the_devices_a_few_times(station: Station) -> None:
    clock = station.clock = HeldClock()

    async def scenario() -> None:
        async with station.running(Dock()):
            await until(lambda: clock.due_in() == {0.25})  # the hint that events are followed
            clock.advance(0.25)
            await until(lambda: clock.due_in() == {10.0})
            before = station.udev.listings
            for _ in range(1000):  # in half a second
                station.udev.hint()
                await asyncio.sleep(0)
                clock.advance(0.0005)
            await until(lambda: clock.advance_to_rest(0.25))
            assert 1 <= station.udev.listings - before <= 4

    asyncio.run(scenario())


def test_what_no_event_tells_of_is_found_by_the_timer(station: Station) -> None:
    clock = station.clock = HeldClock()

    async def scenario() -> None:
        dock = Dock()
        async with station.running(dock):
            await until(lambda: clock.due_in() == {0.25})
            clock.advance(0.25)
            await until(lambda: clock.due_in() == {10.0})
            station.plug(hint=False)
            clock.advance(9.9)
            for _ in range(100):
                await asyncio.sleep(0)
            assert 1.0 not in clock.due_in()
            clock.advance(0.1)
            await until(lambda: 1.0 in clock.due_in())  # it has to look the same for a second
            clock.advance(1.0)
            await until(lambda: dock.now)

    asyncio.run(scenario())


def test_a_dead_monitor_is_told_of_and_followed_anew_and_costs_no_camera(
    station: Station, log: io.StringIO
) -> None:
    async def scenario() -> None:
        dock = Dock()
        async with station.running(dock):
            await until(lambda: station.udev.followed == 1)
            await station.looked()
            station.udev.break_off()
            station.plug()  # its event comes to nobody
            await until(lambda: dock.now)
            await until(lambda: station.udev.followed == 2)
            station.plug("2", serial="CAM-0002")
            await until(lambda: len(dock.now) == 2)
        (failed,) = lines(log, "usb.monitor_failed")
        assert "events were lost" in failed["detail"]
        assert len(lines(log, "usb.monitor_recovered")) == 1

    asyncio.run(scenario())


def test_devices_that_cannot_be_listed_for_a_while_stay_docked(
    station: Station, log: io.StringIO
) -> None:
    async def scenario() -> None:
        dock = Dock()
        station.plug()
        async with station.running(dock):
            await until(lambda: dock.now)
            station.udev.trouble = SourceError("the USB devices can't be listed")
            await station.looked()
            assert dock.begun == [NAME]
            assert dock.now
            station.udev.trouble = None
            await until(lambda: lines(log, "usb.monitor_recovered"))

    asyncio.run(scenario())


# Pulled out


async def _work(media: Media) -> None:
    async with media.opened() as root:
        media.look(root)
        await asyncio.sleep(0)
    async with media.writable():
        await asyncio.sleep(0)
    await media.release()


@pytest.mark.parametrize("call", ["mount", "unmount", "power_off"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_camera_pulled_out_in_any_call_leaves_nothing_mounted_and_can_come_back(
    station: Station, call: str, at: int
) -> None:
    station.profiles = [make_profile(when_done="power-off")]

    async def scenario() -> None:
        dock = Dock(_work)
        gate = station.mounter.gates[call] = asyncio.Event()
        first, second = station.volume(), station.volume(partition=2)
        station.plug(volumes=(first, second))
        async with station.running(dock):
            if at == 2 and call != "power_off":
                await station.mounter.reached.wait()
                gate.set()
                await until(lambda: len(station.mounter.calls) > 1)
                gate = station.mounter.gates[call] = asyncio.Event()
                station.mounter.reached.clear()
            await station.mounter.reached.wait()
            station.udev.unplug()
            await station.looked()
            gate.set()
            await until(lambda: not dock.now)
            assert not station.mounter.mounted
            station.mounter.gates.clear()
            station.plug(volumes=(first, second))
            await until(lambda: ("power_off", first.node) in station.mounter.calls)
            assert not station.mounter.mounted

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["opened", "writable"])
def test_a_camera_pulled_out_while_it_is_mounted_is_unmounted(station: Station, way: str) -> None:
    holding: list[Media] = []

    async def hold(media: Media) -> None:
        async with getattr(media, way)():
            holding.append(media)
            await asyncio.Event().wait()

    async def scenario() -> None:
        device = station.plug(volumes=(station.volume(), station.volume(lun=1)))
        dock = Dock(hold)
        async with station.running(dock):
            await until(lambda: bool(holding))
            assert len(station.mounter.mounted) == 2
            station.udev.unplug()
            await until(lambda: not dock.now)
        nodes = {volume.node for volume in device.volumes}
        assert not station.mounter.mounted
        assert nodes == {node for call, node in station.mounter.calls if call == "unmount"}

    asyncio.run(scenario())


def test_the_end_of_the_source_unmounts_every_camera(station: Station) -> None:
    async def hold(media: Media) -> None:
        async with media.opened():
            await asyncio.Event().wait()

    async def scenario() -> None:
        for number in range(1, 4):
            station.plug(str(number), serial=str(number))
        async with station.running(Dock(hold)):
            await until(lambda: len(station.mounter.mounted) == 3)
        assert not station.mounter.mounted

    asyncio.run(scenario())
