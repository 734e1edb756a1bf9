"""The receiver as an ASGI application."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dockd.base import logs
from dockd.base.clock import Clock
from dockd.base.incidents import Incidents
from dockd.base.randomness import Randomness
from dockd.base.threads import in_thread
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.log.note import NoteSigner
from dockd.host.files import Files
from dockd.host.notify import Notifier
from dockd.receiver.config import Config
from dockd.receiver.core.archive import Archive
from dockd.receiver.core.room import SILENT_SECONDS
from dockd.receiver.core.statement_log import StatementLog
from dockd.receiver.core.stations import EnrolledStation, Stations
from dockd.receiver.core.uploads import Uploads
from dockd.receiver.core.workers import Workers
from dockd.receiver.http import problems
from dockd.receiver.http.access import Access
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.receipts import Notary, Receipts
from dockd.receiver.http.refusals import Refusals
from dockd.receiver.http.requests import Requests
from dockd.receiver.http.statement_log import LogResources
from dockd.receiver.http.translating import translated
from dockd.receiver.http.tus import Tus, TusMiddleware
from dockd.receiver.index.anchors import Anchors
from dockd.receiver.index.positions import Positions
from dockd.receiver.store.disk import DiskStore

START_SECONDS = 600.0
"""What the service manager is asked for repeatedly while a start makes progress."""


@dataclass(frozen=True)
class Receiver:
    """A receiver whose store is open."""

    app: Starlette
    uploads: Uploads
    incidents: Incidents
    """The failures that go on."""

    def stop(self) -> None:
        """End the running requests, keeping every byte that has arrived."""
        self.uploads.stop()


@contextlib.asynccontextmanager
async def open_receiver(
    config: Config,
    *,
    files: Files | None = None,
    clock: Clock | None = None,
    randomness: Randomness | None = None,
) -> AsyncIterator[Receiver]:
    """Open a receiver's store, resume what an earlier run left, and make its application.

    Raises:
        KeyFileError: a key is missing or invalid.
        StoreBusyError: another receiver has the store.
        OSError: the store's disk fails.
    """
    clock, randomness = clock or Clock(), randomness or Randomness()
    stations = Stations([EnrolledStation.load(entry) for entry in config.stations])
    key = SigningKey.load(config.receiver.key_file, "receiver")
    stations.check_own(key)
    store = DiskStore(config.store.path, files or Files(randomness), randomness)
    notary = Notary(config.receiver.id, key, clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(store.opened())
        more_time = partial(Notifier().extend, START_SECONDS)
        more_time()
        walk = partial(store.manifests, more_time)
        anchors = await in_thread(Anchors, store.path / "anchors.db", walk, clock, randomness)
        stack.push_async_callback(in_thread, anchors.close)
        incidents = Incidents(clock)
        positions = await in_thread(Positions, store.path / "log.db", walk, randomness)
        stack.push_async_callback(in_thread, positions.close)
        workers = Workers(config.store.verify_concurrency, clock)
        log = StatementLog(
            store.log,
            positions,
            store,
            _log_signer(config, key),
            [VerifyKey.load(path, "receiver") for path in config.receiver.earlier_keys],
            workers,
            clock,
            incidents,
        )
        await in_thread(log.open)
        archive = Archive(store, notary.receipt, anchors, log)
        uploads = Uploads(archive, stations, workers, config.store, clock, incidents)
        async with uploads.running():
            app = create_app(uploads, stations, notary, config, clock, incidents)
            yield Receiver(app, uploads, incidents)


def _log_signer(config: Config, key: SigningKey) -> NoteSigner:
    origin = config.statement_log.origin or re.sub(r"[\s+]", "-", config.receiver.id) + "/log"
    return NoteSigner(origin, key.private)


def create_app(
    uploads: Uploads,
    stations: Stations,
    notary: Notary,
    config: Config,
    clock: Clock,
    incidents: Incidents,
) -> Starlette:
    """Make the application around the uploads."""
    requests = Requests(max(config.listen.max_connections // 4, 2))
    access = Access(stations)
    tus = Tus(uploads, access, requests, config.store.max_clip_size, clock)
    receipts = Receipts(uploads.receipts, uploads.log, access, requests, notary, clock)
    log = LogResources(uploads.log, access, public=config.statement_log.public)

    async def health(_request: Request) -> Response:
        room = uploads.room
        await room.glance()
        status = "ok"
        if uploads.stopping:
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

    logged = Refusals(clock, incidents).logged

    async def disk_failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        writes = request.url.path.startswith("/files") and request.method != "HEAD"
        uploads.faults.note(error, "write" if writes else "read")
        return translated(uploads.faults.refused(error)).response()

    app = Starlette(
        routes=[
            Route("/files", logged(tus.files), methods=["POST", "OPTIONS"]),
            Route("/files/", logged(tus.files), methods=["POST", "OPTIONS"]),
            Route(
                "/files/{upload}",
                logged(tus.upload),
                methods=["HEAD", "PATCH", "DELETE", "OPTIONS"],
            ),
            Route("/receipts/anchors/{kid}", logged(receipts.anchor), methods=["GET"]),
            Route("/receipts/{clip_id}", logged(receipts.receipt), methods=["GET", "PUT"]),
            Route("/receipts/{clip_id}/proof", logged(receipts.proof), methods=["GET"]),
            Route("/log/checkpoint", logged(log.checkpoint), methods=["GET"]),
            Route("/log/tile/{path:path}", logged(log.tile), methods=["GET"]),
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
