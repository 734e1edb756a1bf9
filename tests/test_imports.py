"""Which way imports go, as docs/develop.md says."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dockd"
APART = ["sources", "targets", "ingest", "wipe"]
STATION = [
    *APART,
    "bandwidth",
    "activity",
    "board",
    "cleaning",
    "control",
    "daemon",
    "database",
    "delivery",
    "docking",
    "intake",
    "ledger",
    "pauses",
    "retry",
    "slots",
    "spool",
    "station",
    "tree",
    "upload",
]


def _modules(part: str) -> list[Path]:
    """Return a module's file, or those of a package."""
    module = PACKAGE / f"{part}.py"
    return [module] if module.exists() else sorted((PACKAGE / part).rglob("*.py"))


def _imports(module: Path) -> set[str]:
    """Return what a module imports of dockd, as ``part`` or ``part.module``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "dockd":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            head, _, rest = str(node.module).partition(".")
            names |= {rest} if head == "dockd" else set()
    return names


def _parts(module: Path) -> set[str]:
    return {name.partition(".")[0] for name in _imports(module)}


@pytest.mark.parametrize("part", ["clock", "errors", "files", "model"])
def test_the_foundations_import_nothing_of_dockd(part: str) -> None:
    for module in _modules(part):
        assert not _imports(module)


@pytest.mark.parametrize("part", APART)
def test_the_parts_of_a_clips_way_do_not_know_each_other(part: str) -> None:
    others = set(APART) - {part}
    for module in _modules(part):
        assert not _parts(module) & others, module


def test_only_the_station_knows_which_source_and_which_target_there_is() -> None:
    concrete = {
        "sources.folder",
        "sources.udev",
        "sources.udisks",
        "sources.usb",
        "targets.http",
        "targets.tus",
    }
    # The doctor and the commands look at udev themselves, with no station.
    apart = {"sources", "targets", "doctor", "commands"}
    for module in PACKAGE.rglob("*.py"):
        if module.parent.name not in apart and module.name != "station.py":
            assert not _imports(module) & concrete, module


def test_the_work_does_not_know_who_looks_at_it() -> None:
    knowing = {"control", "daemon", "station"}
    for part in set(STATION) - knowing:
        for module in _modules(part):
            assert "control" not in _parts(module), module


def test_the_receiver_imports_nothing_of_the_station() -> None:
    for module in _modules("receiver"):
        assert not _parts(module) & set(STATION), module


@pytest.mark.parametrize("part", STATION)
def test_the_station_imports_nothing_of_the_receiver(part: str) -> None:
    for module in _modules(part):
        assert "receiver" not in _parts(module), module
