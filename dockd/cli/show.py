"""dockd show: the history of one clip."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime

from dockd.base.sizes import shown_size
from dockd.cli import connection, moments, output, text
from dockd.cli.overview import Line, Tone, next_try
from dockd.cli.parser import Commands, clip_name
from dockd.station.control.views import ClipStory, ClipView
from dockd.station.model import shorten

_MOST_OF_TOKEN = 40


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "show",
        help="show a clip's history",
        description=(
            "Shows everything known about a clip: its state, its journal entries, the manifest"
            " that the station signed, and the receipt that the receiver signed.\n\n"
            "Times quoted from journal, manifest and receipt are UTC. To prove a clip to a third"
            " party, use dockd verify."
        ),
        examples={
            "dockd show 17": "by its number at this station, as in the log and in dockd clips",
            "dockd show 0007.mp4": "by its file name, if it is unique",
            "dockd show 17 --json | jq .receipt": "the receipt alone",
        },
        exits={
            0: "shown",
            65: "no such clip, or the name is ambiguous",
            **connection.EXITS,
        },
    )
    parser.add_argument(
        "clip",
        type=clip_name,
        metavar="CLIP",
        help="its number, its clip id or a prefix of it, its path or its file name",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    connection.add_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    story = connection.connect(options).story(options.clip)
    if options.json:
        output.say_json(story)
    else:
        output.say(_told(story, moments.now()))
    return 0


def _told(story: ClipStory, now: datetime) -> Iterator[Line]:
    yield from _clip(story.clip, now)
    yield from (Line(), Line("journal", Tone.STRONG))
    for entry in story.journal:
        detail = "  ".join(f"{name}={_brief(name, value)}" for name, value in entry.detail.items())
        yield Line(text.printable(f"  {entry.at}  {entry.event}  {detail}").rstrip())
    yield from _statement("manifest", story.manifest, "not sealed yet")
    yield from _statement("receipt", story.receipt, "none yet: the clip can't be wiped")


def _clip(clip: ClipView, now: datetime) -> Iterator[Line]:
    yield Line(text.printable(f"clip {clip.id}  {clip.camera}, {clip.path}"), Tone.STRONG)
    facts = {
        "state": f"{clip.state} {text.since(text.moment(clip.since), now)}",
        "found": text.local(text.moment(clip.found), now),
        "kind": clip.kind + (", event-flagged" if clip.event else ""),
        "size": f"{shown_size(clip.size)} ({clip.size} bytes)",
        "clip id": clip.clip_id or "none yet: not read",
        "on camera": "yes" if clip.present else "no",
    }
    if clip.trouble is not None:
        since = text.since(text.moment(clip.trouble.since), now)
        facts["stuck"] = f"{since}, {next_try(clip.trouble, now)}: {clip.trouble.what}"
        facts["to do"] = clip.trouble.hint or "no hint"
    yield from (_fact(name, value) for name, value in facts.items())


def _statement(name: str, payload: Mapping[str, object] | None, absent: str) -> Iterator[Line]:
    yield from (Line(), Line(name, Tone.STRONG))
    if payload is None:
        yield Line(f"  {absent}")
    else:
        yield from (_fact(member, value) for member, value in _flat(payload))


def _flat(members: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every member of an object, those of objects in it as ``object.member``."""
    for name, value in members.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _value(value)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _brief(name: str, value: object) -> str:
    """Return a value; a signed statement that was replaced is shortened to its beginning."""
    return shorten(_value(value), _MOST_OF_TOKEN if name.startswith("former_") else sys.maxsize)


def _fact(name: str, value: str) -> Line:
    return Line(f"  {text.printable(name):<22}  {text.printable(value)}")
