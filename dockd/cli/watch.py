"""dockd watch: the live state of the station."""

import argparse
import sys
import time

from dockd.cli import connection, output, text
from dockd.cli.changes import began, told
from dockd.cli.connection import Lost, follow
from dockd.cli.overview import Line, Tone, overview
from dockd.cli.parser import Commands
from dockd.cli.screen import Screen
from dockd.station.control.client import Client
from dockd.station.control.views import Status


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "watch",
        help="show the live status of the station",
        description=(
            "Shows the output of dockd status, live, with a progress bar and the rate of each"
            " clip that is read or sent. Ctrl-C exits; nothing is changed.\n\n"
            "Only changes are sent to the terminal, so it works over a slow connection. Without a"
            " terminal, it prints one line per change. While the daemon restarts, it reports that"
            " and waits."
        ),
        examples={
            "dockd watch": "watch the dock",
            "dockd watch | tee -a watch.log": "a line for each change",
        },
        exits={0: "interrupted by Ctrl-C", **connection.EXITS},
    )
    connection.add_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    client = connection.connect(options)
    first = client.status()
    try:
        if output.terminal_size() is None:
            for _ in told(client):
                pass
        else:
            _paint(client, first, Screen(sys.stdout.fileno()))
    except KeyboardInterrupt:
        pass
    return 0


def _paint(client: Client, status: Status, screen: Screen) -> None:
    lost: Lost | None = None
    note = ""
    heard = time.monotonic()
    with screen.taken():
        for update in follow(client):
            if isinstance(update, Status):
                if status.station.since != update.station.since:
                    note = (
                        f"{began(status.station, update.station)} at {_clock(update.station.since)}"
                    )
                status, lost, heard = update, None, time.monotonic()
            elif isinstance(update, Lost):
                lost = update
            if lost is None:
                lines = overview(status, height=screen.height - 2, elapsed=time.monotonic() - heard)
                lines += [Line(), Line(note or "Ctrl-C exits", Tone.FAINT)]
            else:
                lines = [
                    Line(f"LOST: {lost.error.message}; reconnecting", Tone.BAD),
                    Line(f"Status as of {_clock(status.at)}:", Tone.BAD),
                    Line(),
                    *overview(status, height=screen.height - 3),
                ]
            screen.paint(lines)


def _clock(when: str) -> str:
    return text.moment(when).strftime("%H:%M:%S")
