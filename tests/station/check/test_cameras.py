"""What the profiles make of the files that are docked."""

import errno
import os
from pathlib import Path

import pytest

from dockd.base.findings import Level
from dockd.station.check import cameras, daemon
from dockd.station.control.views import LeftAloneView
from tests.cli.support import Daemon, camera, status
from tests.station.check.support import Patient, healthy, worst

FOLDER = """
[[folders]]
path = "camera"
serial = "CAM-1"
profile = "bodycam"
"""


def test_a_folder_whose_files_all_have_a_rule_is_well(patient: Patient) -> None:
    patient.usb = FOLDER
    (patient.folder / "camera").mkdir()
    (patient.folder / "camera" / "1.mp4").write_bytes(b"v")
    (patient.folder / "camera" / "notes.txt").write_bytes(b"n")
    (found,) = patient.findings(cameras.check)
    assert found.level is Level.OK
    assert found.what.endswith(
        "camera: bodycam:CAM-1, 1 files of kind video, 1 files (1 bytes) fit no rule,"
        " such as notes.txt"
    )


def test_a_folder_with_video_that_no_rule_fits_is_an_error(patient: Patient) -> None:
    patient.usb = FOLDER
    (patient.folder / "camera").mkdir()
    (patient.folder / "camera" / "1.mov").write_bytes(b"v")
    found = worst(patient.findings(cameras.check))
    assert found.level is Level.ERROR
    assert "1.mov" in found.what
    assert "dockd profile test" in found.remedy


def test_a_folder_whose_writers_cannot_be_seen_is_told_with_its_quiet_time(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.usb = FOLDER + "quiet_seconds = 900\n"
    (patient.folder / "camera").mkdir()
    path = patient.folder / "camera" / "1.mp4"
    path.write_bytes(b"v")
    assert len(patient.findings(cameras.check)) == 1
    monkeypatch.setattr(cameras, "filesystem_types", lambda _: {"ext4", "nfs4"})
    (_, found) = patient.findings(cameras.check)
    assert found.level is Level.OK
    assert "on nfs4" in found.what
    assert "900 s" in found.what


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_folder_that_cannot_be_looked_at_hides_no_other(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    patient.usb = FOLDER + FOLDER.replace("camera", "other").replace("CAM-1", "CAM-2")
    for name in ("camera", "other"):
        (patient.folder / name).mkdir()
    is_dir = Path.is_dir

    def fail(path: Path) -> bool:
        if path.name == "camera":
            raise OSError(number, os.strerror(number), str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", fail)
    bad, good = patient.findings(cameras.check)
    assert bad.level is Level.ERROR
    assert str(patient.folder / "camera") in bad.what
    assert bad.remedy
    assert good.level is Level.OK
    assert "CAM-2" in good.what


def test_a_name_that_two_bays_have_is_a_warning(patient: Patient) -> None:
    for other in (
        FOLDER.replace("CAM-1", "CAM-2") + 'bay = "3"',
        '[[bays]]\nname = "3"\nport = "1"',
    ):
        patient.usb = f'{FOLDER}bay = "3"\n{other}\n'
        found = worst(patient.findings(cameras.check))
        assert found.level is Level.WARNING
        assert "bay 3" in found.what


def test_what_the_daemon_has_left_alone_on_a_plugged_in_camera_is_told(patient: Patient) -> None:
    for suspect, level in ((0, Level.OK), (3, Level.ERROR)):
        left = LeftAloneView(files=3, size=5, suspect=suspect)
        running = Daemon()
        running.status = status(cameras=[camera(left_alone=left)])
        with running.running(patient.folder / "control.sock"):
            found = worst(patient.findings(daemon.check_daemon))
        assert found.level is level


def test_a_daemon_that_has_left_nothing_alone_is_well(patient: Patient) -> None:
    with Daemon().running(patient.folder / "control.sock"):
        assert healthy(patient.findings(daemon.check_daemon))
