"""What a check finds, and how bad it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from dockd.base.errors import DockdError


class Level(IntEnum):
    """How bad a finding is; a higher one is worse."""

    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """One thing that a check has seen."""

    level: Level
    what: str
    """In a sentence."""
    remedy: str = ""
    """What a person can do."""


Findings = Iterator[Finding]


def ok(what: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, what)


def warning(what: str, remedy: str) -> Finding:
    """Return a finding that something should be mended before it hurts."""
    return Finding(Level.WARNING, what, remedy)


def error(what: str, remedy: str) -> Finding:
    """Return a finding that something keeps the station from its work."""
    return Finding(Level.ERROR, what, remedy)


def failure(problem: DockdError, remedy: str = "") -> Finding:
    """Return an error that dockd has words for as a finding."""
    return Finding(Level.ERROR, problem.message, problem.hint or remedy)


def fenced(name: str, findings: Findings) -> Findings:
    """Yield what a check finds, and why where it breaks off: nothing else ends with it."""
    try:
        yield from findings
    except DockdError as problem:
        yield failure(problem)
    except PermissionError as problem:
        yield warning(f"can't be looked at: {problem}", "run dockd check as root")
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        yield error(f"{place}{problem.strerror}", "look at the disk, and at dmesg")
    except Exception as problem:  # noqa: BLE001  # the boundary of one check
        yield error(
            f"the check of {name} failed: {type(problem).__name__}: {problem}",
            "please report this: it is a mistake in dockd",
        )
