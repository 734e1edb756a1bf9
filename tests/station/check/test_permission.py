import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import DBusError, Variant

from dockd.base.findings import Finding, Level
from dockd.station.check import cameras, permission
from tests.bus import Answer, Bus, Service, private_bus
from tests.station.check.support import Patient, healthy, served, worst
from tests.usb import FakeUdev, make_volume

RULES = Path(__file__).parents[3] / "systemd"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="polkit tells root only")


class Polkit(Service):
    """polkit, which lets one user do what is asked for on removable USB drives."""

    def __init__(self, allowed: int) -> None:
        answers: dict[str, Answer] = {
            "GetAll": ("a{sv}", lambda *_: {"BackendVersion": Variant("s", "122")}),
            "CheckAuthorization": ("(bba{ss})", self._check),
        }
        super().__init__("org.freedesktop.PolicyKit1", answers)
        self._allowed = allowed

    def _check(self, path: str, subject: Any, action: str, details: Any, *_: Any) -> list[Any]:
        kind, process = subject
        assert kind == "unix-process"
        assert process["pid"].value == os.getpid()
        is_marked = action == "org.freedesktop.udisks2.filesystem-mount-system"
        is_usb = details == {"drive.removable.bus": "usb"}
        return [process["uid"].value == self._allowed and is_marked and is_usb, False, {}]


class Udisks(Service):
    """udisks2 that knows every volume, and which of them the udev rule has marked."""

    def __init__(self, marked: bool = True) -> None:
        properties = {"Version": Variant("s", "2.9.4"), "HintSystem": Variant("b", marked)}
        answers: dict[str, Answer] = {
            "GetAll": ("a{sv}", lambda *_: properties),
            "ResolveDevice": ("ao", lambda *_: ["/org/freedesktop/UDisks2/block_devices/sdb1"]),
        }
        super().__init__("org.freedesktop.UDisks2", answers)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    with private_bus(tmp_path) as bus:
        yield bus


@pytest.fixture
def installed(patient: Patient, bus: Bus) -> Patient:
    """A station on which ``make install`` was run."""
    root = patient.machine.root
    rules = root / "usr/lib/udev/rules.d"
    rules.mkdir(parents=True)
    (rules / "90-dockd.rules").write_bytes((RULES / "dockd.udev.rules").read_bytes())
    patient.machine = replace(patient.machine, bus_address=bus.address)
    return patient


def asked(patient: Patient, bus: Bus, *services: Service) -> list[Finding]:
    with ExitStack() as stack:
        for service in services:
            stack.enter_context(served(service, bus))
        return patient.findings(permission.check)


@as_root
def test_a_station_that_may_mount_cameras_is_told_so(installed: Patient, bus: Bus) -> None:
    findings = asked(installed, bus, Udisks(), Polkit(allowed=installed.uid))
    assert healthy(findings)
    assert "udisks2 2.9.4 answers" in [finding.what for finding in findings]


@as_root
def test_a_polkit_that_lets_another_user_mount_is_an_error(installed: Patient, bus: Bus) -> None:
    found = worst(asked(installed, bus, Udisks(), Polkit(allowed=installed.uid + 1)))
    assert found.level is Level.ERROR
    assert "polkit does not allow" in found.what


@as_root
def test_a_polkit_that_will_not_say_is_a_warning(installed: Patient, bus: Bus) -> None:
    polkit = Polkit(allowed=installed.uid)
    polkit.faults["CheckAuthorization"] = [DBusError("org.freedesktop.PolicyKit1.Error.Failed", "")]
    assert worst(asked(installed, bus, Udisks(), polkit)).level is Level.WARNING


@pytest.mark.parametrize("missing", ["udisks2", "polkit"])
def test_a_service_that_does_not_answer_is_an_error(
    installed: Patient, bus: Bus, missing: str
) -> None:
    running: Service = Polkit(installed.uid) if missing == "udisks2" else Udisks()
    found = worst(asked(installed, bus, running))
    assert found.level is Level.ERROR
    assert f"systemctl status {missing}" in found.remedy


def test_a_machine_without_d_bus_is_an_error(installed: Patient, bus: Bus) -> None:
    bus.stop()
    found = worst(installed.findings(permission.check))
    assert (found.level, found.remedy) == (Level.ERROR, "systemctl status dbus")


def test_a_udev_rule_that_is_not_there_is_an_error(installed: Patient, bus: Bus) -> None:
    (installed.machine.root / "usr/lib/udev/rules.d/90-dockd.rules").unlink()
    found = asked(installed, bus)[0]
    assert found.level is Level.ERROR
    assert "make install" in found.remedy


def test_a_udev_rule_that_an_administrator_has_masked_is_an_error(
    installed: Patient, bus: Bus
) -> None:
    mask = installed.machine.root / "etc/udev/rules.d/90-dockd.rules"
    mask.parent.mkdir(parents=True)
    mask.symlink_to("/dev/null")
    found = asked(installed, bus)[0]
    assert found.level is Level.ERROR
    assert str(mask) in found.what


def test_a_station_without_usb_cameras_needs_none_of_it(patient: Patient) -> None:
    patient.usb = ""
    assert healthy(patient.findings(permission.check))


def plugged(patient: Patient) -> FakeUdev:
    udev = patient.machine.udev
    assert isinstance(udev, FakeUdev)
    return udev


def test_what_is_plugged_in_is_held_against_the_profiles(installed: Patient, bus: Bus) -> None:
    folder = installed.folder / "medium"
    plugged(installed).plug("1", serial="CAM-1", volumes=(make_volume(folder),))
    plugged(installed).plug("2", serial="", volumes=(make_volume(folder),))
    plugged(installed).plug("3", vendor="9999", volumes=(make_volume(folder),))
    with served(Udisks(), bus):
        camera, nameless, stick = installed.findings(cameras.check)
    assert (camera.level, camera.what) == (
        Level.OK,
        "pci-0000:00:14.0-usb-0:1: bodycam:CAM-1",
    )
    assert nameless.level is Level.ERROR
    assert "no serial number" in nameless.what
    assert stick.level is Level.OK
    assert "matches no profile" in stick.what


def test_a_camera_that_the_udev_rule_has_not_marked_is_an_error(
    installed: Patient, bus: Bus
) -> None:
    volume = make_volume(installed.folder / "medium")
    plugged(installed).plug("1", serial="CAM-1", volumes=(volume,))
    with served(Udisks(marked=False), bus):
        (found,) = installed.findings(cameras.check)
    assert found.level is Level.ERROR
    assert volume.node in found.what


def test_nothing_is_asked_of_udisks_that_would_touch_a_device(installed: Patient, bus: Bus) -> None:
    plugged(installed).plug("1", volumes=(make_volume(installed.folder / "medium"),))
    udisks = Udisks()
    with served(udisks, bus):
        installed.findings(permission.check)
        installed.findings(cameras.check)
    assert {method for _, method, _ in udisks.asked} == {"GetAll", "ResolveDevice"}
