"""The receiver as an ASGI application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dockd.base import logs
from dockd.base.clock import Clock
from dockd.evidence.keys import SigningKey
from dockd.host.files import Files
from dockd.host.notify import Notifier
from dockd.receiver.config import Config
from dockd.receiver.core.anchors import Anchors
from dockd.receiver.core.room import SILENT_SECONDS
from dockd.receiver.core.shares import Requests
from dockd.receiver.core.uploads import Uploads
from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.receipts import Notary, Receipts
from dockd.receiver.http.refusals import Refusals
from dockd.receiver.http.stations import Station, Stations
from dockd.receiver.http.tus import Tus, TusMiddleware
from dockd.receiver.store.disk import Store

START_SECONDS = 600.0
"""What the service manager is asked for again and again while a start gets on."""


@dataclass(frozen=True)
class Receiver:
    """A receiver whose store is open."""

    app: Starlette
    uploads: Uploads

    def stop(self) -> None:
        """End the requests that run, keeping every byte that has arrived."""
        self.uploads.stop()


@contextlib.asynccontextmanager
async def open_receiver(
    config: Config, *, files: Files | None = None, clock: Clock | None = None
) -> AsyncIterator[Receiver]:
    """Hold a receiver's store, finish what an earlier run left, and make its application.

    Raises:
        KeyFileError: a key is missing or isn't one.
        StoreBusyError: another receiver has the store.
        OSError: the store's disk fails.
    """
    clock = clock or Clock()
    stations = Stations([Station.load(entry) for entry in config.stations])
    key = SigningKey.load(config.receiver.key_file, "receiver")
    stations.check_own(key)
    store = Store(config.store.path, files)
    notary = Notary(config.receiver.id, key, clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(store.opened())
        anchors = await asyncio.to_thread(Anchors, store.path, _more_time(Notifier()), clock)
        stack.push_async_callback(asyncio.to_thread, anchors.close)
        uploads = Uploads(store, anchors, stations, notary.receipt, config.store, clock)
        async with uploads.running():
            yield Receiver(create_app(uploads, stations, notary, config, clock), uploads)


def _more_time(notifier: Notifier) -> Callable[[], None]:
    return lambda: notifier.extend(START_SECONDS)


def create_app(
    uploads: Uploads, stations: Stations, notary: Notary, config: Config, clock: Clock
) -> Starlette:
    """Make the application around what is under way."""
    requests = Requests(max(config.listen.max_connections // 4, 2))
    tus = Tus(uploads, stations, requests, config.store.max_clip_size)
    receipts = Receipts(uploads, stations, requests, notary)

    async def health(_request: Request) -> Response:
        room = uploads.room
        await room.glance()
        status = "ok"
        if uploads.stopping.is_set():
            status = "stopping"
        elif room.hangs or uploads.workers.longest > SILENT_SECONDS:
            status = "hangs"
        elif uploads.faults.last:
            status = "failing"
        elif room.full:
            status = "full"
        body = {
            "status": status,
            "free_bytes": room.free,
            "promised_bytes": room.promised,
            "log_lines_lost": logs.health().lost,
        }
        return JSONResponse(body, 200 if status == "ok" else 503)

    telling = Refusals(clock).telling

    async def disk_failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        writes = request.url.path.startswith("/files") and request.method != "HEAD"
        return uploads.faults.refusal(error, "write" if writes else "read").response()

    app = Starlette(
        routes=[
            Route("/files", telling(tus.files), methods=["POST", "OPTIONS"]),
            Route("/files/", telling(tus.files), methods=["POST", "OPTIONS"]),
            Route(
                "/files/{upload}",
                telling(tus.upload),
                methods=["HEAD", "PATCH", "DELETE", "OPTIONS"],
            ),
            Route("/receipts/anchors/{kid}", telling(receipts.anchor), methods=["GET"]),
            Route("/receipts/{clip_id}", telling(receipts.receipt), methods=["GET", "PUT"]),
            Route("/healthz", health),
        ],
        middleware=[Middleware(TusMiddleware)],
        exception_handlers={
            RequestError: _refused,
            HTTPException: _not_routed,
            OSError: disk_failed,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = problems.METHOD_NOT_ALLOWED if error.status_code == 405 else problems.NOT_FOUND
    detail = f"{request.method} {request.scope['path']}"
    return RequestError(kind, detail, headers=error.headers).response()
