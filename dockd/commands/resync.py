"""dockd resync: look again now, and see what comes of it."""

import argparse
from collections import deque
from collections.abc import Iterator, Sequence

from dockd.clock import timestamp
from dockd.commands import connection, moments, output, text
from dockd.commands.changes import told
from dockd.commands.overview import STAGES, Line, Tone, subject
from dockd.commands.parser import Commands, clip_name, words
from dockd.control.client import Client
from dockd.control.views import (
    CameraView,
    ClipView,
    ResyncAnswer,
    ResyncOrder,
    Stage,
    Status,
)

_NEEDS_PERSON = 20


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "resync",
        help="look again now",
        description=(
            "Has the daemon look through what is docked, try at once whatever waits to be tried"
            " again, and ask for receipts anew; then shows what comes of it until it is done."
            " Ctrl-C ends only the watching: the order stands.\n\n"
            "A resync never weakens a check before a wipe."
        ),
        examples={
            "dockd resync": "everything that is docked",
            "dockd resync --camera 3 --failed": (
                "bay 3's camera, rejected and unreadable clips as well"
            ),
            "dockd resync --clip 17 --reupload": (
                "the server lost clip 17: send it again, from the spool or the camera"
            ),
        },
        exits={
            0: "it is done, and nothing is stuck; with --no-wait: it is ordered",
            20: "something was refused, or needs a person; it says what",
            65: "there is no such camera or clip",
            **connection.EXITS,
        },
    )
    parser.add_argument(
        "--camera", type=words, metavar="WHICH", help="one camera: a serial or a bay"
    )
    parser.add_argument(
        "--clip", type=clip_name, metavar="CLIP", help="one clip: its number or its clip id"
    )
    parser.add_argument(
        "--failed", action="store_true", help="take up rejected and unreadable clips as well"
    )
    parser.add_argument(
        "--reupload",
        action="store_true",
        help="the server lost what it had: send it again, while spool or camera still has it",
    )
    parser.add_argument("--no-wait", action="store_true", help="order it, and come back at once")
    connection.add_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    with connection.connect(options) as client:
        clip = client.story(options.clip).clip.id if options.clip else None
        ordered_at = timestamp(moments.now())
        answer = client.resync(
            ResyncOrder(
                camera=options.camera, clip=clip, failed=options.failed, reupload=options.reupload
            )
        )
        clips = list(dict.fromkeys(answer.clips if clip is None else [*answer.clips, clip]))
        output.say(_ordered(answer))
        left: list[str] = []
        if not options.no_wait and (answer.cameras or clips):
            left = _wait(client, answer.cameras, clips, ordered_at)
            output.say([Line(f"! {one}", Tone.BAD) for one in left] or [Line("done", Tone.GOOD)])
    return _NEEDS_PERSON if left or answer.refused else 0


def _ordered(answer: ResyncAnswer) -> Iterator[Line]:
    cameras = ", ".join(map(text.printable, answer.cameras)) or "no camera"
    yield Line(f"order {answer.order}: {cameras}, {len(answer.clips)} clips taken up again")
    for trouble in answer.refused:
        yield Line(f"! {subject(trouble)}: {text.printable(trouble.what)}", Tone.BAD)
        if trouble.hint:
            yield Line(f"    -> {text.printable(trouble.hint)}")


def _wait(
    client: Client, cameras: Sequence[str], clips: Sequence[int], ordered_at: str
) -> list[str]:
    """Tell what happens until nothing ordered gets on by itself; return what needs a person."""
    concerned = set(cameras)

    def narrowed(status: Status) -> Status:
        return status.model_copy(
            update={
                "cameras": [camera for camera in status.cameras if camera.id in concerned],
                "troubles": [
                    one for one in status.troubles if one.camera in concerned or not one.camera
                ],
            }
        )

    under_way = deque(clips)
    failed: list[str] = []
    for status in told(client, narrowed):
        if any(_is_working(camera, status, ordered_at) for camera in status.cameras):
            continue
        while under_way:
            clip = client.story(str(under_way[0])).clip
            outcome = _outcome_of_clip(clip, status)
            if outcome is None:
                break
            failed += [outcome] if outcome else []
            under_way.popleft()
        if not under_way:
            return [*_outcomes_of_cameras(cameras, status), *failed]
    raise AssertionError("what is told has no end")


def _is_working(camera: CameraView, status: Status, ordered_at: str) -> bool:
    if camera.stage is Stage.REFUSED:
        return False
    if camera.looked_at is None or camera.looked_at < ordered_at:
        return True
    return not _is_held(camera, status) and camera.stage not in {Stage.DONE, Stage.STUCK}


def _is_held(camera: CameraView, status: Status) -> bool:
    return camera.stage is Stage.WAITING and bool(status.pauses)


def _outcomes_of_cameras(cameras: Sequence[str], status: Status) -> Iterator[str]:
    docked = {camera.id: camera for camera in status.cameras}
    for name in cameras:
        camera = docked.get(name)
        if camera is None:
            yield f"{name}: left the dock"
        elif _is_held(camera, status):
            yield f"{name}: waits for a pause to end (dockd resume)"
        elif camera.stage in {Stage.STUCK, Stage.REFUSED}:
            yield f"{name}: {STAGES[camera.stage]} (dockd status)"


def _outcome_of_clip(clip: ClipView, status: Status) -> str | None:
    """Return what is wrong with a clip, nothing if all is well, None while it is under way."""
    who = text.printable(f"clip {clip.id}, {clip.camera}, {clip.path}")
    if clip.state in {"rejected", "unreadable"} or (clip.trouble and clip.trouble.needs_person):
        what = clip.trouble.what if clip.trouble else ""
        return f"{who}: {clip.state} {text.printable(what)}".rstrip()
    if clip.state in {"acknowledged", "wiped"}:
        return ""
    if any(pause.what == "uploads" for pause in status.pauses):
        return f"{who}: {clip.state}, uploads are paused (dockd resume)"
    is_docked = any(camera.id == clip.camera for camera in status.cameras)
    if clip.state in {"found", "ingesting"} and not is_docked:
        return f"{who}: {clip.state}, its camera is not docked"
    return None
