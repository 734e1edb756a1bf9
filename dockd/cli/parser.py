"""Command line parsers with descriptions, examples and exit codes.

Help texts, man pages and shell completion are generated from these.
"""

import argparse
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

from dockd.base.errors import UsageError

DEFAULT_CONFIG = Path("/etc/dockd/config.toml")
DEFAULT_RECEIVER_CONFIG = Path("/etc/dockd/receiver.toml")
SERVICE_EXITS = {
    0: "stopped as requested",
    70: "internal error: please report the output",
    74: "a disk, the ledger, the spool or the store can't be used",
    75: "temporary failure: already running, or the address is in use",
    78: "invalid configuration, or a key can't be used; a restart does not help",
}
"""Exit codes of the daemons."""
_WIDTH = 78
"""Columns of help, as argparse makes it for a terminal of 80."""


class Parser(argparse.ArgumentParser):
    """A command's parser."""

    def __init__(
        self,
        *,
        description: str,
        examples: Mapping[str, str],
        exits: Mapping[int, str],
        **options: Any,
    ) -> None:
        """Make a parser.

        Args:
            description: what the command does, in paragraphs.
            examples: command lines, and what each does.
            exits: exit codes, and what each means.
            options: those of argparse.
        """
        self.paragraphs = [
            " ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", description.strip())
        ]
        self.examples = examples
        self.exits = exits
        self._choices: argparse._SubParsersAction[Parser] | None = None
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            description="\n\n".join(
                textwrap.fill(one, _WIDTH, break_on_hyphens=False) for one in self.paragraphs
            ),
            epilog=self._teaching(),
            # An abbreviation may become ambiguous with a later option.
            allow_abbrev=False,
            **options,
        )

    def add_commands(self) -> "Commands":
        """Give this command subcommands."""
        self._choices = commands = self.add_subparsers(
            title="commands", required=True, metavar="COMMAND", parser_class=Parser
        )
        return commands

    @property
    def commands(self) -> Mapping[str, "Parser"]:
        """The subcommands, by name."""
        return self._choices.choices if self._choices else {}

    @property
    def summaries(self) -> Mapping[str, str]:
        """The summary of each subcommand."""
        if self._choices is None:
            return {}
        # argparse keeps them here for its own help.
        listed = self._choices._get_subactions()  # noqa: SLF001
        return {action.dest: action.help or "" for action in listed}

    @property
    def arguments(self) -> list[argparse.Action]:
        """Its options and arguments, without subcommands."""
        return [action for action in self._actions if action is not self._choices]

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of exiting."""
        raise UsageError(message, hint=f"{self.prog} --help")

    def _teaching(self) -> str:
        parts = []
        if self.examples:
            lines = [f"  {command}\n      {does}" for command, does in self.examples.items()]
            parts.append("\n".join(["examples:", *lines]))
        if self.exits:
            lines = [f"  {code:>3}  {meaning}" for code, meaning in self.exits.items()]
            parts.append("\n".join(["exit codes:", *lines]))
        return "\n\n".join(parts)


class Commands(Protocol):
    """Where commands are added: argparse's object for subcommands, typed."""

    def add_parser(
        self,
        name: str,
        *,
        help: str,  # noqa: A002 - argparse's name for it
        description: str,
        examples: Mapping[str, str],
        exits: Mapping[int, str],
    ) -> Parser:
        """Add a command; ``help`` is its line in the list of commands."""


def words(written: str) -> str:
    """Read a name or a text; a type for argparse.

    Raises:
        argparse.ArgumentTypeError: it is empty, or not UTF-8.
    """
    try:
        written.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{written!r} is not UTF-8") from error
    if not written:
        raise argparse.ArgumentTypeError("must not be empty")
    return written


def clip_name(written: str) -> str:
    """Read the name of a clip; a type for argparse.

    Raises:
        argparse.ArgumentTypeError: no clip can have that name.
    """
    if set(words(written)) <= {".", "/", " "}:
        raise argparse.ArgumentTypeError(f"{written!r} is not a clip")
    return written


def add_file(parser: Parser, *names: str, **options: Any) -> None:
    """Add an option or argument that is a file name, which shells complete."""
    parser.add_argument(*names, type=Path, **options)
