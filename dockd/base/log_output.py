"""Writes the log's lines to standard error, on a separate thread.

Logging never blocks and never fails. Lines that can't be written, because their reader is gone
or has stopped reading or the disk is full, are counted, and the log reports the number once it
can be written again.
"""

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dockd.base.clock import Clock
from dockd.base.threads import start

ROOM = 1024 * 1024
"""Bytes of lines that may wait for a slow reader; further lines are lost."""
_RETRY_SECONDS = 5.0
"""Seconds between two tries to write again while nothing is logged."""
_STUCK = "its reader is too slow, or has stopped reading"


@dataclass(frozen=True)
class Health:
    """The state of the log."""

    lost: int = 0
    """Lines that were lost since the process began."""
    detail: str | None = None
    """Why lines can't be written now; None if they can."""
    since: datetime | None = None
    """Since when they can't be written."""


@dataclass(frozen=True)
class Loss:
    """Consecutive lines that were lost."""

    lines: int
    detail: str
    since: datetime


class LogOutput:
    """A file descriptor that takes lines without ever blocking the caller."""

    def __init__(
        self,
        descriptor: int | None,
        tell: Callable[[Loss], None],
        *,
        encoding: str = "utf-8",
        room: int = ROOM,
    ) -> None:
        """Start the writing thread.

        Args:
            descriptor: where lines are written; None if it was closed.
            tell: logs what was lost.
            encoding: the lines' encoding.
            room: bytes of lines that may wait.
        """
        self._tell = tell
        self._descriptor = descriptor
        self._encoding = encoding
        self._room = room
        self._clock = Clock()
        self._changed = threading.Condition()
        self._waiting = deque[bytes]()
        self._size = 0
        self._writing = False
        self._overflow = 0
        """Lines that were logged after the waiting ones, and lost."""
        self._owed = 0
        """Lines that were lost before the waiting ones, and are not reported yet."""
        self._health = Health()
        self._torn = False
        self._closed = False
        self._said: list[bytes] = []
        """Lines that the thread itself has logged."""
        self._thread = start(self._run, "log", daemon=True)

    def write(self, text: str) -> None:
        """Take a line, or count it as lost."""
        line = text.encode(self._encoding, "backslashreplace")
        if threading.current_thread() is self._thread:
            self._said.append(line)
            return
        with self._changed:
            full = bool(self._waiting) and self._size + len(line) > self._room
            if self._overflow or full:
                self._overflow += 1
                self._lost(1, _STUCK)
                return
            self._waiting.append(line)
            self._size += len(line)
            self._changed.notify_all()

    def flush(self) -> None:
        """Do nothing: lines are written as soon as they can be."""

    def drain(self, seconds: float) -> bool:
        """Wait for a time until all lines are written or lost; return whether they are."""
        with self._changed:
            return self._changed.wait_for(self._idle, seconds)

    def close(self) -> None:
        """Stop writing after the current lines; the descriptor stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def health(self) -> Health:
        """The current state of the log."""
        with self._changed:
            return self._health

    def _idle(self) -> bool:
        return not self._waiting and not self._writing

    def _lost(self, lines: int, detail: str) -> None:
        since = self._health.since or self._clock.now()
        self._health = Health(self._health.lost + lines, detail, since)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                untold = bool(self._owed or self._overflow)
                self._changed.wait_for(
                    lambda: bool(self._waiting) or self._closed,
                    _RETRY_SECONDS if untold else None,
                )
                if self._closed:
                    return
                lines, self._waiting, self._size = self._waiting, deque(), 0
                overflow, self._overflow = self._overflow, 0
                self._writing = True
            self._pass(lines, overflow)

    def _pass(self, lines: deque[bytes], overflow: int) -> None:
        """Report the lines lost before, write the lines, and report those lost after them."""
        try:
            self._settle()
            while lines:
                self._put(lines[0])
                lines.popleft()
            self._owed += overflow
            overflow = 0
            self._settle()
        except OSError as error:
            with self._changed:
                self._lost(len(lines), error.strerror or str(error))
            self._owed += len(lines) + overflow

    def _settle(self) -> None:
        """Report what was lost."""
        if not self._owed:
            return
        health = self.health
        loss = Loss(self._owed, health.detail or "", health.since or self._clock.now())
        self._said.clear()
        self._tell(loss)
        for line in self._said:
            self._put(line)
        self._owed = 0
        with self._changed:
            if not self._overflow:
                self._health = Health(self._health.lost)

    def _put(self, line: bytes) -> None:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "standard error is closed")
        # The written part of an incomplete line is kept on a line of its own.
        rest = memoryview(b"\n" + line if self._torn else line)
        whole = len(rest)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    _wait_for_room(self._descriptor)
        finally:
            self._torn = 0 < len(rest) < whole or (self._torn and len(rest) == whole)


def _wait_for_room(descriptor: int) -> None:
    """Wait for a reader; another process that shares the descriptor has set O_NONBLOCK."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
