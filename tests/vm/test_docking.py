"""A camera goes into the dock, and everything happens by itself."""

from pathlib import Path

import pytest

from tests.vm.media import FileSystem, clip, make_card
from tests.vm.station import BAY, Bodycam, Station

pytestmark = pytest.mark.vm

RECORDED = {
    "DCIM/100/1.mp4": clip("one"),
    "DCIM/100/1.gps": b"51.5,-0.1\n",
    "DCIM/2.mp4": clip("two"),
    "settings.txt": b"volume=3\n",
}


def _dock_until_safe(station: Station, camera: Bodycam) -> None:
    since = station.mark()
    plugged = station.plug(camera)
    station.wait_for("camera.safe", camera, since=since)
    station.machine.unplug(plugged)
    station.wait_for("camera.undocked", camera, since=since)


@pytest.mark.parametrize(
    ("filesystem", "table"),
    [
        ("vfat", True),
        ("exfat", False),
        pytest.param("vfat", False, marks=pytest.mark.thorough),
        pytest.param("exfat", True, marks=pytest.mark.thorough),
    ],
)
def test_a_camera_is_ingested_uploaded_acknowledged_wiped_and_safe_to_take(
    station: Station, filesystem: FileSystem, table: bool
) -> None:
    camera = station.bodycam(RECORDED, filesystem=filesystem, table=table)
    since = station.mark()
    plugged = station.plug(camera, port=BAY)
    docked = station.wait_for("camera.docked", camera, since=since)
    assert docked["place"] == f"bay {BAY}"
    for step in ("clip.spooled", "clip.uploaded", "clip.acknowledged", "clip.wiped"):
        station.wait_for(step, camera, since=since, count=len(camera.digests))
    station.wait_for("camera.safe", camera, since=since)
    station.machine.unplug(plugged)
    station.assert_done(camera)
    assert {clip.state for clip in station.clips(camera)} == {"wiped"}


def test_every_lun_of_a_camera_is_emptied(station: Station, tmp_path: Path) -> None:
    camera = station.bodycam({"DCIM/1.mp4": clip("built in")})
    second = make_card(tmp_path / "second.img", {"DCIM/1.mp4": clip("card")}, table=False)
    since = station.mark()
    plugged = station.machine.plug(camera.card.path, second.path, serial=camera.serial)
    station.wait_for("clip.wiped", camera, since=since, path="DCIM/1.mp4")
    station.wait_for("clip.wiped", camera, since=since, path="/lun1/DCIM/1.mp4")
    station.wait_for("camera.safe", camera, since=since)
    station.machine.unplug(plugged)
    both = {"1.mp4": clip("built in"), "2.mp4": clip("card")}
    station.assert_done(Bodycam(camera.card, camera.serial, both))
    assert second.files() == {}
    assert second.check() == ""


@pytest.mark.thorough
def test_eight_cameras_are_emptied_at_once(station: Station) -> None:
    cameras = [
        station.bodycam({f"DCIM/{n}.mp4": clip((serial, n), 1_000_000) for n in range(2)})
        for serial in range(8)
    ]
    since = station.mark()
    plugged = [station.plug(camera) for camera in cameras]
    for camera in cameras:
        station.wait_for("camera.safe", camera, since=since)
    for one in plugged:
        station.machine.unplug(one)
    for camera in cameras:
        station.assert_done(camera)


@pytest.mark.thorough
def test_new_clips_under_old_names_are_new_evidence(station: Station) -> None:
    camera = station.bodycam({"DCIM/1.mp4": clip("morning")})
    _dock_until_safe(station, camera)
    station.assert_done(camera)
    camera.card.put({"DCIM/1.mp4": clip("evening")})
    _dock_until_safe(station, camera)
    both = Bodycam(camera.card, camera.serial, {"1.mp4": clip("morning"), "2.mp4": clip("evening")})
    station.assert_done(both)


def test_a_camera_that_is_there_already_at_boot_is_emptied(station: Station) -> None:
    camera = station.bodycam(RECORDED)
    station.machine.shutdown()
    plugged = station.plug(camera)
    station.machine.boot()
    station.wait_for("camera.safe", camera)
    station.machine.unplug(plugged)
    station.assert_done(camera)
