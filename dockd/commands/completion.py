"""dockd completion: shells complete commands, options and files."""

import argparse
import sys

import shtab

from dockd.commands.parser import Commands, Parser

_SHELLS = ["bash", "zsh", "fish"]


def add_to(commands: Commands, root: Parser) -> None:
    """Add the command; ``root`` is the parser that completion is made for."""
    parser = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description=(
            "Prints a script by which a shell completes commands, options and files. make"
            " install has put them where bash, zsh and fish look; a shell finds them when it"
            " is started anew."
        ),
        examples={
            'eval "$(dockd completion bash)"': "for this shell only",
            "dockd completion fish > ~/.config/fish/completions/dockd.fish": "for one user",
        },
        exits={0: "printed"},
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")

    def run(options: argparse.Namespace) -> int:
        sys.stdout.write(shtab.complete(root, options.shell) + "\n")
        return 0

    parser.set_defaults(run=run)
