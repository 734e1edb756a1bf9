"""A station in the test's own process, and a client of its control socket."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from dockd.base.clock import Clock
from dockd.base.randomness import Randomness
from dockd.evidence.keys import SigningKey, write_secret_file
from dockd.host.files import Files
from dockd.host.notify import Notifier
from dockd.station import config as configuration
from dockd.station.app import Seams, Station
from dockd.station.control.decoding import decode
from dockd.station.control.views import Status
from dockd.station.ledger.ledger import Ledger
from tests.support import write_config

PATIENCE = 30


class HangingDisk(Files):
    """A disk that answers only while its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def free_bytes(self, path: Path) -> int:
        self.gate.wait(PATIENCE)
        return super().free_bytes(path)


@dataclass
class Inside:
    """A station at work, and what a test may take hold of."""

    config: Path
    http: httpx.AsyncClient
    seams: Seams
    station: Station
    ledgers: list[Ledger] = field(default_factory=list)

    async def status(self) -> Status:
        answer = await self.http.get("status")
        assert answer.status_code == 200, answer.text
        return decode(Status, answer.text)

    async def until(self, holds: Callable[[Status], bool]) -> Status:
        """Ask until a status is as it should be."""
        while not holds(status := await self.status()):  # noqa: ASYNC110  # each one is made anew
            await asyncio.sleep(0.01)
        return status


@contextlib.asynccontextmanager
async def at_work(
    folder: Path,
    *,
    extra: str = "",
    listen: str = "",
    files: Files | None = None,
    config: Mapping[str, str] | None = None,
    **replaced: Any,
) -> AsyncIterator[Inside]:
    """Let a station work until the context ends."""
    if not (folder / "station.key").exists():
        write_secret_file(folder / "station.key", SigningKey.generate().pem())
    control = f'\n[control]\nsocket = "c.sock"\nlisten = "{listen}"\n'
    spool = "\n[spool]\nreserve = 0\n"
    path = write_config(folder, extra=control + spool + extra, **(config or {}))
    ledgers: list[Ledger] = []

    def open_ledger(path: Path, clock: Clock, randomness: Randomness) -> Ledger:
        ledgers.append(Ledger(path, clock, randomness))
        return ledgers[0]

    seams = Seams(ledger=open_ledger, files=files or Files(), **replaced)
    station = Station(configuration.load(path), seams)
    working = asyncio.create_task(station.run(Notifier({})))
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "c.sock"))
    async with (
        asyncio.timeout(PATIENCE),
        httpx.AsyncClient(transport=transport, base_url="http://dockd/v1/", timeout=20) as http,
    ):
        try:
            await _until_it_answers(working, http)
            yield Inside(path, http, seams, station, ledgers)
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working


async def _until_it_answers(working: asyncio.Task[None], http: httpx.AsyncClient) -> None:
    while not working.done():
        with contextlib.suppress(httpx.ConnectError):
            if (await http.get("status")).status_code == 200:
                return
        await asyncio.sleep(0.01)
    working.result()
