"""Results on standard output: lines for people, or JSON for scripts."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from dockd.cli import text
from dockd.cli.overview import Line
from dockd.station.control.views import View


def terminal_size() -> os.terminal_size | None:
    """Return the terminal size of standard output; None: no terminal, or a dumb one."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    return os.get_terminal_size(sys.stdout.fileno())


def say(lines: Iterable[Line]) -> None:
    """Print lines, styled if on a terminal and not disabled by the user."""
    # See https://no-color.org.
    has_tones = terminal_size() is not None and not os.environ.get("NO_COLOR")
    for line in lines:
        print(line.on_terminal() if has_tones else text.printable(line.words))


def say_json(answer: View | Sequence[View]) -> None:
    """Print an answer of the daemon as one line of JSON, as it is declared.

    In ASCII: a name may hold control characters of a terminal.
    """
    if isinstance(answer, View):
        print(json.dumps(asdict(answer)))
    else:
        print(json.dumps([asdict(one) for one in answer]))
