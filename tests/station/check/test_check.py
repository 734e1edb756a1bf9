"""The command as a whole: every check in its order, fenced from the others."""

import json
import multiprocessing
import os
import pwd
import socket
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from dbus_fast import Variant

from dockd.base.findings import Finding, Level
from dockd.cli import main as cli
from dockd.station.cameras.devices import Device
from dockd.station.check import daemon
from dockd.station.check.examination import examine
from dockd.station.check.subject import Machine
from tests.bus import Bus, Service, private_bus
from tests.processes.support import Site
from tests.station.check.support import Patient, healthy, served, worst
from tests.usb import FakeUdev

NOBODY = 65534
CHECKS = [
    "configuration",
    "keys",
    "ledger",
    "spool",
    "permission",
    "cameras",
    "clock",
    "server",
    "daemon",
]


def names(found: list[tuple[str, Finding]]) -> list[str]:
    return list(dict.fromkeys(name for name, _ in found))


def test_every_check_has_something_to_say(patient: Patient) -> None:
    assert names(list(examine(patient.write_config(), patient.machine))) == CHECKS


def test_the_services_user_is_that_of_its_unit_whomever_the_state_belongs_to(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = SimpleNamespace(pw_uid=os.geteuid() + 4711)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: unit)
    elsewhere = patient.write_config()
    service = patient.machine.root / "etc" / "dockd" / "config.toml"
    service.parent.mkdir(parents=True)
    service.write_text(elsewhere.read_text().replace('"state"', f'"{patient.folder}/state"'))

    def of_the_ledger(config: Path) -> list[Finding]:
        return [one for name, one in examine(config, patient.machine) if name == "ledger"]

    assert healthy(of_the_ledger(elsewhere))
    found = worst(of_the_ledger(service))
    assert found.level is Level.ERROR
    assert str(unit.pw_uid) in found.what


def test_all_mistakes_of_a_configuration_are_one_finding_and_its_checks_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[station]\nid = 7\n")
    assert cli.main(["check", "--config", str(config)]) == 20
    said = capsys.readouterr().out
    assert said.startswith("error   configuration: ")
    assert "station.id" in said
    assert "encryption" in said
    assert "\n        -> " in said
    assert "\\x0a" not in said
    assert f"error   configuration: Invalid configuration: {config}\n          line " in said


class Clumsy(FakeUdev):
    """A machine on which a check stumbles over what nobody foresaw."""

    def devices(self) -> list[Device]:
        raise AttributeError("unforeseen")


def test_a_check_that_fails_is_a_finding_and_the_next_ones_are_made(patient: Patient) -> None:
    patient.machine = replace(patient.machine, udev=Clumsy(patient.folder))
    found = list(examine(patient.write_config(), patient.machine))
    assert names(found) == CHECKS
    failed = worst(finding for name, finding in found if name == "cameras")
    assert failed.level is Level.ERROR
    assert "AttributeError" in failed.what


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 10), ("error", 20)], ids=str)
def test_the_exit_code_is_that_of_the_worst_finding(
    patient: Patient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    code: int,
) -> None:
    found = [("keys", Finding(Level[name.upper()], name, "do")) for name in ("ok", level, "ok")]
    monkeypatch.setattr("dockd.cli.check.examine", lambda *_: iter(found))
    assert cli.main(["check", "--json", "--config", str(patient.write_config())]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["v"], told["level"]) == (1, level)
    assert told["findings"][1] == {"check": "keys", "level": level, "what": level, "remedy": "do"}


def test_what_a_device_calls_itself_gives_a_terminal_no_orders(
    patient: Patient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [("cameras", Finding(Level.OK, "\x1b]0;owned\x07"))]
    monkeypatch.setattr("dockd.cli.check.examine", lambda *_: iter(found))
    cli.main(["check", "--config", str(patient.write_config())])
    assert capsys.readouterr().out == "ok      cameras: \\x1b]0;owned\\x07\n"


def _as_nobody(config: Path) -> list[tuple[str, Finding]]:
    return list(examine(config, Machine(udev=FakeUdev(config.parent / "sys"))))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_look_at_nothing_is_told_what_and_to_be_root(patient: Patient) -> None:
    config = patient.write_config()
    config.chmod(0o644)
    patient.let_others_in()
    (patient.folder / "state").chmod(0o700)
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, fork, initializer=os.setuid, initargs=(NOBODY,)) as pool:
        found = pool.submit(_as_nobody, config).result(60)
    assert names(found) == CHECKS
    by_name = {name: finding for name, finding in found if finding.level is not Level.OK}
    assert "Permission denied" in by_name["keys"].what
    assert by_name["ledger"].remedy.startswith("run dockd check as root")
    assert not any("mistake in dockd" in finding.remedy for _, finding in found)


# The clock


class Timedate(Service):
    """systemd-timedated."""

    def __init__(self, synchronised: bool) -> None:
        properties = {"NTPSynchronized": Variant("b", synchronised)}
        super().__init__("org.freedesktop.timedate1", {"GetAll": ("a{sv}", lambda *_: properties)})


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    with private_bus(tmp_path) as bus:
        yield bus


@pytest.mark.parametrize(("synchronised", "level"), [(True, Level.OK), (False, Level.WARNING)])
def test_a_clock_that_nobody_keeps_right_is_a_warning(
    patient: Patient, bus: Bus, synchronised: bool, level: Level
) -> None:
    patient.machine = replace(patient.machine, bus_address=bus.address)
    with served(Timedate(synchronised), bus):
        assert worst(patient.findings(daemon.check_clock)).level is level


def test_a_clock_that_can_not_be_asked_for_is_a_warning(patient: Patient, bus: Bus) -> None:
    patient.machine = replace(patient.machine, bus_address=bus.address)
    assert worst(patient.findings(daemon.check_clock)).level is Level.WARNING


# The daemon


def test_a_daemon_that_does_not_run_is_a_warning(patient: Patient) -> None:
    found = worst(patient.findings(daemon.check_daemon))
    assert found.level is Level.WARNING
    assert "systemctl start dockd" in found.remedy


def test_a_daemon_that_does_not_answer_is_an_error(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockd.station.control.client._ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(patient.folder / "control.sock"))
        mute.listen()
        found = worst(patient.findings(daemon.check_daemon))
    assert found.level is Level.ERROR
    assert "does not respond" in found.what


def test_a_running_station_is_looked_over_beside_its_daemon(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.fill("CAM-1", {"a.mp4": b"a clip"})
        site.start_receiver("camden")
        config = site.configure("camden", "CAM-1")
        config.write_text(config.read_text().replace('socket = ""', 'socket = "control.sock"'))
        station = site.start_station(config)
        station.wait_for("camera.safe")
        found = list(examine(config, Machine()))
        assert station.stop() == 0
    said = "\n".join(finding.what for _, finding in found)
    assert "the daemon is running as process" in said
    assert healthy(finding for name, finding in found if name in {"ledger", "server", "daemon"})
