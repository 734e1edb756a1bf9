"""A control server that says what a test tells it to, and views to say."""

import asyncio
import socket as sockets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dockd.station.control.encoding import encode
from dockd.station.control.views import (
    CameraView,
    ClipStory,
    ClipView,
    PauseView,
    ResyncAnswer,
    SpoolView,
    Stage,
    StationView,
    Status,
    TargetView,
    Trouble,
    Verdict,
    View,
    Work,
)
from dockd.station.lifecycle import StateName

NOW = "2026-11-21T12:00:00.000Z"
EARLIER = "2026-11-21T10:00:00.000Z"
_PATIENCE = 20


def camera(
    place: str = "1", serial: str = "CAM-1", stage: Stage = Stage.DONE, **changes: Any
) -> CameraView:
    """A docked camera; one that was looked at later than any test orders it."""
    plain = CameraView(
        id=f"generic:{serial}",
        profile="generic",
        serial=serial,
        place=place,
        docking=1,
        docked_at=EARLIER,
        looked_at=NOW,
        looked_from=10**9,
        stage=stage,
        safe_to_take=stage is Stage.DONE,
        clips={"wiped": 2},
        bytes_total=0,
        bytes_done=0,
        seconds_left=None,
        troubles=[],
    )
    return replace(plain, **changes)


def trouble(**changes: Any) -> Trouble:
    """A clip that the server refused."""
    plain = Trouble(
        event="clip.rejected",
        needs_person=True,
        what="The server never will store this: 413",
        hint="raise the server's limit, then: dockd resync --failed",
        since=EARLIER,
        camera="generic:CAM-1",
        clip=17,
        path="DCIM/1.mp4",
    )
    return replace(plain, **changes)


def work(**changes: Any) -> Work:
    """A clip that is half sent."""
    plain = Work(
        clip=1,
        camera="generic:CAM-1",
        path="DCIM/1.mp4",
        stage="upload",
        done=2**29,
        total=2**30,
        rate=11.2 * 2**20,
    )
    return replace(plain, **changes)


def pause(**changes: Any) -> PauseView:
    """An order to hold uploads."""
    plain = PauseView(what="uploads", reason="the line is needed", since=EARLIER, until=None, by=0)
    return replace(plain, **changes)


def status(**changes: Any) -> Status:
    """A station where all is well."""
    plain = Status(
        at=NOW,
        verdict=Verdict.WELL,
        station=StationView(id="camden-07", version="1.2.3", since=EARLIER, pid=7),
        cameras=[],
        bays=["1", "2"],
        clips={"acknowledged": 1, "wiped": 20},
        oldest_unacknowledged=None,
        work=[],
        troubles=[],
        pauses=[],
        spool=SpoolView(used=0, budget=64 * 2**30, free=100 * 2**30, reserve=0, waiting=False),
        target=TargetView(
            url="https://evidence.example/files/",
            reachable=True,
            last_success=NOW,
            gives_receipts=True,
        ),
        rates={"ingest": 0.0, "upload": 0.0},
    )
    return replace(plain, **changes)


def clip(number: int = 17, state: StateName = "wiped", **changes: Any) -> ClipView:
    """A clip."""
    plain = ClipView(
        id=number,
        clip_id="c" * 64,
        camera="generic:CAM-1",
        path=f"DCIM/{number}.mp4",
        kind="video",
        event=False,
        size=1_500_000,
        state=state,
        present=False,
        found=EARLIER,
        since=NOW,
    )
    return replace(plain, **changes)


class Daemon:
    """Serves the control API's paths; what it says can be changed while it runs."""

    def __init__(self) -> None:
        self.status = status()
        self.clips: list[ClipView] = []
        self.story: dict[str, Any] = {"journal": [], "manifest": None, "receipt": None}
        """What is told of each, besides."""
        self.pauses: list[PauseView] = []
        self.answer = ResyncAnswer(order=5, cameras=[], clips=[], refused=[])
        self.after_order: Status | None = None
        """What it becomes once something was ordered."""
        self.refusal: Response | None = None
        """What it says to everything instead."""
        self.asked: list[tuple[str, Any]] = []
        self._queues: list[asyncio.Queue[Status | None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def become(self, new: Status) -> None:
        """Change, and tell everybody who follows."""
        self.status = new
        self._tell(new)

    @contextmanager
    def running(self, socket: Path) -> Iterator[None]:
        """Serve on a socket."""
        routes = [
            Route("/v1/status", self._on_status),
            Route("/v1/events", self._on_events),
            Route("/v1/clips", self._on_clips),
            Route("/v1/clips/{which}", self._on_clip),
            Route("/v1/{order:str}", self._on_order, methods=["POST"]),
        ]
        listening = sockets.socket(sockets.AF_UNIX)
        listening.bind(str(socket))
        listening.listen()
        config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: server.run([listening]))
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            self._tell(None)
            thread.join(_PATIENCE)
            assert not thread.is_alive()
            socket.unlink()

    def _tell(self, news: Status | None) -> None:
        for queue in self._queues:
            assert self._loop is not None
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(queue.put_nowait, news)

    async def _on_status(self, _request: Request) -> Response:
        return self.refusal or _json(self.status)

    async def _on_events(self, _request: Request) -> Response:
        return self.refusal or StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Status | None] = asyncio.Queue()
        self._queues.append(queue)
        news: Status | None = self.status
        yield ": a sign of life\n\n"
        while news is not None:
            yield f"event: status\ndata: {encode(news).decode()}\n\n"
            news = await queue.get()

    async def _on_clips(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked.append(("clips", asked))
        found = [one for one in self.clips if asked.get("state", one.state) == one.state]
        found = found[: int(asked["limit"])]
        return self.refusal or JSONResponse([asdict(one) for one in found])

    async def _on_clip(self, request: Request) -> Response:
        which = request.path_params["which"]
        for one in self.clips:
            if which in {str(one.id), one.clip_id}:
                return _json(ClipStory(clip=one, **self.story))
        return refuse(404, f"there is no clip {which}", "dockd clips lists them")

    async def _on_order(self, request: Request) -> Response:
        order = request.path_params["order"]
        self.asked.append((order, await request.json()))
        if self.after_order is not None:
            self.become(self.after_order)
        if order == "resync":
            return self.refusal or _json(self.answer)
        return self.refusal or JSONResponse([asdict(one) for one in self.pauses])


def _json(view: View) -> Response:
    return JSONResponse(asdict(view))


def refuse(code: int, detail: str, hint: str = "") -> Response:
    """An error response."""
    return JSONResponse({"error": "not-found", "detail": detail, "hint": hint}, code)
