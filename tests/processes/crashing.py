"""The daemon with a crossing at every step: ``python -m tests.station.crashing CONFIG``."""

import sys
from pathlib import Path

import httpx

from dockd.base.clock import Clock
from dockd.base.randomness import Randomness
from dockd.station import daemon
from dockd.station.app import Seams
from dockd.station.ledger.ledger import Ledger
from tests.crash import CrashingFiles, Crossings


class CrashingLedger(Ledger):
    """A ledger with a crossing before and after each transaction becomes durable."""

    def __init__(self, path: Path, clock: Clock, randomness: Randomness) -> None:
        self._crossings = CROSSINGS
        super().__init__(path, clock, randomness)

    def commit(self) -> None:
        with self._crossings.around("commit"):
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
        files=CrashingFiles(CROSSINGS), ledger=CrashingLedger, transport=CrashingTransport()
    )
    sys.exit(daemon.run(Path(sys.argv[1]), seams))
