"""Man pages, generated from the same parsers as the help: ``python -m dockd.cli.man FOLDER``.

Written with the macros of man(7), which man-db and mandoc read.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dockd import __version__
from dockd.cli import main as cli
from dockd.cli.parser import Parser

_SECTION = "1"


def pages() -> dict[str, str]:
    """Return the page of every command, by its file's name."""
    root = cli.parser()
    made = {root: page(root, "take evidence off body-worn cameras", map(_name, dict(_below(root))))}
    made |= {parser: page(parser, summary, ["dockd"]) for parser, summary in _below(root)}
    return {
        f"{_name(parser)}.{_SECTION}": "\n".join(lines) + "\n" for parser, lines in made.items()
    }


def _below(parser: Parser) -> Iterator[tuple[Parser, str]]:
    for name, command in parser.commands.items():
        yield command, parser.summaries[name]
        yield from _below(command)


def _name(parser: Parser) -> str:
    return parser.prog.replace(" ", "-")


def page(parser: Parser, summary: str, related: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a command's page.

    Args:
        parser: the command's.
        summary: what it does, in a few words.
        related: the names of pages to see as well.
    """
    name = _name(parser)
    yield f'.TH "{name.upper()}" {_SECTION} "" "dockd {__version__}" "dockd"'
    # Neither hyphenated nor justified: commands are shown as they are typed.
    yield from (".nh", ".ad l")
    yield from (".SH NAME", rf"{_escaped(name)} \- {_escaped(summary)}")
    yield from (".SH SYNOPSIS", rf"\fB{_escaped(parser.prog)}\fR {_synopsis(parser)}")
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate(parser.paragraphs):
        yield from ([".PP"] if number else [])
        yield _line(paragraph)
    yield from _listed("OPTIONS", {_head(one): _help(one) for one in parser.arguments})
    yield from _listed("COMMANDS", {rf"\fB{n}\fR": s for n, s in parser.summaries.items()})
    yield from _listed(
        "EXIT STATUS", {rf"\fB{code}\fR": meaning for code, meaning in parser.exits.items()}
    )
    yield from _listed(
        "EXAMPLES", {rf"\fB{_escaped(line)}\fR": does for line, does in parser.examples.items()}
    )
    yield ".SH SEE ALSO"
    yield ",\n".join(rf"\fB{_escaped(other)}\fR({_SECTION})" for other in related)


def _synopsis(parser: Parser) -> str:
    parts = []
    for action in parser.arguments:
        part = _head(action, is_whole=False)
        parts.append(part if action.required else f"[{part}]")
    return " ".join([*parts, *([r"\fICOMMAND\fR ..."] if parser.commands else [])])


def _head(action: argparse.Action, *, is_whole: bool = True) -> str:
    """Return an option with its value; all of its names, or the last."""
    value = rf"\fI{_escaped(str(action.metavar or action.dest.upper()))}\fR"
    names = action.option_strings if is_whole else action.option_strings[-1:]
    written = ", ".join(rf"\fB{_escaped(name)}\fR" for name in names)
    if not names:
        return value
    return written if action.nargs == 0 else f"{written} {value}"


def _help(action: argparse.Action) -> str:
    return (action.help or "") % vars(action)


def _listed(title: str, entries: Mapping[str, str]) -> Iterator[str]:
    if entries:
        yield f".SH {title}"
    for head, text in entries.items():
        yield from (".TP", head, _line(text))


def _line(text: str) -> str:
    """Return text as a line of its own, which a dot or quote at its start would make a macro."""
    escaped = _escaped(text)
    return rf"\&{escaped}" if escaped.startswith((".", "'", r"\(aq")) else escaped


def _escaped(text: str) -> str:
    """Return text in which troff finds nothing of its own."""
    marks = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
    return "".join(marks.get(character, character) for character in text)


def main() -> None:
    """Write the pages into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
