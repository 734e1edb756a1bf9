"""The power goes, again and again, and takes with it what was not on a disk."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.lab import Lab
from tests.vm.machine import Camera, Machine
from tests.vm.media import clip
from tests.vm.shell import until
from tests.vm.station import Station

pytestmark = pytest.mark.vm


@pytest.fixture
def own_station(lab: Lab, installed: Path, tmp_path: Path) -> Iterator[Station]:
    """A station whose power may be cut."""
    machine = lab.machine(installed)
    machine.boot()
    station = Station(machine, tmp_path)
    station.set_up()
    machine.run("sync")
    yield station
    lab.end(machine)


def _check_disk(machine: Machine, folder: Path) -> None:
    """Make sure that the disk of a machine, which is off, has nothing that a person must mend."""
    copy = folder / "disk.img"
    subprocess.run(["qemu-img", "convert", "-O", "raw", machine.disk, copy], check=True)
    # It applies the journal, and mends what a power cut may leave; more than that, and it gives up.
    checked = subprocess.run(["e2fsck", "-fp", copy], capture_output=True, text=True, check=False)
    copy.unlink()
    assert checked.returncode in {0, 1}, checked.stdout


def _wait_for_reading(machine: Machine, camera: Camera, size: int) -> None:
    before = machine.traffic(camera).bytes_read
    until(lambda: machine.traffic(camera).bytes_read >= before + size)


@pytest.mark.thorough
@pytest.mark.parametrize("cuts", [10])
def test_power_cuts_during_ingest_harm_nothing(
    own_station: Station, tmp_path: Path, cuts: int
) -> None:
    station, machine = own_station, own_station.machine
    camera = station.bodycam(
        {f"DCIM/{number:02}.mp4": clip(("ingest", number), 1_500_000) for number in range(14)}
    )
    plugged = machine.plug(camera.card.path, serial=camera.serial)
    machine.limit(plugged, **{"bps-read": 1_000_000})
    for cut in range(cuts):
        station.wait_for("camera.docked", camera)
        _wait_for_reading(machine, plugged, 300_000 * (cut + 1))
        machine.power_cut()
        assert camera.card.files() == camera.recorded
        assert camera.card.check() == ""
        _check_disk(machine, tmp_path)
        machine.boot()
    machine.limit(plugged)
    station.wait_for("camera.safe", camera)
    machine.unplug(plugged)
    station.assert_done(camera)


@pytest.mark.parametrize("cuts", [2, pytest.param(10, marks=pytest.mark.thorough)])
def test_power_cuts_during_the_wipe_lose_no_clip(
    own_station: Station, tmp_path: Path, cuts: int
) -> None:
    station, machine = own_station, own_station.machine
    recorded = {"settings.txt": b"volume=3\n"}
    camera = station.bodycam(recorded)
    for cut in range(cuts):
        # Beside what the last cut has left, there is something to wipe each time.
        clips = {f"DCIM/{cut}-{n}.mp4": clip(("wipe", cut, n), 100_000) for n in range(2)}
        camera.card.put(clips)
        recorded |= clips
        plugged = station.plug(camera)
        machine.limit(plugged, **{"iops-write": 5})
        # A camera that is only read is not written to: this is the wipe window.
        _wait_for_writes(machine, plugged, 1 + cut)
        machine.power_cut()
        machine.unplug(plugged)
        left = camera.card.files()
        assert left.items() <= recorded.items()
        assert left["settings.txt"] == recorded["settings.txt"]
        assert camera.card.check(torn=True) == ""
        _check_disk(machine, tmp_path)
        machine.boot()
    plugged = station.plug(camera)
    station.wait_for("camera.safe", camera)
    machine.unplug(plugged)
    station.assert_done(camera, torn=True)


def _wait_for_writes(machine: Machine, camera: Camera, count: int) -> None:
    until(lambda: machine.traffic(camera).writes >= count)
