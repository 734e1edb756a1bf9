"""Structured logs: one JSON object a line, or readable lines on a terminal.

What dockd says is declared in ``dockd.events``; this module renders it.
"""

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from dockd.clock import Clock
from dockd.errors import DockdError
from dockd.events import LIBRARY_COMPLAINED, Event

Style = Literal["auto", "json", "text"]
Level = Literal["debug", "info", "warning", "error"]

REPEAT_FIRST = 60.0
"""Seconds after which a failure that goes on is logged a second time."""
REPEAT_CAP = 3600.0
"""Seconds between two lines about one lasting failure, at most."""


def configure(
    *, level: Level = "info", style: Style = "auto", stream: TextIO | None = None
) -> None:
    """Set up logging for the process; ``auto`` writes text on a terminal and JSON elsewhere."""
    stream = stream or sys.stderr
    as_text = style == "text" or (style == "auto" and stream.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24, timestamp_key="time")
        if as_text
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
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
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through logging; only what they call a warning is for operations.
    logging.basicConfig(level=logging.WARNING, handlers=[_Complaints()], force=True)


def emit(event: Event, **fields: object) -> None:
    """Write one event; its fields are those that ``dockd.events`` declares for it."""
    logger: FilteringBoundLogger = structlog.get_logger()
    logger.log(logging.getLevelNamesMapping()[event.level.upper()], event.name, **fields)


def emit_error(event: Event, error: DockdError, **fields: object) -> None:
    """Write an event about an error: what happened, and what a person can do."""
    emit(event, **fields, error=error.event, detail=error.message, hint=error.hint)


class _Complaints(logging.Handler):
    """Writes what a library logs as an event."""

    def emit(self, record: logging.LogRecord) -> None:
        emit(
            LIBRARY_COMPLAINED,
            library=record.name,
            detail=record.getMessage(),
            exc_info=record.exc_info,
        )


class Repeats:
    """Keeps a failure that goes on from flooding the log.

    The first failure of a key is written at once, further ones at intervals that double
    from a minute to an hour, and the first success after it in one "recovered" line.
    """

    def __init__(self, clock: Clock, failed: Event, recovered: Event) -> None:
        self._clock = clock
        self._failed = failed
        self._recovered = recovered
        self._runs: dict[tuple[str, ...], _Run] = {}

    def failure(self, *key: str, error: DockdError, **fields: object) -> None:
        """Note a failure of ``key``, and write it if it is time to."""
        now = self._clock.monotonic()
        run = self._runs.setdefault(key, _Run(began=now, due=now, interval=REPEAT_FIRST))
        run.count += 1
        if now >= run.due:
            emit_error(self._failed, error, **fields, failures=run.count)
            run.due = now + run.interval
            run.interval = min(run.interval * 2, REPEAT_CAP)

    def success(self, *key: str, **fields: object) -> bool:
        """Note that ``key`` works; if it had failed, write that and return true."""
        run = self._runs.pop(key, None)
        if run is None:
            return False
        seconds = round(self._clock.monotonic() - run.began, 1)
        emit(self._recovered, **fields, failures=run.count, seconds=seconds)
        return True


class _Run:
    def __init__(self, began: float, due: float, interval: float) -> None:
        self.began = began
        self.due = due
        self.interval = interval
        self.count = 0


def _stable_order(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    first = {name: event_dict.pop(name) for name in ("time", "level", "event")}
    return {**first, **event_dict}
