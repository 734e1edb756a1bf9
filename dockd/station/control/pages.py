"""The bay display and the technicians' page: their routes, and their data.

Everything here is read-only, without clip names and secrets.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dockd.base.log_events import EVENTS
from dockd.station.control import streaming
from dockd.station.control.assets import Assets
from dockd.station.control.encoding import encode
from dockd.station.control.views import BayTile, CameraView, Display, Stage, Status, Trouble, View

FOLDER: Traversable = resources.files("dockd.station.control") / "display"
"""The pages' files."""
QUIET_SECONDS = 4.0
"""The interval of events when nothing changes; a page waits three times as long."""


class Feed(Protocol):
    """The source of the station's status."""

    def current(self) -> Status:
        """Return the current status."""
        ...

    def changes(self) -> AsyncIterator[Status]:
        """Yield the current status, then each different one."""
        ...


def routes(
    feed: Feed,
    *,
    columns: int = 0,
    folder: Traversable = FOLDER,
    quiet_seconds: float = QUIET_SECONDS,
) -> list[Route]:
    """Return the routes of the pages, of their files and of the data that they show.

    Args:
        feed: the source of the station's status.
        columns: columns of the bay display; 0: as many as fit.
        folder: the folder of the pages' files.
        quiet_seconds: the interval of events when nothing changes.
    """
    assets = Assets(folder)
    streams = streaming.Streams()

    def page(path: str, name: str) -> Route:
        async def send(_request: Request) -> Response:
            return assets.file(name)

        return Route(path, send)

    async def file(request: Request) -> Response:
        return assets.file(request.path_params["name"])

    async def texts(request: Request) -> Response:
        return assets.texts(request.query_params.get("lang", "").split(","))

    def data(path: str, event: str, view_of: Callable[[Status], View]) -> list[Route]:
        last: tuple[Status, bytes] | None = None

        def message(status: Status) -> bytes:
            nonlocal last
            # All who watch are told of one and the same status.
            if last is None or last[0] is not status:
                last = status, streaming.message(event, view_of(status))
            return last[1]

        async def now(_request: Request) -> Response:
            body = encode(view_of(feed.current()))
            return Response(body, media_type="application/json", headers=streaming.HEADERS)

        async def events(request: Request) -> Response:
            return streams.answer(
                request, feed.changes, message, when_quiet=message, quiet_seconds=quiet_seconds
            )

        return [Route(path, now), Route(f"{path}/events", events)]

    return [
        page("/", "index.html"),
        page("/kiosk", "index.html"),
        page("/technician", "technician.html"),
        Route("/display/texts", texts),
        Route("/display/{name}", file),
        *data("/v1/display", "display", partial(display_of, columns=columns)),
        *data("/v1/technician", "status", redacted),
    ]


def display_of(status: Status, columns: int = 0) -> Display:
    """Return what the bay display shows of a status."""
    places = dict.fromkeys([*status.bays, *(camera.place for camera in status.cameras)])
    return Display(
        at=status.at,
        version=status.station.version,
        station=status.station.id,
        verdict=status.verdict,
        tiles=[tile for place in places for tile in _tiles(place, status.cameras)],
        paused=status.pauses,
        target_reachable=status.target.reachable,
        columns=columns,
    )


def _tiles(place: str, cameras: Iterable[CameraView]) -> list[BayTile]:
    """Return the tile of a place: several where a port has more than one camera."""
    return [_tile(place, one) for one in cameras if one.place == place] or [_tile(place, None)]


def _tile(place: str, camera: CameraView | None) -> BayTile:
    if camera is None:
        return BayTile(
            bay=place,
            camera=None,
            stage=None,
            safe_to_take=False,
            needs_person=False,
            done=0,
            total=0,
            seconds_left=None,
        )
    return BayTile(
        bay=place,
        camera=camera.serial,
        stage=camera.stage,
        safe_to_take=camera.safe_to_take,
        needs_person=camera.stage in {Stage.STUCK, Stage.REFUSED}
        or any(trouble.needs_person for trouble in camera.troubles),
        done=camera.bytes_done,
        total=camera.bytes_total,
        seconds_left=camera.seconds_left,
        left_alone=camera.left_alone.files,
    )


def redacted(status: Status) -> Status:
    """Return a status without the names of clips, which keep their numbers."""
    nameless = {id(trouble): _nameless(trouble) for trouble in status.troubles}

    def those(troubles: Iterable[Trouble]) -> list[Trouble]:
        return [nameless.get(id(one)) or _nameless(one) for one in troubles]

    return replace(
        status,
        cameras=[replace(camera, troubles=those(camera.troubles)) for camera in status.cameras],
        work=[replace(work, path="") for work in status.work],
        troubles=those(status.troubles),
    )


def _nameless(trouble: Trouble) -> Trouble:
    return replace(
        trouble,
        what=_summary(trouble) or EVENTS[trouble.event].meaning,
        hint=_scrubbed(trouble.hint, trouble.path, trouble.clip),
        path=None,
    )


def _summary(trouble: Trouble) -> str:
    if trouble.camera is not None and trouble.path is None:
        # It may name any of the camera's files; what comes before the detail names none.
        return trouble.what.partition(": ")[0]
    return _scrubbed(trouble.what, trouble.path, trouble.clip)


@lru_cache(maxsize=10_000)
def _scrubbed(text: str, named: str | None, clip: int | None) -> str:
    """Return a text with the clip's number for its name; nothing, if some of it would stay."""
    if named is None:
        return text
    path = PurePosixPath(named)
    number = "…" if clip is None else f"clip {clip}"
    kept, at = [], 0
    while found := _find(text, at, named, path.name):
        kept += [text[at : found[0]], number]
        at = found[1]
    text = "".join(kept) + text[at:]
    return "" if _find(text, 0, *path.parts, path.stem) else text


def _find(text: str, at: int, *words: str) -> tuple[int, int] | None:
    """Return where the first of the words stands and ends, where it is no part of a longer one."""
    found = [(start, start + len(word)) for word in words if (start := _word(text, at, word)) >= 0]
    # Of two that begin there, the first that was named.
    return min(found, key=lambda span: span[0], default=None)


def _word(text: str, at: int, word: str) -> int:
    # No regular expression: one for each of a thousand clips would be compiled each time.
    while word and (at := text.find(word, at)) >= 0:
        end = at + len(word)
        if not (text[at - 1 : at].isalnum() or text[end : end + 1].isalnum()):
            return at
        at += 1
    return -1
