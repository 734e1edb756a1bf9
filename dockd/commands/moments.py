"""Times as people write them on a command line; types for argparse."""

import argparse
import re
from datetime import datetime, time, timedelta

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SPAN = re.compile(r"(\d{1,6}) ?(s|m|min|h|d|w)")
_DAY = timedelta(days=1)


def now() -> datetime:
    """Return the local time."""
    return datetime.now().astimezone()


def span(written: str) -> timedelta:
    """Read a time span such as ``90m`` or ``2h``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = _SPAN.fullmatch(written)
    if match is None:
        raise argparse.ArgumentTypeError(f"{written!r} is no time span such as 30m, 2h or 3d")
    return int(match[1]) * _UNITS[match[2]]


def past(written: str) -> datetime:
    """Read a moment that is over: a span before now, an hour, a date, or both.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if _SPAN.fullmatch(written):
        return now() - span(written)
    moment = _moment(written)
    return moment - _DAY if _is_hour(written) and moment > now() else moment


def future(written: str) -> datetime:
    """Read a moment to come: an hour, a date, or both.

    Raises:
        argparse.ArgumentTypeError: it is none, or it is over.
    """
    moment = _moment(written)
    if moment <= now() and _is_hour(written):
        moment += _DAY
    if moment <= now():
        raise argparse.ArgumentTypeError(f"{written!r} is over")
    return moment


def _is_hour(written: str) -> bool:
    return re.fullmatch(r"\d\d:\d\d(:\d\d)?", written) is not None


def _moment(written: str) -> datetime:
    try:
        if _is_hour(written):
            return datetime.combine(now().date(), time.fromisoformat(written)).astimezone()
        return datetime.fromisoformat(written).astimezone()
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{written!r} is no time such as 07:00, 2026-11-21 or '2026-11-21 07:00'"
        ) from error
