"""dockd demo: the whole workflow on this machine."""

import argparse

from dockd import demo
from dockd.cli.parser import Commands, add_file


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="run the whole workflow on this machine",
        description=(
            "Docks two cameras, interrupts a connection, wipes, and proves a clip, with"
            " throw-away keys, in a temporary folder."
        ),
        examples={"dockd demo --from ~/Videos": "with copies of your own clips"},
        exits={0: "everything verified", 1: "something failed"},
    )
    add_file(parser, "--from", dest="source", metavar="DIR", help="copy these files as clips")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    return demo.run(options.source, as_json=options.json)
