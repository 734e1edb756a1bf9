"""The state of the station as lines of text: the output of ``dockd status`` and ``dockd watch``."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import chain

from dockd.base.sizes import shown_size
from dockd.cli import text
from dockd.station.control.views import (
    CameraView,
    PauseView,
    SpoolView,
    Stage,
    Status,
    TargetView,
    Trouble,
    Verdict,
    Work,
)

WIDTH = 79
"""Columns used at most: the last of 80 stays empty, as terminals differ there."""
_LABEL = 9
STAGES = {
    Stage.LOOKING: "looking for clips",
    Stage.READING: "reading",
    Stage.UPLOADING: "uploading",
    Stage.WAITING: "waiting",
    Stage.WIPING: "wiping",
    Stage.DONE: "safe to take",
    Stage.STUCK: "needs operator",
    Stage.FAILING: "failing, retrying",
    Stage.REFUSED: "refused",
}
_VERDICTS = {
    Verdict.WELL: "ALL IS WELL",
    Verdict.WORKING: "WORKING",
    Verdict.NEEDS_PERSON: "NEEDS OPERATOR ACTION",
}


_NOT_ALL_READ = "not all files read"


class Tone(Enum):
    """The style of a line on a terminal: the parameters of SGR (ECMA-48, 8.3.117)."""

    PLAIN = ""
    STRONG = "1"
    GOOD = "32"
    BAD = "1;31"
    FAINT = "2"


_TONES = {Verdict.WELL: Tone.GOOD, Verdict.WORKING: Tone.STRONG, Verdict.NEEDS_PERSON: Tone.BAD}


@dataclass(frozen=True)
class Line:
    """A line, and its style where the terminal has styles."""

    words: str = ""
    tone: Tone = Tone.PLAIN

    def on_terminal(self, width: int | None = None) -> str:
        """Return it for a terminal, cut to a number of columns if one is given."""
        words = text.printable(self.words)
        words = words if width is None else text.cut(words, width)
        return f"\x1b[{self.tone.value}m{words}\x1b[m" if self.tone.value else words


def overview(status: Status, *, height: int | None = None, elapsed: float = 0.0) -> list[Line]:
    """Return the state of a station.

    Args:
        status: as the daemon reported it.
        height: the maximum number of lines; what does not fit is only counted.
        elapsed: seconds since the daemon reported it.
    """
    now = text.moment(status.at) + timedelta(seconds=elapsed)
    head = [_headline(status, now), Line()]
    foot = [Line(), *_summary(status, now)]
    cameras = list(_cameras(status))
    troubles = list(_troubles(status, now))
    if height is not None:
        room = max(height - len(head) - len(foot), 0)
        troubles = _fitted(troubles, max(room - sum(map(len, cameras)), room // 2))
        cameras = _fitted(cameras, room - sum(map(len, troubles)))
    lines = [*head, *chain.from_iterable(cameras), *chain.from_iterable(troubles), *foot]
    return lines[:height]


_Block = list[Line]
"""Lines that belong together."""


def _fitted(blocks: Sequence[_Block], room: int) -> list[_Block]:
    """Return as many blocks as fit, and how many lines are left out."""
    left = sum(map(len, blocks))
    if left <= room:
        return list(blocks)
    kept: list[_Block] = []
    for block in blocks:
        if len(block) >= room:
            break
        kept.append(block)
        room -= len(block)
        left -= len(block)
    return [*kept, [Line(f"  … {left} more lines; dockd status | less shows all", Tone.FAINT)]]


def stage_of(camera: CameraView) -> str:
    """Return a camera's stage; a camera with files that were not read is not safe to take."""
    is_rest = camera.stage is Stage.DONE and camera.left_alone.files
    return _NOT_ALL_READ if is_rest else STAGES[camera.stage]


def is_read_in_full(status: Status) -> bool:
    """Return whether no docked camera has files that were not read."""
    return not any(camera.left_alone.files for camera in status.cameras)


def _headline(status: Status, now: datetime) -> Line:
    station = status.station
    words, tone = _VERDICTS[status.verdict], _TONES[status.verdict]
    if status.verdict is Verdict.WELL and not is_read_in_full(status):
        words, tone = "NOT ALL FILES WERE READ", Tone.STRONG
    running = text.duration((now - text.moment(station.since)).total_seconds())
    verdict = f"{text.printable(station.id)}: {words}"
    version = f"dockd {text.printable(station.version)}, running for {running}"
    gap = max(WIDTH - text.columns(verdict) - text.columns(version), 2)
    return Line(f"{verdict}{' ' * gap}{version}", tone)


def _cameras(status: Status) -> Iterator[_Block]:
    works = list(status.work)
    yield [Line("BAY       CAMERA          STATE               CLIPS DONE", Tone.STRONG)]
    for camera in status.cameras:
        own = [work for work in works if work.camera == camera.id]
        works = [work for work in works if work.camera != camera.id]
        yield [_camera(camera), *_left_alone(camera), *map(_work, own)]
    if works:
        yield [Line("not docked"), *map(_work, works)]
    if not status.cameras:
        yield [Line("no camera is docked")]
    taken = {camera.place for camera in status.cameras}
    empty = [text.printable(bay) for bay in status.bays if bay not in taken]
    if empty and status.cameras:
        yield _wrapped("empty", ", ".join(empty))


def place_of(camera: CameraView, status: Status) -> str:
    """Return the place of a camera as people call it."""
    return f"bay {camera.place}" if camera.place in status.bays else camera.place


def _camera(camera: CameraView) -> Line:
    cells = [
        # The end of a port or a folder says more.
        text.fit(text.cut_start(text.printable(camera.place), 9), 9),
        text.fit(text.printable(camera.serial), 15),
        text.fit(stage_of(camera), 18),
        f"{sum(camera.clips.values()):>6,}",
    ]
    if camera.bytes_total and camera.stage is not Stage.DONE:
        cells.append(text.bar(camera.bytes_done, camera.bytes_total))
    if camera.seconds_left is not None and camera.stage is not Stage.DONE:
        cells.append(text.duration(camera.seconds_left))
    done = Tone.PLAIN if camera.left_alone.files else Tone.GOOD
    tones = {Stage.DONE: done, Stage.STUCK: Tone.BAD, Stage.REFUSED: Tone.BAD}
    return Line(" ".join(cells).rstrip(), tones.get(camera.stage, Tone.PLAIN))


def _left_alone(camera: CameraView) -> list[Line]:
    left = camera.left_alone
    if not left.files:
        return []
    tone = Tone.BAD if left.suspect else Tone.PLAIN
    return [
        Line(f"  left alone: {left.files:,} files, {shown_size(left.size)}, no rule matches", tone)
    ]


def _work(work: Work) -> Line:
    stage = "reading" if work.stage == "ingest" else "sending"
    path = text.fit(text.printable(work.path), 38)
    return Line(f"  {stage} {path} {text.bar(work.done, work.total)} {text.rate(work.rate)}")


def _troubles(status: Status, now: datetime) -> Iterator[_Block]:
    if status.troubles:
        yield [Line(), Line("STUCK", Tone.STRONG)]
    places = {camera.id: place_of(camera, status) for camera in status.cameras}
    for trouble in status.troubles:
        yield _trouble(trouble, places.get(trouble.camera or ""), now)


def _trouble(trouble: Trouble, place: str | None, now: datetime) -> _Block:
    mark = "!" if trouble.needs_person else "~"
    tone = Tone.BAD if trouble.needs_person else Tone.PLAIN
    times = f"{text.since(text.moment(trouble.since), now)}, {next_try(trouble, now)}"
    lines = _paragraph(subject(trouble, place), f"{mark} ", "  ")
    gap = WIDTH - text.columns(lines[-1]) - len(times)
    lines[-1:] = [f"{lines[-1]}{' ' * gap}{times}"] if gap > 0 else [lines[-1], f"    {times}"]
    lines += _paragraph(trouble.what, "    ", "    ")
    lines += _paragraph(trouble.hint, "    -> ", "       ") if trouble.hint else []
    return [Line(lines[0], tone), *map(Line, lines[1:])]


def subject(trouble: Trouble, place: str | None = None) -> str:
    """Return what a trouble affects: a clip, a camera, or the station."""
    if trouble.camera is None:
        return "the station"
    parts = [f"{trouble.camera} ({place})" if place else trouble.camera]
    parts += [trouble.path] if trouble.path else []
    parts += [f"clip {trouble.clip}"] if trouble.clip is not None else []
    return ", ".join(map(text.printable, parts))


def next_try(trouble: Trouble, now: datetime) -> str:
    """Return when a trouble is retried."""
    if trouble.next_try is not None:
        seconds = (text.moment(trouble.next_try) - now).total_seconds()
        return f"retried in {text.duration(seconds)}" if seconds >= 1 else "retrying now"
    return "needs operator action" if trouble.needs_person else "retried at the next scan"


def _summary(status: Status, now: datetime) -> Iterator[Line]:
    for pause in status.pauses:
        words = _paragraph(paused(pause, now), "", " " * _LABEL)
        yield from (Line(line, Tone.BAD) for line in words)
    yield from _wrapped("clips", text.counts(status.clips) or "none yet")
    if status.oldest_unacknowledged is not None:
        oldest = text.since(text.moment(status.oldest_unacknowledged), now)
        yield from _wrapped("", f"oldest without a receipt: {oldest}")
    yield from _wrapped("rates", _rates(status))
    yield from _wrapped("spool", _spool(status.spool))
    yield from _wrapped("server", _target(status.target, now))
    if status.log.lines_lost:
        yield from _wrapped("log", f"{status.log.lines_lost} lines were lost")


def paused(pause: PauseView, now: datetime) -> str:
    """Return what is paused, by whom, until when, and why."""
    until = f" until {text.local(text.moment(pause.until), now)}" if pause.until else ""
    by = f"by {text.user(pause.by)} {text.since(text.moment(pause.since), now)}"
    return f"PAUSED   {pause.what}{until}, {by}: {text.printable(pause.reason)}"


def _rates(status: Status) -> str:
    reading, sending = status.rates.get("ingest", 0.0), status.rates.get("upload", 0.0)
    return f"reading {text.rate(reading)}, sending {text.rate(sending)}"


def _spool(spool: SpoolView) -> str:
    full = "; FULL: ingest waits for space" if spool.waiting else ""
    return (
        f"{shown_size(spool.used)} of {shown_size(spool.budget)},"
        f" disk {shown_size(spool.free)} free{full}"
    )


def _target(target: TargetView, now: datetime) -> str:
    reach = {True: "reachable", False: "UNREACHABLE", None: "not tried yet"}[target.reachable]
    parts = [f"{target.url} {reach}"]
    if target.last_success is not None:
        parts.append(f"last success {text.local(text.moment(target.last_success), now)}")
    if not target.gives_receipts:
        parts.append("issues no receipts: nothing is wiped")
    return ", ".join(parts)


def _wrapped(label: str, words: str) -> _Block:
    return [Line(line) for line in _paragraph(words, f"{label.upper():<{_LABEL}}", " " * _LABEL)]


def _paragraph(words: str, first: str, rest: str) -> list[str]:
    wrapped = textwrap.wrap(
        text.printable(words),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        # No line break within an option, such as --failed in a hint.
        break_on_hyphens=False,
    )
    # textwrap counts a double-width character as one column.
    return [text.cut(line, WIDTH) for line in wrapped] or [first]
