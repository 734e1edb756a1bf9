"""``dockd check``: looks the station over, and says what to mend."""

import argparse
import json
from collections.abc import Iterable

from dockd.commands.parser import DEFAULT_CONFIG, Commands, add_file
from dockd.commands.text import printable
from dockd.doctor.examination import examine
from dockd.doctor.findings import Finding, Level
from dockd.doctor.subject import Machine

_EXITS = {
    Level.OK: (0, "all is well"),
    Level.WARNING: (10, "there are warnings: mend them before they hurt"),
    Level.ERROR: (20, "there are errors: they keep the station from its work"),
}


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
        exits=dict(_EXITS.values()),
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


def show(findings: Iterable[tuple[str, Finding]], *, as_json: bool) -> int:
    """Print findings, each under the name of its check, and return the exit code."""
    worst = Level.OK
    listed = []
    for name, finding in findings:
        worst = max(worst, finding.level)
        if as_json:
            listed.append(_as_json(name, finding))
        else:
            print(_as_text(name, finding), flush=True)
    if as_json:
        print(json.dumps({"v": 1, "level": worst.name.lower(), "findings": listed}, indent=2))
    return _EXITS[worst][0]


def _as_json(name: str, finding: Finding) -> dict[str, str]:
    return {
        "check": name,
        "level": finding.level.name.lower(),
        "what": finding.what,
        "remedy": finding.remedy,
    }


def _as_text(name: str, finding: Finding) -> str:
    lines = [f"{name}: {finding.what}", *([f"-> {finding.remedy}"] if finding.remedy else [])]
    shown = [printable(line) for part in lines for line in part.split("\n")]
    return f"{finding.level.name.lower():8}" + f"\n{'':8}".join(shown)
