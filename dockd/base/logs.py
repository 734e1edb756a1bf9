"""Structured logs: one JSON object a line, or readable lines on a terminal.

What dockd says is declared in ``dockd.events``; this module renders it.
"""

import logging
import math
import re
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from dockd.base.board import Board, Failing, Key
from dockd.base.clock import Clock
from dockd.base.errors import DockdError, UnforeseenError
from dockd.base.events import LIBRARY_COMPLAINED, LOG_LOST, Event
from dockd.base.log_output import Health, LogOutput, Loss

Style = Literal["auto", "json", "text"]
Level = Literal["debug", "info", "warning", "error"]

REPEAT_FIRST = 60.0
"""Seconds after which a failure that goes on is logged a second time."""
REPEAT_CAP = 3600.0
"""Seconds between two lines about one lasting failure, at most."""
_CAUSES = 8
"""Causes of one lasting failure that are told apart; words that never repeat are no flood."""
_ANY_OTHER = "any other"
_NUMBER = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f:]+::/[0-9]+)|[0-9]+")
"""A number, which makes no other cause; in its group, an address or a network, which does."""
_LAST_WORDS_SECONDS = 2.0
"""How long a process that ends waits for its log to be written."""

_output: LogOutput | None = None
"""What writes standard error; one for the process, however often logging is set up."""


def configure(
    *, level: Level = "info", style: Style = "auto", stream: TextIO | None = None
) -> None:
    """Set up logging for the process; ``auto`` writes text on a terminal and JSON elsewhere.

    Args:
        level: what is left out.
        style: how events are written.
        stream: where to, at once; without one, standard error, by a thread of its own.
    """
    target = stream if stream is not None else sys.stderr
    on_terminal = target.isatty()
    as_text = style == "text" or (style == "auto" and on_terminal)
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=on_terminal, pad_event_to=24, timestamp_key="time")
        if as_text
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    written_to = _standard_error() if stream is None else stream
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _stable_order,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.WriteLogger(cast("TextIO", written_to)),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through logging; only what they call a warning is for operations.
    logging.basicConfig(level=logging.WARNING, handlers=[_Complaints()], force=True)


def health() -> Health:
    """Return whether lines can be written, and how many could not."""
    return Health() if _output is None else _output.health


def last_words() -> None:
    """Let the log be written before the process ends; a reader that is stuck holds nothing up."""
    if _output is not None:
        _output.drain(_LAST_WORDS_SECONDS)


class _StandIn:
    """Whatever was put in standard error's place, at the time that something is written."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _standard_error() -> "LogOutput | _StandIn":
    """Return what writes to standard error; one that was put in its place is written at once."""
    global _output  # noqa: PLW0603  # as standard error is one for the process

    own = sys.__stderr__
    if own is not None and sys.stderr is not own:
        return _StandIn()
    if _output is None:
        # It is None where standard error was closed when the process began.
        _output = (
            LogOutput(None, _tell_loss)
            if own is None
            else LogOutput(own.fileno(), _tell_loss, encoding=own.encoding)
        )
        _divert()
    return _output


def _divert() -> None:
    """Let what Python itself would write to standard error be an event of the log as well."""

    def warned(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,  # noqa: ARG001  # the library's names
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        words = f"{category.__name__}: {message}"
        logger.handle(
            logging.LogRecord(logger.name, logging.WARNING, filename, lineno, words, None, None)
        )

    def ignored(what: Any) -> None:
        cause = (what.exc_type, what.exc_value, what.exc_traceback)
        logger.error("exception ignored in %r", getattr(what, "object", None), exc_info=cause)

    def ended(what: threading.ExceptHookArgs) -> None:
        cause: Any = (what.exc_type, what.exc_value, what.exc_traceback)
        name = what.thread.name if what.thread is not None else "?"
        logger.error("thread %s has ended", name, exc_info=cause)

    logger = logging.getLogger("python")
    warnings.showwarning = warned
    sys.unraisablehook = ignored
    threading.excepthook = ended


def _tell_loss(loss: Loss) -> None:
    seconds = round((Clock().now() - loss.since).total_seconds(), 1)
    emit(LOG_LOST, lines=loss.lines, seconds=seconds, detail=loss.detail)


def emit(event: Event, **fields: object) -> None:
    """Write one event; its fields are those that ``dockd.events`` declares for it."""
    logger: FilteringBoundLogger = structlog.get_logger()
    logger.log(logging.getLevelNamesMapping()[event.level.upper()], event.name, **fields)


def emit_error(event: Event, error: DockdError, **fields: object) -> None:
    """Write an event about an error: what happened, and what a person can do."""
    emit(
        event,
        **fields,
        error=error.event,
        detail=error.message,
        hint=error.hint,
        exc_info=error.__cause__ if isinstance(error, UnforeseenError) else None,
    )


class _Complaints(logging.Handler):
    """Writes what libraries log as events: from one place in one, so often at most."""

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[tuple[str, int], float] = {}
        """When each place, a file and its line, was last heard."""
        self._unwritten = Counter[tuple[str, int]]()

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.pathname, record.lineno)
        now = time.monotonic()
        if now < self._written.get(place, -math.inf) + REPEAT_FIRST:
            self._unwritten[place] += 1
            return
        self._written[place] = now
        emit(
            LIBRARY_COMPLAINED,
            library=record.name,
            detail=record.getMessage(),
            unwritten=self._unwritten.pop(place, 0),
            exc_info=record.exc_info,
        )


class Repeats:
    """Keeps a failure that goes on from flooding the log.

    The first failure of a key is written at once, further ones at intervals that double
    from a minute to an hour, a cause that is new at once, and the first success after it in
    one "recovered" line.
    """

    def __init__(
        self, clock: Clock, failed: Event, recovered: Event, board: Board | None = None
    ) -> None:
        """Keep the failures of one kind.

        Args:
            clock: how long they last.
            failed: the event of a failure.
            recovered: the event of its end.
            board: shows the failures for as long as they go on.
        """
        self._clock = clock
        self._failed = failed
        self._recovered = recovered
        self._board = board
        self._runs: dict[Key, _Run] = {}

    def failure(
        self, *key: str, error: DockdError, retry_in: float | None = None, **fields: object
    ) -> None:
        """Note a failure of ``key``, and write it if it is time to.

        Args:
            key: what failed.
            error: why.
            retry_in: the seconds until it is tried again, where that is known.
            fields: what the event says of it.
        """
        now = self._clock.monotonic()
        run = self._runs.setdefault(key, _Run(began=now))
        run.count += 1
        if self._board is not None:
            self._board.put((self._failed.name, *key), self._failing(run, error, retry_in, fields))
        if run.is_due(error, now):
            emit_error(self._failed, error, **fields, failures=run.count)

    def _failing(
        self, run: "_Run", error: DockdError, retry_in: float | None, fields: dict[str, object]
    ) -> Failing:
        at = self._clock.now()
        return Failing(
            event=self._failed.name,
            fields=fields,
            error=error,
            since=at - timedelta(seconds=self._clock.monotonic() - run.began),
            at=at,
            failures=run.count,
            next_try=None if retry_in is None else at + timedelta(seconds=retry_in),
        )

    def success(self, *key: str, **fields: object) -> bool:
        """Note that ``key`` works; if it had failed, write that and return true."""
        run = self._end(key)
        if run is None:
            return False
        seconds = round(self._clock.monotonic() - run.began, 1)
        emit(self._recovered, **fields, failures=run.count, seconds=seconds)
        return True

    def hide(self, *key: str) -> None:
        """Show a failure no longer, as nothing suffers from it now; its run goes on."""
        if self._board is not None:
            self._board.remove((self._failed.name, *key))

    @contextmanager
    def fence(self, *key: str, **fields: object) -> Iterator[None]:
        """Note whether what is done within works; no error leaves it, foreseen or not."""
        try:
            yield
        except DockdError as error:
            self.failure(*key, error=error, retry_in=None, **fields)
        except Exception as error:  # noqa: BLE001  # what a fence is for
            self.failure(*key, error=UnforeseenError.of(error), retry_in=None, **fields)
        else:
            self.success(*key, **fields)

    def forget(self, *key: str) -> None:
        """Drop the failures of all keys that begin like this: what failed is gone."""
        for known in [known for known in self._runs if known[: len(key)] == key]:
            self._end(known)

    def _end(self, key: Key) -> "_Run | None":
        if self._board is not None:
            self._board.remove((self._failed.name, *key))
        return self._runs.pop(key, None)


class _Run:
    """A failure from its first to its end, whatever its causes."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0
        self._due: dict[str, tuple[float, float]] = {}
        """By cause, when it is written next, and the interval after that."""

    def is_due(self, error: DockdError, now: float) -> bool:
        """Say whether it is written now: a new cause at once, a known one at its intervals."""
        cause = _NUMBER.sub(lambda one: one[1] or "0", f"{error.event} {error.message}")
        if cause not in self._due and len(self._due) >= _CAUSES:
            cause = _ANY_OTHER
        due, interval = self._due.get(cause, (now, REPEAT_FIRST))
        if now < due:
            return False
        self._due[cause] = now + interval, min(interval * 2, REPEAT_CAP)
        return True


def _stable_order(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    first = {name: event_dict.pop(name) for name in ("time", "level", "event")}
    return {**first, **event_dict}
