"""Output of findings: of dockd check, and of dockd receiver --check."""

import json
from collections.abc import Iterable

from dockd.base.findings import Finding, Level
from dockd.cli.text import printable

EXITS = {
    Level.OK: (0, "all is well"),
    Level.WARNING: (10, "there are warnings: fix them before they cause a failure"),
    Level.ERROR: (20, "there are errors: the station can't work"),
}


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
    return EXITS[worst][0]


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
