"""Times in file names, in formats as of strptime(3).

strptime guesses: it reads ``1112026`` as a day, a month and a year, and ``13:14`` as a time in
1900. Here a text is a time only if it is unambiguous, and a format is invalid if two times
can have the same text.
"""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime

_DIGITS = {
    "Y": 4, "G": 4, "j": 3, "m": 2, "d": 2, "H": 2, "I": 2, "M": 2, "S": 2, "y": 2, "U": 2,
    "W": 2, "V": 2, "w": 1, "u": 1,
}  # fmt: skip
"""The number of digits of each numeric directive."""
_TEXTS = {
    "f": "[0-9]{1,6}",
    "z": r"Z|[+-][0-9]{2}:?[0-9]{2}(?::?[0-9]{2}(?:\.[0-9]{1,6})?)?",
    "a": r"[^\W\d_]+",
    "A": r"[^\W\d_]+",
    "b": r"[^\W\d_]+",
    "B": r"[^\W\d_]+",
    "p": r"[^\W\d_]+",
    "%": "%",
}
_PIECE = re.compile(r"%(.?)|[^%]", re.DOTALL)
_MOMENTS = (
    datetime(2026, 11, 21, 13, 14, 15, tzinfo=UTC),
    datetime(2024, 2, 29, 4, 5, 6, tzinfo=UTC),
)
"""Times that a format must distinguish from others."""
_COARSER = ("microsecond", "second", "minute", "hour", "day", "month")


class TimeFormat:
    """A time format."""

    def __init__(self, written: str) -> None:
        """Compile it.

        Raises:
            ValueError: it is no format, or does not tell times apart.
        """
        self._written = written
        if "%" not in written:
            raise ValueError(f"{written!r} is not a time format; use directives such as %Y%m%d")
        self._shape = re.compile("".join(_pieces(written)), re.IGNORECASE)
        for moment in _MOMENTS:
            self._check(moment)

    def _check(self, moment: datetime) -> None:
        text = moment.strftime(self._written)
        try:
            made = datetime.strptime(text, self._written)  # noqa: DTZ007
        except re.error as error:
            raise ValueError(f"{self._written!r} has a duplicate directive") from error
        made = made.astimezone(UTC) if made.tzinfo else made.replace(tzinfo=UTC)
        # A format may omit the smallest units, and none in between.
        if made in itertools.accumulate(_COARSER, _cut, initial=moment):
            return
        raise ValueError(
            f"{self._written!r} does not tell times apart: {moment:%Y-%m-%d %H:%M:%S} is written"
            f" {text!r}, and that would be read as {made:%Y-%m-%d %H:%M:%S}"
        )

    def read(self, text: str) -> float | None:
        """Return a time as seconds since the epoch, local unless it has an offset.

        None: the text does not match the format.
        """
        if not self._shape.fullmatch(text):
            return None
        try:
            return datetime.strptime(text, self._written).astimezone().timestamp()
        except (ValueError, OverflowError):
            return None


def _cut(moment: datetime, part: str) -> datetime:
    least = 1 if part in {"day", "month"} else 0
    return moment.replace(**{part: least})  # type: ignore[arg-type]


def _pieces(written: str) -> Iterator[str]:
    """Yield the regular expressions of a format's parts."""
    pieces = [(piece[1], piece[0]) for piece in _PIECE.finditer(written)]
    for index, (directive, literal) in enumerate(pieces):
        if directive is None:
            yield re.escape(literal)
        elif directive in _DIGITS:
            beside = pieces[max(index - 1, 0) : index] + pieces[index + 1 : index + 2]
            most = _DIGITS[directive]
            # Not next to digits, leading zeros may be omitted.
            least = most if most == 4 or any(map(_is_numeric, beside)) else 1
            yield f"[0-9]{{{least},{most}}}"
        elif directive in _TEXTS:
            after = pieces[index + 1 : index + 2]
            if directive == "f" and any(map(_is_numeric, after)):
                raise ValueError(f"{written!r} does not say where %f ends; end it with a letter")
            yield _TEXTS[directive] if directive != "z" else f"(?:{_TEXTS['z']})"
        elif directive in set("cxXZ"):
            raise ValueError(f"%{directive} differs from system to system; write it as in %Y%m%d")
        elif directive:
            raise ValueError(f"{directive!r} is a bad directive in format {written!r}")
        else:
            raise ValueError(f"stray % in format {written!r}")


def _is_numeric(piece: tuple[str | None, str]) -> bool:
    directive, literal = piece
    return directive in _DIGITS or directive == "f" or (directive is None and literal.isdigit())
