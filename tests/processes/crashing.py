"""The daemon with a crossing at every step: ``python -m tests.station.crashing CONFIG``."""

import sys
from functools import partial
from pathlib import Path

import httpx

from dockd.station import daemon
from dockd.station.app import Seams
from dockd.station.ledger.database import Database
from dockd.station.ledger.ledger import Ledger
from tests.crash import CrashingFiles, Crossings


class CrashingDatabase(Database):
    """A database with a crossing before and after each transaction becomes durable."""

    def commit(self) -> None:
        with CROSSINGS.around("commit"):
            super().commit()


class CrashingTransport(httpx.AsyncBaseTransport):
    """A network with a crossing before and after each request."""

    def __init__(self) -> None:
        self._network = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with CROSSINGS.around(f"{request.method} {request.url.path.split('/')[1]}"):
            return await self._network.handle_async_request(request)

    async def aclose(self) -> None:
        await self._network.aclose()


CROSSINGS = Crossings.from_environment()

if __name__ == "__main__":
    seams = Seams(
        files=CrashingFiles(CROSSINGS),
        ledger=partial(Ledger, database=CrashingDatabase),
        transport=CrashingTransport(),
    )
    sys.exit(daemon.run(Path(sys.argv[1]), seams))
