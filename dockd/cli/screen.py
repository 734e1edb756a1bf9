"""A picture on a terminal that is painted anew only where it has changed.

Control sequences are those of ECMA-48 that every terminal knows, and xterm's alternate
screen (1049).
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from dockd.cli.overview import Line

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""Alternate screen without a cursor; back again."""
_CLEAR = "\x1b[2J"
_ERASE_REST = "\x1b[K"


class Screen:
    """The whole of a terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size: os.terminal_size | None = None
        """The size for which it was painted; None: not painted."""
        self._shown: list[str] = []

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take over the terminal at the first paint, and restore it afterwards."""
        before = {
            number: signal.signal(number, handler)
            for number, handler in ((signal.SIGTSTP, self._stop), (signal.SIGTERM, self._end))
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._write(_LEAVE)

    @property
    def height(self) -> int:
        """The number of lines."""
        return os.get_terminal_size(self._fd).lines

    def paint(self, lines: Sequence[Line]) -> None:
        """Show these lines from the top; the rest is cleared."""
        size = os.get_terminal_size(self._fd)
        # The last column stays empty: terminals differ in how they wrap.
        wanted = [line.on_terminal(size.columns - 1) for line in lines[: size.lines]]
        wanted += [""] * (size.lines - len(wanted))
        out = ""
        if size != self._size:
            self._size, self._shown, out = size, [""] * size.lines, _ENTER + _CLEAR
        out += "".join(
            f"\x1b[{row};1H{new}{_ERASE_REST}"
            for row, (old, new) in enumerate(zip(self._shown, wanted, strict=True), start=1)
            if old != new
        )
        self._shown = wanted
        self._write(out)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Restore the terminal while the job is stopped (Ctrl-Z)."""
        self._write(_LEAVE)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._size = None

    def _end(self, number: int, _frame: FrameType | None) -> None:
        """Restore the terminal, and terminate by the signal."""
        self._write(_LEAVE)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _write(self, out: str) -> None:
        data = memoryview(out.encode("utf-8", "replace"))
        while data:
            data = data[os.write(self._fd, data) :]
