"""dockd clips: a list of clips."""

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import get_args

from dockd.base.clock import timestamp
from dockd.base.errors import OrderRefusedError
from dockd.base.sizes import shown_size
from dockd.cli import connection, moments, output, text
from dockd.cli.overview import Line, Tone
from dockd.cli.parser import Commands, words
from dockd.station.control.views import ClipView, Status
from dockd.station.lifecycle import StateName

_LIMIT = 1000
_MOST = 1_000_000
"""Above the highest limit; the daemon lists them page by page."""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "clips",
        help="list clips",
        description=(
            "Lists the clips that this station knows, the newest last: number, state and since"
            " when, size, camera and path, and below it what blocks the clip. dockd show shows"
            " the history of one, by its number."
        ),
        examples={
            "dockd clips --camera 3 --since 2h": "what bay 3's camera delivered",
            "dockd clips --state rejected --state unreadable": "what needs operator action",
            "dockd clips --json | jq '.[] | select(.event)'": "event-flagged ones, for a script",
        },
        exits={
            0: "listed",
            65: "no such camera",
            **connection.EXITS,
        },
    )
    parser.add_argument(
        "--camera", type=words, metavar="WHICH", help="a serial, a camera's id or a bay"
    )
    parser.add_argument(
        "--state",
        action="append",
        choices=get_args(StateName),
        metavar="STATE",
        help=f"{', '.join(get_args(StateName))}; may be repeated",
    )
    parser.add_argument(
        "--since",
        type=moments.past,
        metavar="TIME",
        help="found since then: 2h, 07:00, 2026-11-21 or '2026-11-21 07:00'",
    )
    parser.add_argument(
        "--limit",
        type=_count,
        default=_LIMIT,
        metavar="N",
        help=f"the newest N; default {_LIMIT}",
    )
    parser.add_argument("--json", action="store_true", help="one JSON array")
    connection.add_options(parser)
    parser.set_defaults(run=_run)


def _count(written: str) -> int:
    try:
        count = int(written)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{written!r} is not a number") from error
    if not 1 <= count < _MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MOST - 1}")
    return count


def _run(options: argparse.Namespace) -> int:
    limit: int = options.limit
    client = connection.connect(options)
    camera = options.camera and _camera(client.status(), options.camera)
    since = timestamp(options.since) if options.since else None
    states: list[StateName | None] = options.state or [None]
    found = [
        clip
        for state in dict.fromkeys(states)
        # One more shows whether that is all.
        for clip in client.clips(camera=camera, state=state, since=since, limit=limit + 1)
    ]
    found.sort(key=lambda clip: clip.id)
    clips = found[-limit:]
    if options.json:
        output.say_json(clips)
    elif clips:
        size = output.terminal_size()
        output.say(_table(clips, None if size is None else size.columns))
    if len(clips) < len(found):
        print(f"dockd: only the {limit} newest are shown; use --limit for more", file=sys.stderr)
    return 0


def _camera(status: Status, named: str) -> str:
    """Return the id of the camera in a bay, else the given name.

    Raises:
        OrderRefusedError: the bay is empty.
    """
    found = next((camera.id for camera in status.cameras if camera.place == named), None)
    if found is None and named in status.bays:
        raise OrderRefusedError(f"bay {named} is empty", hint="name the camera by its serial")
    return found or named


def _table(clips: list[ClipView], width: int | None) -> Iterator[Line]:
    """Yield a list of clips; with a width, each clip is one line of at most that many columns."""
    now = moments.now()
    yield Line("  CLIP  STATE         SINCE                   SIZE  CAMERA, PATH", Tone.STRONG)
    for clip in clips:
        yield Line(_row(clip, now, width))
        if clip.trouble is not None:
            tone = Tone.BAD if clip.trouble.needs_person else Tone.PLAIN
            yield Line(f"        ! {text.printable(clip.trouble.what)}", tone)
            if clip.trouble.hint:
                yield Line(f"          -> {text.printable(clip.trouble.hint)}")


def _row(clip: ClipView, now: datetime, width: int | None) -> str:
    where = text.printable(f"{clip.camera}, {clip.path}")
    since = text.local(text.moment(clip.since), now)
    row = f"{clip.id:>6}  {clip.state:<12}  {since:<16}  {shown_size(clip.size):>9}  "
    # The end of a path says more; dockd show has all of it.
    return row + (where if width is None else text.cut_start(where, max(width - len(row), 8)))
