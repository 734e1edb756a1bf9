"""Output of commands: times, rates, names with arbitrary content."""

import math
import pwd
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from dockd.base.sizes import shown_size

_StateT = TypeVar("_StateT", bound=str)

_BAR = 10


def printable(text: str) -> str:
    r"""Return a text with control and invisible characters as ``\xNN``."""
    return "".join(
        character
        if character.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
        for character in text
    )


def columns(text: str) -> int:
    """Return the width of a printable text in terminal columns."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return a printable text cut to a width, with an ellipsis where it is cut."""
    if columns(text) <= width:
        return text
    kept, room = "", width - 1
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept += character
    return f"{kept}…"


def cut_start(text: str, width: int) -> str:
    """Return the end of a printable text cut to a width, after an ellipsis where it is cut."""
    return cut(text[::-1], width)[::-1]


def fit(text: str, width: int) -> str:
    """Return a printable text cut or filled up to a width."""
    text = cut(text, width)
    return text + " " * (width - columns(text))


def rate(bytes_a_second: float) -> str:
    """Return a rate: ``11.2 MiB/s``."""
    return f"{shown_size(bytes_a_second)}/s"


def duration(seconds: float) -> str:
    """Return a time span in one unit or two: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(0, math.floor(seconds + 0.5))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def moment(text: str) -> datetime:
    """Return a moment of a response in local time."""
    return datetime.fromisoformat(text).astimezone()


def local(when: datetime, now: datetime) -> str:
    """Return a local time, with its date where that isn't today's."""
    here = when.astimezone()
    is_today = here.date() == now.astimezone().date()
    return here.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")


def since(when: datetime, now: datetime) -> str:
    """Return since when: ``since 14:03 (12 min)``."""
    return f"since {local(when, now)} ({duration((now - when).total_seconds())})"


def share(done: float, total: float) -> float:
    """Return the fraction that is done, from 0 to 1; nothing to do counts as done."""
    return min(1.0, max(0.0, done / total)) if total > 0 else 1.0


def bar(done: float, total: float) -> str:
    """Return a progress bar with its percentage: ``[####......]  45%``."""
    part = share(done, total)
    filled = math.floor(_BAR * part)
    # Rounded down: only what is done is 100%.
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {math.floor(100 * part):3}%"


def counts(clips: Mapping[_StateT, int]) -> str:
    """Return the number of clips by state: ``3 found, 1 uploading``."""
    return ", ".join(f"{count:,} {state}" for state, count in clips.items() if count)


def user(uid: int) -> str:
    """Return a user's name, if this machine knows one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
