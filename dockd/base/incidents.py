"""Lasting failures: logged when they open, at growing intervals, and when they close.

Every incident is owned by a scope (the daemon, a camera, a clip, the target), which closes its
incidents when it ends. Open incidents are shown in the status.
"""

import re
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dockd.base.clock import Clock
from dockd.base.errors import DockdError, explained
from dockd.base.log_events import Ended, Failed, Failure

REPEAT_FIRST = 60.0
"""Seconds after which an incident is logged a second time; they double."""
REPEAT_CAP = 3600.0
"""Seconds between two log lines about one cause of one incident, at most."""
_CAUSES = 8
"""Causes of one incident that are distinguished: ever-new messages must not flood the log."""
_ANY_OTHER = "any other"
_NUMBER = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f:]+::/[0-9]+)|[0-9]+")
"""A number, which does not distinguish causes; its group is an address or network, which does."""

Path = tuple[str, ...]


@dataclass(frozen=True)
class Incident:
    """A lasting failure, as of its last occurrence."""

    event: str
    """The name of the log event that reports it."""
    fields: Mapping[str, object]
    """The event's fields, such as camera and clip."""
    error: DockdError
    since: datetime
    at: datetime
    """When it occurred last."""
    failures: int
    next_try: datetime | None
    """None if it isn't retried by itself, or at the next scan."""


class Incidents:
    """The open incidents of a process, and their logging; safe in any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._runs: dict[tuple[Path, Failure[Any]], _Run] = {}

    def scope(self, *path: str) -> "Scope":
        """Return the scope at a path; scopes whose paths begin with it are within it."""
        return Scope(self, path)

    def shown(self) -> list[Incident]:
        """Return the open incidents that affect something now, oldest first."""
        with self._lock:
            shown = [
                run.incident
                for (_, failure), run in self._runs.items()
                if failure.shown and run.incident is not None
            ]
        return sorted(shown, key=lambda one: one.since)

    def failed(
        self, owner: Path, failed: Failed, error: DockdError, retry_in: float | None
    ) -> None:
        """Open an incident, or note that it occurred again."""
        with self._lock:
            now = self._clock.monotonic()
            run = self._runs.setdefault((owner, failed.failure), _Run(began=now))
            run.occurred(failed, error, self._clock, retry_in)
            if run.is_due(error, now):
                failed.write(error, failures=run.count)

    def recovered(self, owner: Path, failure: Failure[Any], ended: Ended | None) -> bool:
        """Close an incident and log its end; return whether it was open."""
        with self._lock:
            run = self._runs.pop((owner, failure), None)
            if run is None:
                return False
            if failure.ending is not None:
                seconds = round(self._clock.monotonic() - run.began, 1)
                known = run.fields if ended is None else ended.fields
                failure.ending.write(
                    {name: known[name] for name in failure.ending.fields if name in known}
                    | {"failures": run.count, "seconds": seconds}
                )
            return True

    def hide(self, owner: Path, failure: Failure[Any]) -> None:
        """Hide an incident until it occurs again, as it affects nothing now."""
        with self._lock:
            if run := self._runs.get((owner, failure)):
                run.incident = None

    def close(self, owner: Path, failure: Failure[Any] | None) -> None:
        """Drop the incidents of an owner and of those within it, silently."""
        with self._lock:
            for path, kind in list(self._runs):
                if path[: len(owner)] == owner and failure in {None, kind}:
                    del self._runs[path, kind]

    def keep(self, owner: Path, names: Collection[str], failure: Failure[Any]) -> None:
        """Drop one kind of incident silently, in scopes directly within an owner except some."""
        with self._lock:
            for path, kind in list(self._runs):
                if kind is failure and path[:-1] == owner and path[-1] not in names:
                    del self._runs[path, kind]


@dataclass(frozen=True)
class Scope:
    """An owner of incidents, which closes them when it ends."""

    _incidents: Incidents
    _path: Path

    def within(self, *path: str) -> "Scope":
        """Return a scope that ends with this one, if not before."""
        return Scope(self._incidents, (*self._path, *path))

    def failed(self, failed: Failed, error: DockdError, *, retry_in: float | None = None) -> None:
        """Open an incident, or note that it occurred again.

        Args:
            failed: what happened.
            error: why.
            retry_in: the seconds until it is retried, where that is known.
        """
        self._incidents.failed(self._path, failed, error, retry_in)

    def recovered(self, failure: Failure[Any], ended: Ended | None = None) -> bool:
        """Close an incident and log its end; return whether it was open.

        Args:
            failure: what had failed.
            ended: the fields of the end; by default, those of the failure.
        """
        return self._incidents.recovered(self._path, failure, ended)

    def hide(self, failure: Failure[Any]) -> None:
        """Hide an incident until it occurs again, as it affects nothing now."""
        self._incidents.hide(self._path, failure)

    def close(self, failure: Failure[Any] | None = None) -> None:
        """Drop this scope's incidents, or those of one kind, silently: their subject is gone."""
        self._incidents.close(self._path, failure)

    def keep(self, names: Collection[str], failure: Failure[Any]) -> None:
        """Drop one kind of incident silently, in scopes directly within this one except some."""
        self._incidents.keep(self._path, names, failure)

    @contextmanager
    def fence(self, failed: Failed) -> Iterator[None]:
        """Contain every error of a block: it opens an incident, and success closes it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # what a fence is for
            self.failed(failed, explained(error))
        else:
            self.recovered(failed.failure)


class _Run:
    """An incident from its first occurrence to its end, over all causes."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0
        self.fields: Mapping[str, object] = {}
        self.incident: Incident | None = None
        """The incident as it is shown; None while it is hidden."""
        self._due: dict[str, tuple[float, float]] = {}
        """By cause, the time at which it is logged next, and the interval after that."""

    def occurred(
        self, failed: Failed, error: DockdError, clock: Clock, retry_in: float | None
    ) -> None:
        """Note an occurrence."""
        self.count += 1
        self.fields = failed.fields
        at = clock.now()
        next_try = None if retry_in is None else at + timedelta(seconds=retry_in)
        if self.incident is not None:
            next_try = _sooner(self.incident.next_try, next_try, at)
        self.incident = Incident(
            event=failed.failure.name,
            fields=failed.fields,
            error=error,
            since=at - timedelta(seconds=clock.monotonic() - self.began),
            at=at,
            failures=self.count,
            next_try=next_try,
        )

    def is_due(self, error: DockdError, now: float) -> bool:
        """Return whether it is logged now: a new cause at once, a known one at its intervals."""
        cause = _NUMBER.sub(lambda one: one[1] or "0", f"{error.event} {error.message}")
        if cause not in self._due and len(self._due) >= _CAUSES:
            cause = _ANY_OTHER
        due, interval = self._due.get(cause, (now, REPEAT_FIRST))
        if now < due:
            return False
        self._due[cause] = now + interval, min(interval * 2, REPEAT_CAP)
        return True


def _sooner(known: datetime | None, next_try: datetime | None, at: datetime) -> datetime | None:
    """Return the earliest retry that is still to come."""
    if known is None or next_try is None or known <= at:
        return next_try
    return min(known, next_try)
