"""What is failing right now, for whoever shows it."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from dockd.base.errors import DockdError

Key = tuple[str, ...]


@dataclass(frozen=True)
class Failing:
    """A failure that goes on."""

    event: str
    """The name of the log event that tells of it."""
    fields: Mapping[str, object]
    """What the event says of it: its camera and clip, for example."""
    error: DockdError
    since: datetime
    at: datetime
    """When it failed last."""
    failures: int
    next_try: datetime | None
    """None where nothing is tried again by itself, or at the next look."""

    @classmethod
    def once(
        cls, event: str, error: DockdError, at: datetime, fields: Mapping[str, object]
    ) -> "Failing":
        """Return what has failed once, and stays so."""
        return cls(event, fields, error, since=at, at=at, failures=1, next_try=None)


class Board:
    """The failures that go on, by event and key; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: dict[Key, Failing] = {}

    def put(self, key: Key, failing: Failing) -> None:
        """Show a failure, or its repetition; of several tries to come, the next one counts."""
        with self._lock:
            known = self._failing.get(key)
            if known is not None:
                failing = replace(failing, next_try=_sooner(known.next_try, failing))
            self._failing[key] = failing

    def remove(self, key: Key) -> None:
        """Show a failure no longer, if it was shown."""
        with self._lock:
            self._failing.pop(key, None)

    def failing(self) -> list[Failing]:
        """Return what fails now, oldest first."""
        with self._lock:
            return sorted(self._failing.values(), key=lambda one: one.since)


def _sooner(known: datetime | None, failing: Failing) -> datetime | None:
    if known is None or failing.next_try is None or known <= failing.at:
        return failing.next_try
    return min(known, failing.next_try)
