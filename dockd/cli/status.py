"""dockd status: how the station is, on one screen."""

import argparse

from dockd.cli import connection, output
from dockd.cli.connection import VERDICTS
from dockd.cli.overview import overview
from dockd.cli.parser import Commands

VERDICT_EXITS = {
    0: "all is well: nothing is under way, there is no trouble",
    10: "clips are on their way, or something is tried again, by itself",
    20: "something goes on only when a person does something; it says what",
}


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="say what is docked, what is stuck and why",
        description=(
            "Shows the cameras by bay, clips by state, what is stuck, why and since when,"
            " when it is tried again and what a person can do, then spool, disk and server.\n\n"
            "It asks the running daemon, and changes nothing. On a terminal it fits the screen;"
            " in a pipe it is complete."
        ),
        examples={
            "dockd status": "look",
            "dockd status --json | jq -r '.troubles[] | select(.needs_person) | .hint'": (
                "what a person can do, for a script; docs/control-api.json declares the members"
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
        # The prompt wants a line as well.
        output.say(overview(status, height=size.lines - 1 if size else None))
    return VERDICTS[status.verdict]
