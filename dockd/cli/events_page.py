"""docs/events.md, out of what is declared: ``python -m dockd.cli.events_page``."""

import sys
from collections.abc import Mapping

import dockd.base.events
import dockd.receiver.events
import dockd.station.events  # noqa: F401  # each declares its own
from dockd.base.log_events import EVENTS
from dockd.station.ledger.journal_kinds import KINDS


def as_markdown() -> str:
    """Return the table as the documentation shows it."""
    lines = [
        "# Events",
        "",
        "Each line of the log is a JSON object with `time` (UTC), `level`, `event` and the",
        "fields below; a `?` marks a field that may be absent or null. Names and fields are",
        "stable: a new version adds, and never renames.",
        "",
        "| event | level | meaning | fields |",
        "|---|---|---|---|",
    ]
    for event in sorted(EVENTS.values(), key=lambda event: event.name):
        fields = _listed(event.fields)
        lines.append(f"| `{event.name}` | {event.level} | {event.meaning} | {fields} |")
    lines += [
        "",
        "## Journal",
        "",
        "Each entry of the journal (`dockd journal`) is a JSON object with `seq`, `at` (UTC),",
        "`event`, `camera`, `clip`, `detail`, `prev` and `hash`; `detail` has the members below.",
        "",
        "| event | meaning | detail |",
        "|---|---|---|",
    ]
    for name, kind in sorted(KINDS.items()):
        lines.append(f"| `{name}` | {kind.meaning} | {_listed(kind.detail)} |")
    return "\n".join(lines) + "\n"


def _listed(members: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {kind}" for name, kind in members.items())


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
