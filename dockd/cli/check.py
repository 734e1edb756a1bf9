"""``dockd check``: looks the station over, and says what to mend."""

import argparse

from dockd.cli.findings import EXITS, show
from dockd.cli.parser import DEFAULT_CONFIG, Commands, add_file
from dockd.station.check.examination import examine
from dockd.station.check.subject import Machine


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="look the station over",
        description="""Look at the configuration, keys and their modes, the ledger and its
            journal, the spool and its disk, the rules that let cameras be mounted, what is
            plugged in, the clock, the server and the daemon: a line each, and what to do
            where something is wrong.

            Nothing is changed: nothing is mounted or uploaded, the ledger is only read. It
            works while the daemon runs and while it doesn't. As root it sees the most; as
            the user whom the service runs as, it can't look at the credentials of a
            stopped service, or have polkit say what that user may do.""",
        examples={
            "dockd check": "look at everything",
            "dockd check --json | jq '.findings[] | select(.level != \"ok\")'": (
                "only what is not as it should be"
            ),
        },
        exits=dict(EXITS.values()),
    )
    add_file(
        parser,
        "--config",
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="the station's configuration; %(default)s without it",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    return show(examine(options.config, Machine()), as_json=options.json)
