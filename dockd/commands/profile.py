"""dockd profile: what to write into the configuration for a camera."""

import argparse
import sys

from dockd.commands.parser import Commands
from dockd.sources.suggest import suggest
from dockd.sources.udev import SystemUdev


def add_to(commands: Commands) -> None:
    """Add the command and those below it."""
    profile = commands.add_parser(
        "profile",
        help="write profiles of cameras",
        description="Helps to write the profiles that decide what is a camera.",
        examples={},
        exits={},
    )
    parser = profile.add_commands().add_parser(
        "suggest",
        help="print a profile for what is plugged in",
        description=(
            "Prints, as TOML for /etc/dockd/config.toml, a profile for each kind of USB storage"
            " device that is plugged in now, and a bay for each port that one is in. Every"
            " device counts, memory sticks too: keep what is a camera, and look over the rules,"
            " which say what files are clips.\n\n"
            "It asks udev, opens no device, and needs neither the daemon nor any right."
        ),
        examples={"dockd profile suggest": "plug one camera in, and see what to write"},
        exits={0: "printed", 66: "the devices can't be listed"},
    )
    parser.set_defaults(run=_suggest)


def _suggest(_options: argparse.Namespace) -> int:
    sys.stdout.write(suggest(SystemUdev().devices()))
    return 0
