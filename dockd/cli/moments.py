"""Local times on the command line; types for argparse."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_DAY = timedelta(days=1)
_SPAN = re.compile(r"(\d{1,6}) ?(s|m|min|h|d|w)")


def now() -> datetime:
    """Return the local time."""
    return datetime.now().astimezone()


def span(written: str) -> timedelta:
    """Read a time span such as ``90m`` or ``2h``.

    Raises:
        argparse.ArgumentTypeError: it is invalid.
    """
    match = _SPAN.fullmatch(written)
    if match is None:
        raise argparse.ArgumentTypeError(f"{written!r} is not a time span such as 30m, 2h or 3d")
    return int(match[1]) * _UNITS[match[2]]


def past(written: str) -> datetime:
    """Read a past moment: a span before now, a time of day, a date, or both.

    Raises:
        argparse.ArgumentTypeError: it is invalid.
    """
    with _on_the_calendar(written):
        if _SPAN.fullmatch(written):
            return (now() - span(written)).astimezone(UTC)
        if _is_hour(written):
            today = now()
            moment = _hour(written, today.date())
            return moment if moment <= today else _hour(written, today.date() - _DAY)
        return _moment(written)


def future(written: str) -> datetime:
    """Read a future moment: a time of day, a date, or both.

    Raises:
        argparse.ArgumentTypeError: it is invalid, or in the past.
    """
    with _on_the_calendar(written):
        if _is_hour(written):
            today = now()
            moment = _hour(written, today.date())
            return moment if moment > today else _hour(written, today.date() + _DAY)
        moment = _moment(written)
    if moment <= now():
        raise argparse.ArgumentTypeError(f"{written!r} is in the past")
    return moment


def ahead(written: str) -> datetime:
    """Read a future moment: the span until then.

    Raises:
        argparse.ArgumentTypeError: it is no time span.
    """
    with _on_the_calendar(written):
        return (now() + span(written)).astimezone(UTC)


@contextmanager
def _on_the_calendar(written: str) -> Iterator[None]:
    try:
        yield
    except OverflowError as error:
        raise argparse.ArgumentTypeError(f"{written!r} is out of range") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{written!r} is not a time such as 07:00, 2026-11-21 or '2026-11-21 07:00'"
        ) from error


def _is_hour(written: str) -> bool:
    return re.fullmatch(r"\d\d:\d\d(:\d\d)?", written) is not None


def _hour(written: str, day: date) -> datetime:
    """Return a time of a local day, which need not be 24 hours from that of the next."""
    return datetime.combine(day, time.fromisoformat(written)).astimezone(UTC)


def _moment(written: str) -> datetime:
    return datetime.fromisoformat(written).astimezone(UTC)
