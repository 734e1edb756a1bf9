"""Where results go: standard output, as lines for people or JSON for scripts."""

import json
import os
import sys
from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from dockd.cli import text
from dockd.cli.overview import Line


def terminal_size() -> os.terminal_size | None:
    """Return the size of the terminal that standard output is, None if it is none or a dumb one."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    return os.get_terminal_size(sys.stdout.fileno())


def say(lines: Iterable[Line]) -> None:
    """Print lines, with their tones on a terminal whose user wants them."""
    # See https://no-color.org.
    has_tones = terminal_size() is not None and not os.environ.get("NO_COLOR")
    for line in lines:
        print(line.on_terminal() if has_tones else text.printable(line.words))


def say_json(answer: BaseModel | Sequence[BaseModel]) -> None:
    """Print an answer of the daemon as one line of JSON, as it is declared.

    In ASCII: what else a name holds may be an order to a terminal.
    """
    if isinstance(answer, BaseModel):
        print(json.dumps(answer.model_dump(mode="json")))
    else:
        print(json.dumps([one.model_dump(mode="json") for one in answer]))
