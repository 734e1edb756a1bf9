"""The differences between two statuses of a station, in words."""

from collections.abc import Callable, Iterable, Iterator

from dockd.cli import moments, text
from dockd.cli.connection import Lost, follow
from dockd.cli.overview import is_read_in_full, next_try, paused, place_of, stage_of, subject
from dockd.station.control.client import Client
from dockd.station.control.views import CameraView, StationView, Status, Trouble, Verdict

_VERDICTS = {
    Verdict.WELL: "all is well",
    Verdict.WORKING: "working",
    Verdict.NEEDS_PERSON: "operator action needed",
}


def told(
    client: Client,
    narrowed: Callable[[Status], Status] = lambda status: status,
    tick: Callable[[Lost | None], None] = lambda _: None,
) -> Iterator[Status]:
    """Print each change on a line with its local time, and yield each status, indefinitely.

    A status is yielded again after each second without news.

    Args:
        client: the daemon to follow; disconnects and reconnects are reported.
        narrowed: returns the part of a status that is of interest.
        tick: is called at least every second with the lost connection, if it is lost.
    """
    before: Status | None = None
    lost: Lost | None = None
    for update in follow(client):
        was_lost = lost is not None
        if isinstance(update, Lost) and not was_lost:
            _print(f"{update.error.message}; reconnecting")
        lost = update if isinstance(update, Lost) else lost if update is None else None
        tick(lost)
        if isinstance(update, Status):
            after = narrowed(update)
            if was_lost:
                _print("reconnected to the daemon")
            for line in changes(before, after):
                _print(line)
            before = after
        if before is not None and lost is None:
            yield before


def _print(line: str) -> None:
    print(f"{moments.now():%H:%M:%S} {text.printable(line)}", flush=True)


def changes(before: Status | None, after: Status) -> Iterator[str]:
    """Yield what changed, one line each; everything, without an earlier status."""
    if before is not None and before.station.since != after.station.since:
        yield began(before.station, after.station)
    yield from _cameras(before, after)
    yield from _troubles(before, after)
    yield from _pauses(before, after)
    if before is None or before.target.reachable != after.target.reachable:
        reach = {True: "reachable", False: "unreachable", None: "not tried yet"}
        yield f"server: {reach[after.target.reachable]}"
    if before is None or _verdict(before) != _verdict(after):
        yield f"station: {_verdict(after)}"


def _verdict(status: Status) -> str:
    if status.verdict is Verdict.WELL and not is_read_in_full(status):
        return "nothing is stuck, not all files were read"
    return _VERDICTS[status.verdict]


def began(before: StationView, after: StationView) -> str:
    """Return why the work began again: another process, or a reloaded configuration."""
    if (before.pid, before.process_since) == (after.pid, after.process_since):
        return "dockd reloaded its configuration"
    return f"dockd was restarted (pid {after.pid})"


def _cameras(before: Status | None, after: Status) -> Iterator[str]:
    old = {camera.id: camera for camera in before.cameras} if before else {}
    new = {camera.id: camera for camera in after.cameras}
    for camera in new.values():
        known = old.get(camera.id)
        if before is not None and (known is None or known.docking != camera.docking):
            yield f"{_name(camera, after)}: docked"
        if known is None or (stage_of(known), known.clips) != (stage_of(camera), camera.clips):
            stage = "; ".join(filter(None, [stage_of(camera), text.counts(camera.clips)]))
            yield f"{_name(camera, after)}: {stage}"
    for camera in old.values():
        if camera.id not in new:
            yield f"{_name(camera, after)}: undocked"


def _name(camera: CameraView, status: Status) -> str:
    return f"{place_of(camera, status)}, {camera.serial}"


def _troubles(before: Status | None, after: Status) -> Iterator[str]:
    old = _by_key(before.troubles if before else ())
    new = _by_key(after.troubles)
    now = text.moment(after.at)
    for key, trouble in new.items():
        if key not in old:
            hint = f" -> {trouble.hint}" if trouble.hint else ""
            yield (
                f"STUCK {subject(trouble)}: {text.printable(trouble.what + hint)}"
                f" ({next_try(trouble, now)})"
            )
    for key, trouble in old.items():
        if key not in new:
            yield f"no longer stuck: {subject(trouble)}: {text.printable(trouble.what)}"


def _by_key(troubles: Iterable[Trouble]) -> dict[tuple[object, ...], Trouble]:
    return {(one.event, one.camera, one.clip, one.path, one.since): one for one in troubles}


def _pauses(before: Status | None, after: Status) -> Iterator[str]:
    old = before.pauses if before else []
    for pause in after.pauses:
        if pause not in old:
            yield paused(pause, text.moment(after.at))
    held = {pause.what for pause in after.pauses}
    for pause in old:
        if pause.what not in held:
            yield f"{pause.what} resumed"
