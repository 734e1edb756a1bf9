"""What both programs say in their logs; the rest is in station/events.py and receiver/events.py."""

from collections.abc import Sequence

from dockd.base.log_events import Traceback, ending, event, failure


@ending("A failed part of the daemon, or of the receiver, works again.")
def daemon_part_recovered(*, part: str) -> None: ...


@failure(
    "A part of the daemon, or of the receiver, failed; it is restarted, and the rest continues.",
    ending=daemon_part_recovered,
)
def daemon_part_failed(*, part: str) -> None: ...


@event(
    "`lines` lines of this log could not be written, here or just before; work continued.",
    level="error",
)
def log_lost(*, lines: int, seconds: float, detail: str) -> None: ...


@event(
    "A library logged a warning or an error; further ones from the same place within a "
    "minute are only counted, in `unwritten`.",
    level="warning",
)
def library_complained(
    *, library: str, detail: str, unwritten: int, exception: Traceback | None
) -> None: ...


@event(
    "A part shows no progress; the watchdog is not fed, and systemd restarts dockd.", level="error"
)
def watchdog_starved(*, parts: Sequence[str]) -> None: ...


@ending("Half of the connections have ended; new ones are accepted again.")
def connections_taken() -> None: ...


@failure(
    "Connection limit reached, of a station's control API or of a receiver; further "
    "connections are closed.",
    level="warning",
    ending=connections_taken,
    shown=False,
)
def connections_refused() -> None: ...
