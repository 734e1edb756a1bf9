"""Many clients at once, on the socket and on the port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import structlog
from structlog.typing import EventDict

from dockd.base.errors import ControlError
from dockd.station.control import server, streaming
from dockd.station.control.client import Client
from tests.station.control.inside import Inside, at_work


@asynccontextmanager
async def displaying(
    folder: Path,
) -> AsyncIterator[tuple[Inside, httpx.AsyncClient, Sequence[EventDict]]]:
    """A station, a client of its port, and what it logs."""
    with structlog.testing.capture_logs() as log:
        async with at_work(folder, listen="127.0.0.1:0") as inside:
            (url,) = [
                line["address"]
                for line in log
                if line["event"] == "control.listens" and "http" in line["address"]
            ]
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=url, trust_env=False, limits=limits) as http:
                yield inside, http, log


def test_who_watches_leaves_room_for_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MOST", 3)
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 5)

    async def crowd(http: httpx.AsyncClient, path: str, questions: list[str]) -> None:
        async with http.stream("GET", path), http.stream("GET", path):
            async with http.stream("GET", path):
                refused = await http.get(path)
                assert (refused.status_code, refused.json()["error"]) == (503, "busy")
                for question in questions:
                    assert (await http.get(question)).status_code == 200
            async with asyncio.timeout(20):
                while True:
                    async with http.stream("GET", path) as another:
                        if another.status_code == 200:
                            return

    async def run() -> None:
        async with displaying(tmp_path) as (inside, http, _):
            await crowd(http, "v1/display/events", ["metrics", "healthz", "v1/display"])
            await crowd(inside.http, "events", ["status", "clips"])

    asyncio.run(run())


def test_a_crowd_that_says_nothing_is_bounded_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 4)

    async def run() -> None:
        with ExitStack() as stack:
            async with displaying(tmp_path) as (inside, http, log):
                port = http.base_url.port
                assert port is not None
                loop = asyncio.get_running_loop()
                idle = []
                for _ in range(40):
                    one = stack.enter_context(socket.socket())
                    one.setblocking(False)
                    await loop.sock_connect(one, ("127.0.0.1", port))
                    idle.append(asyncio.ensure_future(loop.sock_recv(one, 1)))
                async with asyncio.timeout(20):
                    while sum(one.done() for one in idle) < 36:
                        await asyncio.wait(idle, return_when=asyncio.FIRST_COMPLETED, timeout=0.01)
                assert sum(one.done() for one in idle) == 36
                assert (await inside.status()).station.id == "camden-07"
                for waiting in idle:
                    waiting.cancel()
                await asyncio.wait(idle)
                told = [line["event"] for line in log]
                assert told.count("connections.refused") == 1
                assert "library.complained" not in told

    asyncio.run(run())


def test_a_command_that_finds_no_room_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 3)

    def ask() -> str:
        with pytest.raises(ControlError) as caught:
            Client(tmp_path / "c.sock").status()
        assert "connection limit" in caught.value.hint
        return caught.value.message

    async def run() -> str:
        async with at_work(tmp_path) as inside, asyncio.timeout(20), AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(inside.http.stream("GET", "events"))
            return await asyncio.to_thread(ask)

    assert "is unreachable" in asyncio.run(run())
