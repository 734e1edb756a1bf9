"""``dockd check``: checks the station's setup, and says what to fix."""

import argparse

from dockd.cli.findings import EXITS, show
from dockd.cli.parser import DEFAULT_CONFIG, Commands, add_file
from dockd.station.check.examination import examine
from dockd.station.check.subject import Machine


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="check the station's setup",
        description="""Checks the configuration, keys and their modes, the ledger and its
            journal, the spool and its disk, the rules that allow cameras to be mounted,
            plugged-in devices, the clock, the server and the daemon: one line each, and
            what to do where something is wrong.

            Nothing is changed: nothing is mounted or uploaded, and the ledger is only read.
            It works whether or not the daemon is running. As root it checks the most; as the
            service's user, it can't read the credentials of a stopped service, or ask polkit
            what that user may do.""",
        examples={
            "dockd check": "check everything",
            "dockd check --json | jq '.findings[] | select(.level != \"ok\")'": (
                "only warnings and errors"
            ),
        },
        exits=dict(EXITS.values()),
    )
    add_file(
        parser,
        "--config",
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="the station's configuration; default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    return show(examine(options.config, Machine()), as_json=options.json)
