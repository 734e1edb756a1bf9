"""Every event is declared, documented, and written; mypy checks the fields."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dockd
import dockd.base.events
import dockd.receiver.events
import dockd.station.events
from dockd.base.log_events import EVENTS, Declaration, Failure
from dockd.station.ledger import journal_kinds

SOURCE = Path(dockd.__file__).parent
DOCUMENTATION = SOURCE.parent / "docs" / "events.md"
TYPES = {"str", "int", "float", "bool", "list[str]"}
DECLARING = {SOURCE / package / "events.py" for package in ("base", "receiver", "station")}


def test_the_documentation_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "dockd.cli.events_page"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert DOCUMENTATION.read_text() == made.stdout


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.name)
def test_a_declaration_is_whole(event: Declaration) -> None:
    assert event.level in {"debug", "info", "warning", "error"}
    assert event.meaning.endswith(".")
    assert {kind.removesuffix("?") for kind in event.fields.values()} <= TYPES
    assert not {"time", "level", "event"} & set(event.fields)
    assert event.name == event.name.lower()
    assert event.name.count(".") == 1


@pytest.mark.parametrize("kind", journal_kinds.KINDS.values(), ids=journal_kinds.KINDS.keys())
def test_a_kind_of_journal_entry_is_whole(kind: journal_kinds.Kind) -> None:
    assert kind.meaning.endswith(".")
    assert {kind.removesuffix("?") for kind in kind.detail.values()} <= TYPES


FAILURES = [event for event in EVENTS.values() if isinstance(event, Failure) and event.ending]
ENDED_WITH_MORE = {"camera.refused": {"camera"}, "clip.ingest_interrupted": {"clip_id"}}
"""What only the end of a failure knows, and gives."""


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_a_failure_knows_what_its_end_is_written_with(failure: Failure[...]) -> None:
    assert failure.ending is not None
    missing = set(failure.ending.fields) - set(failure.fields) - {"seconds"}
    assert missing == ENDED_WITH_MORE.get(failure.name, set())


def names_used() -> set[str]:
    """The names that the source uses outside the declarations, alone or as an attribute."""
    return {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for path in SOURCE.rglob("*.py")
        if path not in DECLARING
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
    }


def test_every_declared_event_is_written_somewhere() -> None:
    used = names_used()
    used |= {
        failure.ending.name.replace(".", "_")
        for failure in EVENTS.values()
        if isinstance(failure, Failure) and failure.ending is not None
    }
    assert {event.name.replace(".", "_") for event in EVENTS.values()} <= used


def test_the_log_is_written_through_declared_events_only() -> None:
    for path in SOURCE.rglob("*.py"):
        if path.name in {"logs.py", "log_events.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in {"structlog.get_logger", "logging.getLogger"}


CALLS = {
    'events.camera_undocked(camera="p:1", place="3", docking=1)': True,
    'events.camera_undocked(camera="p:1", place="3")': False,
    'events.camera_undocked(camera="p:1", place="3", docking="1")': False,
    'events.camera_undocked(camera="p:1", place="3", docking=1, bay=2)': False,
    'events.config_refused(ConfigError("x"))': True,
    "events.config_refused()": False,
    'scope.failed(events.target_down(target="x"), ConfigError())': True,
    "scope.failed(events.target_down(), ConfigError())": False,
    "scope.failed(events.daemon_stopped(), ConfigError())": False,
}


@pytest.mark.slow
def test_mypy_finds_every_event_that_is_written_with_other_fields(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    head = [
        "from dockd.base.clock import Clock",
        "from dockd.base.errors import ConfigError",
        "from dockd.base.incidents import Incidents",
        "from dockd.station import events",
        "scope = Incidents(Clock()).scope()",
    ]
    snippet.write_text("\n".join([*head, *CALLS]) + "\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", snippet],
        capture_output=True,
        text=True,
        check=False,
        cwd=SOURCE.parent,
    )
    found = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if "error:" in line}
    wrong = {
        number for number, is_right in enumerate(CALLS.values(), len(head) + 1) if not is_right
    }
    assert found == wrong, checked.stdout
