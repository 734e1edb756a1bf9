"""The command line.

Conventions: results go to standard output, everything else to standard error, as ``dockd: …``
in lower case and without a full stop, a hint on a line of its own. Exit codes follow
sysexits(3), as dockd.base.errors lists them.
"""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from dockd import __version__
from dockd.base.errors import DockdError, UnforeseenError
from dockd.cli.parser import Parser
from dockd.cli.text import printable

_MODULES = {
    "status": ["status"],
    "watch": ["watch"],
    "clips": ["clips"],
    "show": ["show"],
    "resync": ["resync"],
    "pause": ["pause", "resume"],
    "check": ["check"],
    "profile": ["profile"],
    "evidence": ["decrypt", "verify", "journal"],
    "log": ["log"],
    "keygen": ["keygen"],
    "run": ["run"],
    "receiver": ["receiver"],
    "demo": ["demo"],
    "completion": ["completion"],
}
"""The modules of dockd.cli, and the commands that each adds."""
_EX_IOERR = 74
_INTERRUPTED = 130
_EXITS = {
    0: "success",
    64: "invalid command line",
    65: "invalid data, or no such camera, clip or file",
    69: "the daemon is not running, or does not respond",
    70: "internal error, please report the output",
    74: "a disk or a file can't be used",
    75: "temporary failure: another dockd is running, or a command is pending",
    76: "incompatible daemon version",
    77: "permission denied, or no identity matches the file",
    78: "invalid configuration, or a key can't be used",
    130: "interrupted by Ctrl-C",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not abort the output.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = _parser_for(sys.argv[1:] if arguments is None else arguments).parse_args(
            arguments
        )
        return int(options.run(options))
    except DockdError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader is gone; a second error at exit would only confuse.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EX_IOERR
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"dockd: {place}{error.strerror}")
        return _EX_IOERR
    except Exception as error:  # noqa: BLE001  # the boundary of the program
        import traceback  # noqa: PLC0415  # slow to import, needed only here

        _complain(_clean(traceback.format_exc()))
        return _failed(
            UnforeseenError(type(error).__name__, hint="please report the traceback above")
        )


def _failed(error: DockdError) -> int:
    message = _clean(error.message)
    _complain(f"dockd: {message[0].lower()}{message[1:]}")
    if error.hint:
        _complain(f"dockd: hint: {_clean(error.hint)}")
    return error.exit_code


def _complain(words: str) -> None:
    """Write to standard error; if it is closed, the exit code has to suffice."""
    with contextlib.suppress(OSError):
        print(words, file=sys.stderr)


def _open_standard_streams() -> None:
    """Open closed standard streams, so that no file gets their descriptors later.

    What libraries write to standard error would go into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # open to the end


def parser() -> Parser:
    """Return the parser of all commands."""
    return _parser(_MODULES)


def _parser_for(arguments: Sequence[str]) -> Parser:
    """Return the parser of all commands, or of the one called: importing all takes long."""
    if arguments[:1] == ["--version"]:
        return _parser([])
    for module, names in _MODULES.items():
        if arguments and arguments[0] in names:
            return _parser([module])
    return parser()


def _parser(modules: Iterable[str]) -> Parser:
    root = Parser(
        prog="dockd",
        description=(
            "Takes evidence off body-worn cameras: sealed, acknowledged, provable.\n\n"
            "dockd COMMAND --help describes each command."
        ),
        examples={
            "dockd status": "what is docked, what is stuck, and what to do",
            "dockd check": "what is wrong with this station's setup",
        },
        exits=_EXITS,
    )
    root.add_argument("--version", action="version", version=f"dockd {__version__}")
    commands = root.add_commands()
    for module in modules:
        importlib.import_module(f"dockd.cli.{module}").add_to(commands)
    return root


def _clean(message: str) -> str:
    """Return lines without control characters of a terminal."""
    return "\n".join(printable(line) for line in message.splitlines())
