"""A bounded shutdown: a disk may never answer, and Python waits for every thread."""

import os
import threading
from functools import partial
from typing import Protocol

from dockd.base.logs import last_words
from dockd.base.threads import left_behind, start


class CutShort(Protocol):
    """Logs that a shutdown was cut short."""

    def __call__(self, *, seconds: float) -> None:
        """Log it, with the seconds it was given."""


class Deadline:
    """Ends the process like a crash if its shutdown takes too long; the next start recovers."""

    def __init__(self, seconds: float, cut_short: CutShort) -> None:
        self._seconds = seconds
        self._cut_short = cut_short
        self._code = 0
        self._over: threading.Event | None = None

    def begin(self, code: int) -> None:
        """Begin the time, if it has not begun; the exit code of the last call counts."""
        self._code = code
        if self._over is None:
            self._over = threading.Event()
            start(partial(self._wait, self._over), "deadline", daemon=True)

    def over(self) -> None:
        """End the time: the shutdown is complete, or nothing shuts down."""
        if self._over is not None:
            self._over.set()
            self._over = None

    def _wait(self, over: threading.Event) -> None:
        if not over.wait(self._seconds):
            self._cut_short(seconds=self._seconds)
            last_words()
            os._exit(self._code)


def abandon_calls(code: int) -> None:
    """End the process now if it has left calls behind that Python would wait for."""
    if left_behind():
        os._exit(code)
