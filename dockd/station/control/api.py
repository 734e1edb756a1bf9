"""The control API on the Unix socket."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dockd.station.control import streaming
from dockd.station.control.encoding import encode, encode_all
from dockd.station.control.feed import StatusFeed
from dockd.station.control.openapi import document
from dockd.station.control.orders import Orders
from dockd.station.control.problems import HANDLERS, ApiError, unknown
from dockd.station.control.reading import Reader
from dockd.station.control.requests import ClipQuery, PauseOrder, ResumeOrder, ResyncOrder
from dockd.station.control.views import CLIPS_AT_ONCE, Status

QUIET_SECONDS = 10.0
"""The interval of comments to a client when nothing changes."""
_LONGEST_ORDER = 64 * 1024
"""Bytes."""
_PATIENCE = 20.0
"""Seconds that a response waits for an order to be carried out."""

OrderT = TypeVar("OrderT", bound=BaseModel)


class Api:
    """The control API; a station registers its orders here once its work has begun."""

    def __init__(self, feed: StatusFeed, reader: Reader) -> None:
        self.orders: Orders | None = None
        """Carries out orders; None before the work begins, and after it ends."""
        self._feed = feed
        self._reader = reader
        self._streams = streaming.Streams()
        self._under_way: set[asyncio.Future[Any]] = set()

    def app(self) -> Starlette:
        """Return it as an ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/status", self._status),
                Route("/v1/events", self._events),
                Route("/v1/clips", self._clips),
                Route("/v1/clips/{name:path}", self._story),
                Route("/v1/resync", self._resync, methods=["POST"]),
                Route("/v1/pause", self._pause, methods=["POST"]),
                Route("/v1/resume", self._resume, methods=["POST"]),
                Route("/openapi.json", _openapi),
            ],
            exception_handlers=HANDLERS,
        )

    async def _status(self, _request: Request) -> Response:
        return _json(encode(await self._feed.fresh()))

    async def _events(self, request: Request) -> Response:
        await self._feed.fresh()

        def event(status: Status) -> bytes:
            return streaming.message("status", status)

        return self._streams.answer(
            request,
            self._feed.changes,
            event,
            when_quiet=lambda _: b": alive\n\n",
            quiet_seconds=QUIET_SECONDS,
        )

    async def _clips(self, request: Request) -> Response:
        query = _checked(ClipQuery, lambda: ClipQuery.model_validate(dict(request.query_params)))
        limit = min(query.limit, CLIPS_AT_ONCE)
        one_more = query.model_copy(update={"limit": limit + 1})
        found = await self._reader.run(lambda: self._reader.clips(one_more))
        clips = found[:limit]
        camera = query.camera
        if (
            not found
            and camera
            and not await self._reader.run(lambda: self._reader.knows_camera(camera))
        ):
            raise unknown(f"there is no camera {camera}", hint="dockd status lists them")
        more = "true" if len(found) > len(clips) else "false"
        return _json(encode_all(clips), {"Dockd-More": more})

    async def _story(self, request: Request) -> Response:
        name = request.path_params["name"]
        story = await self._reader.run(lambda: self._reader.story(name))
        if story is None:
            raise unknown(f"there is no clip {name}", hint="dockd clips lists them")
        return _json(encode(story))

    async def _resync(self, request: Request) -> Response:
        order = await _order(request, ResyncOrder)
        answer = await self._carried_out(self._ready.resync(order, _uid(request)))
        return _json(encode(answer))

    async def _pause(self, request: Request) -> Response:
        order = await _order(request, PauseOrder)
        held = await self._carried_out(self._ready.pause(order, _uid(request)))
        return _json(encode_all(held))

    async def _resume(self, request: Request) -> Response:
        order = await _order(request, ResumeOrder)
        held = await self._carried_out(self._ready.resume(order, _uid(request)))
        return _json(encode_all(held))

    @property
    def _ready(self) -> Orders:
        if self.orders is None:
            raise ApiError(503, "starting", "the station is not ready", hint="retry in a moment")
        return self.orders

    async def _carried_out(self, order: Awaitable[Any]) -> Any:
        """Wait for an order, which continues even if its client disconnects."""
        task = asyncio.ensure_future(order)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.wait({task}, timeout=_PATIENCE)
        if not task.done():
            raise ApiError(
                503,
                "busy",
                "the command is pending until the ledger responds",
                hint="dockd status says what the station waits for",
            )
        return task.result()


async def _openapi(_request: Request) -> Response:
    return JSONResponse(document())


def _uid(request: Request) -> int:
    """Return the client's uid, as given by the kernel."""
    uid: int = request.state.uid
    return uid


async def _order(request: Request, kind: type[OrderT]) -> OrderT:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_ORDER:
            raise ApiError(413, "too-large", f"an order has at most {_LONGEST_ORDER} bytes")
    return _checked(kind, lambda: kind.model_validate_json(body or b"{}"))


def _checked(kind: type[OrderT], read: Callable[[], OrderT]) -> OrderT:
    try:
        return read()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise ApiError(
            422,
            "invalid",
            f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}",
            hint=f"openapi.json on the control socket has the schema of {kind.__name__}",
        ) from error


def _json(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, media_type="application/json", headers=headers)
