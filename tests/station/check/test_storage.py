import contextlib
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from dockd.base.clock import Clock
from dockd.base.errors import LedgerError
from dockd.base.findings import Finding, Level
from dockd.host.files import Files
from dockd.station.check import storage
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Camera
from tests.mounts import mounted_tmpfs
from tests.station.check.support import Patient, healthy, worst

CAMERA = Camera("bodycam", "CAM-1")


@pytest.fixture
def ledger(patient: Patient) -> Path:
    """A ledger with a few entries in its journal."""
    path = patient.folder / "state" / "ledger.db"
    writing = Ledger(path, Clock())
    for bay in ("1", "2", "3"):
        writing.dockings.end(CAMERA, writing.dockings.begin(CAMERA, bay))
    writing.close()
    return path


class Disk(Files):
    """A disk with so many bytes left."""

    def __init__(self, free: int) -> None:
        self.free = free

    def free_bytes(self, folder: Path) -> int:
        return self.free


def test_before_the_first_start_nothing_is_wrong(patient: Patient) -> None:
    (patient.folder / "state").rmdir()
    assert healthy(patient.findings(storage.check_ledger))
    assert healthy(patient.findings(storage.check_spool))


def test_a_whole_ledger_is_read_to_its_last_entry(patient: Patient, ledger: Path) -> None:
    findings = patient.findings(storage.check_ledger)
    assert healthy(findings)
    assert "6 entries" in findings[-1].what


def test_a_ledger_that_is_in_use_is_read_and_left_alone(patient: Patient, ledger: Path) -> None:
    with contextlib.closing(Ledger(ledger, Clock())) as writing:
        docking = writing.dockings.begin(CAMERA, "4")
        before = sorted(path.name for path in ledger.parent.iterdir())
        findings = patient.findings(storage.check_ledger)
        assert sorted(path.name for path in ledger.parent.iterdir()) == before
        writing.dockings.end(CAMERA, docking)
    assert healthy(findings)
    assert "7 entries" in findings[-1].what


def test_a_journal_that_somebody_edited_is_an_error(patient: Patient, ledger: Path) -> None:
    with sqlite3.connect(ledger) as db:
        db.execute("DROP TRIGGER journal_no_update")
        db.execute("UPDATE journal SET at = '2020-01-01T00:00:00.000Z' WHERE seq = 2")
    db.close()
    found = worst(patient.findings(storage.check_ledger))
    assert found.level is Level.ERROR
    assert "entry 2" in found.what


def test_a_journal_that_cannot_be_read_is_not_told_as_edited(
    patient: Patient, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(self: Ledger) -> NoReturn:
        raise LedgerError("disk I/O error", hint="check the disk")

    monkeypatch.setattr(Journal, "verify", unreadable)
    found = worst(patient.findings(storage.check_ledger))
    assert found.level is Level.ERROR
    assert "broken" not in found.what + found.remedy
    assert "check the disk" in found.remedy


def test_a_ledger_with_damaged_pages_is_an_error(patient: Patient, ledger: Path) -> None:
    size = ledger.stat().st_size
    with ledger.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))
    assert worst(patient.findings(storage.check_ledger)).level is Level.ERROR


def test_a_file_that_is_no_ledger_is_an_error(patient: Patient, ledger: Path) -> None:
    ledger.write_bytes(b"not a database" * 1000)
    assert worst(patient.findings(storage.check_ledger)).level is Level.ERROR


def test_a_ledger_of_a_newer_dockd_is_an_error(patient: Patient, ledger: Path) -> None:
    with sqlite3.connect(ledger) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    found = worst(patient.findings(storage.check_ledger))
    assert "newer" in found.remedy


def test_state_that_the_service_can_not_write_is_an_error(patient: Patient) -> None:
    patient.uid += 4711
    assert worst(patient.findings(storage.check_ledger)).level is Level.ERROR
    assert worst(patient.findings(storage.check_spool)).level is Level.ERROR


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["ledger.db", "lock", "spool/x.age"])
def test_a_file_that_the_service_can_not_write_is_an_error(
    patient: Patient, ledger: Path, name: str
) -> None:
    patient.uid += 4711
    patient.let_others_in()
    state = ledger.parent
    (state / "spool").mkdir()
    for file in ("lock", "spool/x.age"):
        (state / file).touch()
    for path in (state, *state.rglob("*")):
        os.chown(path, patient.uid, -1)

    def findings() -> list[Finding]:
        return [
            *patient.findings(storage.check_ledger),
            *patient.findings(storage.check_spool),
        ]

    assert healthy(findings())
    os.chown(state / name, 0, -1)
    found = worst(findings())
    assert found.level is Level.ERROR
    assert found.what.startswith(f"{state / name} can't be written")
    os.chown(state / name, patient.uid, -1)
    (state / name).chmod(0o400)
    assert worst(findings()).level is Level.ERROR


def test_a_read_only_disk_is_an_error(patient: Patient) -> None:
    folder = patient.folder / "spool"
    with mounted_tmpfs(folder, "ro"):
        patient.spool = f'path = "{folder}"'
        found = worst(patient.findings(storage.check_spool))
    assert found.level is Level.ERROR
    assert "read-only" in found.what


@pytest.mark.parametrize(
    ("free", "level"),
    [(50, Level.ERROR), (100, Level.ERROR), (1000, Level.WARNING), (5000, Level.OK)],
)
def test_what_the_disk_has_left_is_held_against_reserve_and_budget(
    patient: Patient, free: int, level: Level
) -> None:
    patient.machine = replace(patient.machine, files=Disk(free))
    patient.spool, patient.reserve = "budget = 2000", 100
    assert worst(patient.findings(storage.check_spool)).level is level


def test_a_budget_that_is_used_up_is_an_error(patient: Patient) -> None:
    spool = patient.folder / "state" / "spool"
    spool.mkdir()
    (spool / f"{'0' * 64}.age").write_bytes(bytes(2000))
    patient.spool = "budget = 2000"
    assert "budget" in worst(patient.findings(storage.check_spool)).what
