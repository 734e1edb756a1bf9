"""What a check finds, and how bad it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from dockd.errors import DockdError


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
