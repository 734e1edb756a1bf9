"""Root looks as the user whom the service runs as, and says what that user can't use."""

import os
from pathlib import Path

import pytest

from dockd.base.findings import Level
from dockd.host.users import as_user
from dockd.station.check import cameras, keys, storage
from tests.station.check.support import Patient, healthy, worst

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as somebody else")

SERVICE = 4711


@pytest.fixture
def service(patient: Patient) -> Patient:
    """A station whose service runs as somebody else, who can get at all of it."""
    patient.uid = SERVICE
    patient.let_others_in()
    for path in patient.folder.rglob("*"):
        os.chown(path, SERVICE, -1)
    return patient


@pytest.fixture
def camera(service: Patient) -> Path:
    service.usb = (
        '[[folders]]\npath = "camera"\nserial = "CAM-1"\nprofile = "bodycam"\nsettle_seconds = 0\n'
    )
    folder = service.folder / "camera" / "DCIM"
    folder.mkdir(parents=True)
    (folder / "1.mp4").write_bytes(b"v")
    for path in (folder.parent, folder, folder / "1.mp4"):
        os.chown(path, SERVICE, -1)
    return folder


def test_what_another_user_sees_is_what_comes_back() -> None:
    assert as_user(SERVICE, os.getresuid) == (SERVICE,) * 3
    assert as_user(SERVICE, os.getgroups) == []
    assert os.geteuid() == 0
    with pytest.raises(PermissionError):
        as_user(SERVICE, lambda: os.listdir("/root"))  # noqa: PTH208
    with pytest.raises(FileNotFoundError):
        as_user(SERVICE, lambda: os.listdir("/nowhere"))  # noqa: PTH208


def test_a_folder_that_the_service_can_use_is_well(service: Patient, camera: Path) -> None:
    assert healthy(service.findings(cameras.check))


@pytest.mark.parametrize("shut", ["", "DCIM", "DCIM/1.mp4"])
def test_what_the_service_can_not_read_of_a_folder_is_an_error(
    service: Patient, camera: Path, shut: str
) -> None:
    path = camera.parent / shut
    os.chown(path, 0, 0)
    path.chmod(0o700)
    found = worst(service.findings(cameras.check))
    assert found.level is Level.ERROR
    assert "can't be" in found.what
    assert "service's user" in found.what


def test_a_folder_that_the_service_can_not_wipe_is_an_error(service: Patient, camera: Path) -> None:
    os.chown(camera, 0, 0)
    camera.chmod(0o755)
    found = worst(service.findings(cameras.check))
    assert found.level is Level.ERROR
    assert "can't be wiped" in found.what


def test_a_state_behind_a_folder_that_is_shut_to_the_service_is_an_error(
    service: Patient,
) -> None:
    assert healthy(service.findings(storage.check_spool))
    service.folder.chmod(0o700)
    os.chown(service.folder, 0, 0)
    found = worst(service.findings(storage.check_spool))
    assert found.level is Level.ERROR
    assert f"can't be written by the service's user {SERVICE}" in found.what


def test_a_key_behind_a_folder_that_is_shut_to_the_service_is_an_error(service: Patient) -> None:
    (service.folder / "secret").mkdir()
    (service.folder / "receiver.pub").rename(service.folder / "secret" / "receiver.pub")
    (service.folder / "receiver.pub").symlink_to("secret/receiver.pub")
    assert healthy([one for one in service.findings(keys.check) if "receiver_keys" in one.what])
    (service.folder / "secret").chmod(0o700)
    found = worst(service.findings(keys.check))
    assert found.level is Level.ERROR
    assert f"receiver.pub can't be read by the service's user {SERVICE}" in found.what
