"""dockd resync: rescan and retry now, and follow the outcome."""

import argparse
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from dockd.base.errors import ControlError, OrderRefusedError
from dockd.cli import connection, moments, output, text
from dockd.cli.changes import told
from dockd.cli.connection import Lost
from dockd.cli.overview import STAGES, Line, Tone, next_try, subject
from dockd.cli.parser import Commands, clip_name, words
from dockd.station.control.client import Client
from dockd.station.control.views import (
    CameraView,
    ClipView,
    ResyncAnswer,
    Stage,
    Status,
    Trouble,
)

_NOT_YET = 10
_NEEDS_PERSON = 20
_STILL_SECONDS = 10.0
"""How long without progress, while something keeps failing, until that is the outcome."""
_STUCK_SECONDS = 60.0
"""The same while a camera has not been scanned yet."""
_IDLE_SECONDS = 90.0
"""The same while nothing fails: the rest waits for something that is not known to fail."""
_AT_REST = {Stage.WAITING, Stage.DONE, Stage.STUCK, Stage.REFUSED}
_LOST_SECONDS = 60.0
"""How long the daemon may be unreachable."""


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "resync",
        help="rescan and retry now",
        description=(
            "Makes the daemon rescan docked cameras, retry at once whatever is waiting for a"
            " retry, and request receipts again; then shows the progress until it is done, or"
            " until the rest only fails again. Ctrl-C ends only the output: the resync"
            " continues.\n\n"
            "A resync never weakens a check before a wipe."
        ),
        examples={
            "dockd resync": "all docked cameras",
            "dockd resync --camera 3 --failed": (
                "bay 3's camera, including rejected and unreadable clips"
            ),
            "dockd resync --clip 17 --reupload": (
                "the server lost clip 17: upload it again, from the spool or the camera"
            ),
        },
        exits={
            0: "done, and nothing is stuck; with --no-wait: requested",
            10: "the rest is being retried, or the timeout expired; the output says what",
            20: "something was refused, or needs operator action; the output says what",
            65: "no such camera or clip",
            **connection.EXITS,
        },
    )
    parser.add_argument(
        "--camera", type=words, metavar="WHICH", help="one camera: a serial or a bay"
    )
    parser.add_argument("--clip", type=clip_name, metavar="CLIP", help="one clip, as in dockd show")
    parser.add_argument(
        "--failed", action="store_true", help="retry rejected and unreadable clips as well"
    )
    parser.add_argument(
        "--reupload",
        action="store_true",
        help="the server lost data: upload it again, from the spool or the camera",
    )
    parser.add_argument(
        "--timeout",
        type=moments.span,
        metavar="SPAN",
        help="stop waiting after SPAN, such as 90s or 5m, and show what is left",
    )
    parser.add_argument("--no-wait", action="store_true", help="request it, and return at once")
    connection.add_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    client = connection.connect(options)
    clip = client.story(options.clip).clip.id if options.clip else None
    before = client.status()
    answer = client.resync(
        camera=options.camera, clip=clip, failed=options.failed, reupload=options.reupload
    )
    clips = list(dict.fromkeys(answer.clips if clip is None else [*answer.clips, clip]))
    output.say(_ordered(answer))
    left: list[_Left] = []
    if not options.no_wait and (answer.cameras or clips):
        left = _Waiting(client, answer, clips, before, options.timeout).wait()
        output.say([one.line() for one in left] or [Line("done", Tone.GOOD)])
    if answer.refused or any(one.needs_person for one in left):
        return _NEEDS_PERSON
    return _NOT_YET if left else 0


def _ordered(answer: ResyncAnswer) -> Iterator[Line]:
    cameras = ", ".join(map(text.printable, answer.cameras)) or "no camera"
    yield Line(f"order {answer.order}: {cameras}, {len(answer.clips)} clips requeued")
    for trouble in answer.refused:
        yield Line(f"! {subject(trouble)}: {text.printable(trouble.what)}", Tone.BAD)
        if trouble.hint:
            yield Line(f"    -> {text.printable(trouble.hint)}")


def _troubles(status: Status) -> dict[tuple[object, ...], Trouble]:
    return {(one.event, one.camera, one.clip, one.path): one for one in status.troubles}


class _TimeUpError(Exception):
    pass


class _Waiting:
    """Follows a resync until nothing of it progresses by itself."""

    def __init__(
        self,
        client: Client,
        answer: ResyncAnswer,
        clips: Sequence[int],
        before: Status,
        patience: timedelta | None,
    ) -> None:
        self._client = client
        self._cameras = answer.cameras
        self._order = answer.order
        self._under_way = deque(clips)
        self._before = _troubles(before)
        self._deadline = math.inf if patience is None else _now() + patience.total_seconds()
        self._left: list[_Left] = []
        self._status = before
        self._state: object = None
        self._moved_at = _now()
        self._lost_at: float | None = None

    def wait(self) -> list["_Left"]:
        """Print what happens until it is over; return what is left."""
        try:
            for status in told(self._client, self._narrowed, self._tick):
                self._status = status
                self._note_movement(status)
                if self._is_over(status):
                    return [*_outcomes_of_cameras(self._cameras, status), *self._left]
                if (blocking := self._blocking(status)) and self._stands_still(status):
                    return [*blocking, *self._left]
                if idle := self._idle(status):
                    return [*idle, *self._left]
        except _TimeUpError:
            blocking = self._blocking(self._status)
            return [*blocking, *self._left] or [_Left("timeout; work continues")]
        raise AssertionError("following has no end")

    def _narrowed(self, status: Status) -> Status:
        concerned = {*self._cameras}
        clips = {*self._under_way}
        return replace(
            status,
            cameras=[camera for camera in status.cameras if camera.id in concerned],
            work=[one for one in status.work if one.camera in concerned or one.clip in clips],
            troubles=[
                one
                for one in status.troubles
                if one.camera in concerned or one.clip in clips or not one.camera
            ],
        )

    def _tick(self, lost: Lost | None) -> None:
        if _now() >= self._deadline:
            raise _TimeUpError
        if lost is None:
            self._lost_at = None
            return
        self._lost_at = _now() if self._lost_at is None else self._lost_at
        if _now() - self._lost_at > _LOST_SECONDS:
            raise lost.error

    def _note_movement(self, status: Status) -> None:
        cameras = [(one.id, one.stage, one.clips, one.bytes_done) for one in status.cameras]
        state = cameras, [(one.clip, one.stage, one.done) for one in status.work]
        if state != self._state:
            self._state, self._moved_at = state, _now()

    def _is_over(self, status: Status) -> bool:
        if any(self._is_working(camera, status) for camera in status.cameras):
            return False
        while self._under_way:
            try:
                clip = self._client.story(str(self._under_way[0])).clip
            except OrderRefusedError:
                raise
            except ControlError:
                # The daemon is restarting, or can't read its ledger now.
                return False
            outcome = _outcome_of_clip(clip, status)
            if outcome is None:
                return False
            self._left += [_Left(outcome, needs_person=True)] if outcome else []
            self._under_way.popleft()
        return True

    def _is_working(self, camera: CameraView, status: Status) -> bool:
        if camera.stage is Stage.REFUSED:
            return False
        if not self._was_looked_at(camera):
            return True
        return not _is_held(camera, status) and camera.stage not in {Stage.DONE, Stage.STUCK}

    def _was_looked_at(self, camera: CameraView) -> bool:
        return camera.looked_from is not None and camera.looked_from >= self._order

    def _stands_still(self, status: Status) -> bool:
        looked = all(map(self._was_looked_at, status.cameras))
        still = _now() - self._moved_at
        return not status.work and still >= (_STILL_SECONDS if looked else _STUCK_SECONDS)

    def _idle(self, status: Status) -> list["_Left"]:
        """Return what has been waiting for long, for no known reason."""
        if status.work or _now() - self._moved_at < _IDLE_SECONDS:
            return []
        if not all(one.stage in _AT_REST and self._was_looked_at(one) for one in status.cameras):
            return []
        waiting = [one.id for one in status.cameras if self._is_working(one, status)]
        waiting += [f"clip {clip}" for clip in self._under_way]
        return [
            _Left(
                f"{text.printable(who)}: no progress for {_IDLE_SECONDS:.0f} s; it continues"
                " by itself (dockd status, dockd clips)"
            )
            for who in waiting
        ]

    def _blocking(self, status: Status) -> list["_Left"]:
        """Return what blocks the rest, and failed again since the resync was requested."""
        now = moments.now()
        left = []
        for key, trouble in _troubles(status).items():
            known = self._before.get(key)
            tried = known is None or known.failures < trouble.failures
            stays = trouble.camera is not None and trouble.needs_person
            if tried or (stays and trouble.next_try is None):
                words = f"{subject(trouble)}: {text.printable(trouble.what)}"
                hint = f" -> {text.printable(trouble.hint)}" if trouble.hint else ""
                when = next_try(trouble, now)
                left.append(_Left(f"{words}{hint} ({when})", needs_person=trouble.needs_person))
        return left


@dataclass(frozen=True)
class _Left:
    """What a resync has not completed."""

    words: str
    needs_person: bool = False

    def line(self) -> Line:
        mark, tone = ("!", Tone.BAD) if self.needs_person else ("~", Tone.PLAIN)
        return Line(f"{mark} {self.words}", tone)


def _now() -> float:
    return time.monotonic()


def _is_held(camera: CameraView, status: Status) -> bool:
    return camera.stage is Stage.WAITING and bool(status.pauses)


def _outcomes_of_cameras(cameras: Sequence[str], status: Status) -> Iterator[_Left]:
    docked = {camera.id: camera for camera in status.cameras}
    for name in cameras:
        camera = docked.get(name)
        if camera is None:
            yield _Left(f"{name}: undocked", needs_person=True)
        elif _is_held(camera, status):
            yield _Left(f"{name}: paused (dockd resume)", needs_person=True)
        elif camera.stage in {Stage.STUCK, Stage.REFUSED}:
            yield _Left(f"{name}: {STAGES[camera.stage]} (dockd status)", needs_person=True)


def _outcome_of_clip(clip: ClipView, status: Status) -> str | None:
    """Return what is wrong with a clip, "" if nothing, None while it is in progress."""
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
