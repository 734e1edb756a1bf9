"""The results of checks, and their severity."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from dockd.base.errors import DockdError


class Level(IntEnum):
    """The severity of a finding; higher is worse."""

    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """One result of a check."""

    level: Level
    what: str
    """In a sentence."""
    remedy: str = ""
    """What an operator can do."""


Findings = Iterator[Finding]


def ok(what: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(Level.OK, what)


def warning(what: str, remedy: str) -> Finding:
    """Return a finding that something should be fixed before it causes a failure."""
    return Finding(Level.WARNING, what, remedy)


def error(what: str, remedy: str) -> Finding:
    """Return a finding that something prevents the station from working."""
    return Finding(Level.ERROR, what, remedy)


def failure(problem: DockdError, remedy: str = "") -> Finding:
    """Return one of dockd's errors as a finding."""
    return Finding(Level.ERROR, problem.message, problem.hint or remedy)


def fenced(name: str, findings: Findings) -> Findings:
    """Yield the findings of a check, and its failure as one: other checks go on."""
    try:
        yield from findings
    except DockdError as problem:
        yield failure(problem)
    except PermissionError as problem:
        yield warning(f"no permission to check: {problem}", "run dockd check as root")
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        yield error(f"{place}{problem.strerror}", "check the disk; see dmesg")
    except Exception as problem:  # noqa: BLE001  # the boundary of one check
        yield error(
            f"the check of {name} failed: {type(problem).__name__}: {problem}",
            "please report this bug in dockd",
        )
