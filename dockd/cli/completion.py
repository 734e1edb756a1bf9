"""dockd completion: shells complete commands, options and files."""

import argparse
import sys
from pathlib import Path

import shtab

from dockd.cli import main as cli
from dockd.cli.parser import Commands, Parser

_SHELLS = ["bash", "zsh", "fish"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print a shell completion script",
        description=(
            "Prints a script with which a shell completes commands, options and files. make"
            " install puts these where bash, zsh and fish look; a new shell loads them."
        ),
        examples={
            'eval "$(dockd completion bash)"': "for this shell only",
            "dockd completion fish > ~/.config/fish/completions/dockd.fish": "for one user",
        },
        exits={0: "printed"},
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    root = cli.parser()
    _complete_files(root)
    sys.stdout.write(shtab.complete(root, options.shell) + "\n")
    return 0


def _complete_files(parser: Parser) -> None:
    for action in parser.arguments:
        if action.type is Path:
            vars(action)["complete"] = shtab.FILE
    for below in parser.commands.values():
        _complete_files(below)
