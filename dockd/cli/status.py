"""dockd status: the state of the station on one screen."""

import argparse

from dockd.cli import connection, output
from dockd.cli.connection import VERDICTS
from dockd.cli.overview import overview
from dockd.cli.parser import Commands

VERDICT_EXITS = {
    0: "all is well: nothing in progress, nothing stuck",
    10: "clips in progress, or failures being retried",
    20: "operator action needed; the output says what",
}


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="show what is docked, what is stuck and why",
        description=(
            "Shows the cameras by bay, clips by state, what is stuck, why and since when, when it"
            " is retried and what an operator can do, then spool, disk and server.\n\n"
            "It queries the running daemon, and changes nothing. On a terminal the output fits"
            " the screen; in a pipe it is complete."
        ),
        examples={
            "dockd status": "show the station",
            "dockd status --json | jq -r '.troubles[] | select(.needs_person) | .hint'": (
                "hints for the operator, for a script; docs/control-api.json declares the members"
            ),
        },
        exits=VERDICT_EXITS | connection.EXITS,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    connection.add_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    status = connection.connect(options).status()
    if options.json:
        output.say_json(status)
    else:
        size = output.terminal_size()
        # The prompt needs a line as well.
        output.say(overview(status, height=size.lines - 1 if size else None))
    return VERDICTS[status.verdict]
