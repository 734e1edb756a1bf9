"""Structured logs: one JSON object a line, or readable lines on a terminal.

dockd's events are declared elsewhere; this module renders them.
"""

import logging
import math
import sys
import threading
import warnings
from collections import Counter
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from dockd.base import events
from dockd.base.clock import Clock
from dockd.base.log_events import Level, Traceback
from dockd.base.log_output import Health, LogOutput, Loss

Style = Literal["auto", "json", "text"]

_QUIET_SECONDS = 60.0
"""Seconds in which further messages of a library from one place are only counted."""
_LAST_WORDS_SECONDS = 2.0
"""Seconds that a process waits at its end for its log to be written."""

_output: LogOutput | None = None
"""The process's only writer of standard error, however often logging is set up."""


def configure(
    *, level: Level = "info", style: Style = "auto", stream: TextIO | None = None
) -> None:
    """Set up logging for the process; ``auto`` writes text on a terminal and JSON elsewhere.

    Args:
        level: the lowest level that is written.
        style: the form of events.
        stream: written to at once; None: standard error, written by a separate thread.
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
    # Libraries use logging; only their warnings and errors are for operators.
    logging.basicConfig(level=logging.WARNING, handlers=[_Complaints()], force=True)


def health() -> Health:
    """Return whether lines can be written, and how many were lost."""
    return Health() if _output is None else _output.health


def last_words() -> None:
    """Wait, for a limited time, until the log is written before the process ends."""
    if _output is not None:
        _output.drain(_LAST_WORDS_SECONDS)


class _StandIn:
    """The current replacement of standard error, looked up at each write."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _standard_error() -> "LogOutput | _StandIn":
    """Return the writer of standard error; a replaced standard error is written to at once."""
    global _output  # noqa: PLW0603  # as standard error is one for the process

    own = sys.__stderr__
    if own is not None and sys.stderr is not own:
        return _StandIn()
    if _output is None:
        # ``own`` is None if standard error was closed when the process began.
        _output = (
            LogOutput(None, _tell_loss)
            if own is None
            else LogOutput(own.fileno(), _tell_loss, encoding=own.encoding)
        )
        _divert()
    return _output


def _divert() -> None:
    """Log what Python itself would write to standard error as events."""

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
    events.log_lost(lines=loss.lines, seconds=seconds, detail=loss.detail)


class _Complaints(logging.Handler):
    """Writes libraries' messages as events, at a limited rate for each place in their code."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()
        self._written: dict[tuple[str, int], float] = {}
        """When a message of each place, a file and its line, was last written."""
        self._unwritten = Counter[tuple[str, int]]()

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.pathname, record.lineno)
        now = self._clock.monotonic()
        if now < self._written.get(place, -math.inf) + _QUIET_SECONDS:
            self._unwritten[place] += 1
            return
        self._written[place] = now
        events.library_complained(
            library=record.name,
            detail=record.getMessage(),
            unwritten=self._unwritten.pop(place, 0),
            exception=_traceback(record),
        )


def _traceback(record: logging.LogRecord) -> Traceback | None:
    cause = record.exc_info
    return None if cause is None or cause[0] is None else cause


def _stable_order(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    first = {name: event_dict.pop(name) for name in ("time", "level", "event")}
    return {**first, **event_dict}
