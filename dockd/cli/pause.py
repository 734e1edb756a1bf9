"""dockd pause and dockd resume: pause uploads, wipes or both."""

import argparse

from dockd.base.clock import timestamp
from dockd.base.errors import UsageError
from dockd.cli import connection, moments, output
from dockd.cli.overview import Line, paused
from dockd.cli.parser import Commands, Parser, words
from dockd.station.control.client import What
from dockd.station.control.views import PauseView

_BOTH: list[What] = ["uploads", "wipes"]


def add_to(commands: Commands) -> None:
    """Add both commands."""
    pause = commands.add_parser(
        "pause",
        help="pause uploads, wipes or both",
        description=(
            "Pauses uploads or wipes, or both if neither is named. Cameras are still read, and"
            " clips are encrypted into the spool while it has space. A pause lasts until its end,"
            " if it has one, or until dockd resume; it survives restarts, and is shown with the"
            " station's status, with its reason and who requested it."
        ),
        examples={
            "dockd pause uploads --reason 'the line is needed until noon' --until 12:00": (
                "pause uploads"
            ),
            "dockd pause wipes --for 2h --reason 'case 4711: keep the cameras as they are'": (
                "keep acknowledged clips on their cameras for two hours"
            ),
        },
        exits={0: "paused", **connection.EXITS},
    )
    _add_what(pause)
    pause.add_argument(
        "--reason",
        type=words,
        required=True,
        metavar="TEXT",
        help="shown wherever the pause is shown",
    )
    end = pause.add_mutually_exclusive_group()
    end.add_argument(
        "--until",
        type=moments.future,
        metavar="TIME",
        help="when it ends: 07:00, 2026-11-22 or '2026-11-22 07:00'",
    )
    end.add_argument(
        "--for", dest="until", type=moments.ahead, metavar="SPAN", help="30m, 2h or 3d"
    )
    connection.add_options(pause)
    pause.set_defaults(run=_pause)

    resume = commands.add_parser(
        "resume",
        help="end pauses",
        description="Resumes uploads or wipes, or both if neither is named.",
        examples={"dockd resume": "resume everything", "dockd resume wipes": "only wipes"},
        exits={0: "resumed", **connection.EXITS},
    )
    _add_what(resume)
    connection.add_options(resume)
    resume.set_defaults(run=_resume)


def _add_what(parser: Parser) -> None:
    parser.add_argument(
        "what", nargs="?", choices=_BOTH, metavar="WHAT", help="uploads or wipes; without it, both"
    )


def _pause(options: argparse.Namespace) -> int:
    reason = options.reason.strip()
    if not 1 <= len(reason) <= 200:
        raise UsageError("--reason must have 1 to 200 characters", hint="dockd pause --help")
    client = connection.connect(options)
    until = timestamp(options.until) if options.until else None
    _say(client.pause(_chosen(options), reason=reason, until=until))
    return 0


def _resume(options: argparse.Namespace) -> int:
    _say(connection.connect(options).resume(_chosen(options)))
    return 0


def _chosen(options: argparse.Namespace) -> list[What]:
    return [options.what] if options.what else _BOTH


def _say(pauses: list[PauseView]) -> None:
    now = moments.now()
    output.say([Line(paused(pause, now)) for pause in pauses] or [Line("nothing is paused")])
