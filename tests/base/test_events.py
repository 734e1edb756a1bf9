"""Every event in the source is declared, documented, and written with its fields."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import dockd
from dockd.base import events
from dockd.base.events import EVENTS, Event
from dockd.station.ledger import journal_kinds as journal_entries

SOURCE = Path(dockd.__file__).parent
DOCUMENTATION = SOURCE.parent / "docs" / "events.md"
ERROR_FIELDS = {"error", "detail", "hint"}
TYPES = {"str", "int", "float", "bool", "list[str]"}


def test_the_documentation_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "dockd.cli.events_page"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert DOCUMENTATION.read_text() == made.stdout


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.name)
def test_a_declaration_is_whole(event: Event) -> None:
    assert event.level in {"debug", "info", "warning", "error"}
    assert event.meaning.endswith(".")
    assert {kind.removesuffix("?") for kind in event.fields.values()} <= TYPES
    assert not {"time", "level", "event"} & set(event.fields)
    assert event.name == ".".join(event.name.lower().split("."))


@pytest.mark.parametrize("kind", journal_entries.KINDS.values(), ids=journal_entries.KINDS.keys())
def test_a_kind_of_journal_entry_is_whole(kind: journal_entries.Kind) -> None:
    assert kind.meaning.endswith(".")
    assert {kind.removesuffix("?") for kind in kind.detail.values()} <= TYPES


@dataclass(frozen=True)
class Written:
    """A place in the source where an event is written."""

    where: str
    event: Event
    fields: frozenset[str]


class Module:
    """One file of the source, and what can be read off it without running it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text())
        self.returned = {
            node.name: keys
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef)
            for keys in [_returned_keys(node)]
            if keys is not None
        }
        self.assigned = {
            target.id: _keys(node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def written(self) -> Iterator[Written]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield from self._by_emit(node)
            if isinstance(node, ast.ClassDef):
                yield from self._by_repeats(node)

    def _by_emit(self, call: ast.Call) -> Iterator[Written]:
        name = _name(call.func)
        if name in {"emit", "emit_error"} and (event := _event(call.args[0])):
            more = ERROR_FIELDS if name == "emit_error" else set()
            yield self._written(call, event, more)

    def _by_repeats(self, owner: ast.ClassDef) -> Iterator[Written]:
        """A run of failures and its end: the events stand where the Repeats is made."""
        made = {
            ast.unparse(node.targets[0]): node.value
            for node in ast.walk(owner)
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _name(node.value.func) == "Repeats"
        }
        for call in ast.walk(owner):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            repeats = made.get(ast.unparse(call.func.value))
            if repeats is None:
                continue
            failed, recovered = (_event(argument) for argument in repeats.args[1:3])
            assert failed is not None
            assert recovered is not None
            if call.func.attr == "failure":
                yield self._written(
                    call, failed, ERROR_FIELDS | {"failures"}, without={"error", "retry_in"}
                )
            elif call.func.attr == "success":
                yield self._written(call, recovered, {"failures", "seconds"})
            elif call.func.attr == "fence":
                yield self._written(call, failed, ERROR_FIELDS | {"failures"})
                yield self._written(call, recovered, {"failures", "seconds"})

    def _written(
        self,
        call: ast.Call,
        event: Event,
        more: set[str],
        without: frozenset[str] | set[str] = frozenset(),
    ) -> Written:
        fields = set(more)
        for keyword in call.keywords:
            if keyword.arg is None:
                fields |= self._unpacked(keyword.value)
            elif keyword.arg == "exc_info":
                fields.add("exception")
            elif keyword.arg not in without:
                fields.add(keyword.arg)
        where = f"{self.path.relative_to(SOURCE)}:{call.lineno}"
        return Written(where, event, frozenset(fields))

    def _unpacked(self, value: ast.expr) -> set[str]:
        """The names that ``**value`` brings: a function, a property, or a dict of this module."""
        match value:
            case ast.Call():
                return self.returned[_name(value.func)]
            case ast.Attribute():
                (keys,) = [
                    module.returned[value.attr]
                    for module in MODULES
                    if value.attr in module.returned
                ]
                return keys
            case _:
                return self.assigned[ast.unparse(value)]


def _returned_keys(function: ast.FunctionDef) -> set[str] | None:
    last = function.body[-1]
    if isinstance(last, ast.Return) and isinstance(last.value, ast.Dict):
        return _keys(last.value)
    return None


def _keys(literal: ast.expr) -> set[str]:
    assert isinstance(literal, ast.Dict)
    return {str(key.value) for key in literal.keys if isinstance(key, ast.Constant)}


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)


def _event(argument: ast.expr) -> Event | None:
    """The event that ``events.NAME`` or ``NAME`` stands for; None where a variable does."""
    name = argument.attr if isinstance(argument, ast.Attribute) else ast.unparse(argument)
    found = getattr(events, name, None)
    return found if isinstance(found, Event) else None


MODULES = [Module(path) for path in sorted(SOURCE.rglob("*.py")) if path.name != "events.py"]
WRITTEN = [written for module in MODULES for written in module.written()]


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.where)
def test_an_event_is_written_with_the_fields_that_are_declared(written: Written) -> None:
    required = {name for name, kind in written.event.fields.items() if not kind.endswith("?")}
    assert required <= written.fields <= set(written.event.fields)


def test_every_declared_event_is_written_somewhere() -> None:
    assert {written.event.name for written in WRITTEN} == set(EVENTS)


def test_the_log_is_written_through_declared_events_only() -> None:
    for module in MODULES:
        if module.path.name == "logs.py":
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and _name(node.func) in {"emit", "emit_error"}:
                assert _event(node.args[0]), f"{module.path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in {"structlog.get_logger", "logging.getLogger"}
