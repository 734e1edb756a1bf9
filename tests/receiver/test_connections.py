"""Connections are counted from the moment they are accepted."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
import trustme
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dockd import web
from dockd.web import BoundedServer

MOST = 4
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, int]]:
    """Serve with room for few; yields the address."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("here")(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    server = BoundedServer(app, most_connections=MOST, tls=tls)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield address
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def crowd(address: tuple[str, int]) -> AsyncIterator[list[Connection]]:
    """Connect as often as is allowed, and say nothing."""
    connections = [await asyncio.open_connection(*address) for _ in range(MOST)]
    try:
        yield connections
    finally:
        for _, writer in connections:
            writer.close()


async def answer(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> bytes:
    """Send a request and return how the answer begins; nothing if the connection is closed."""
    try:
        reader, writer = await asyncio.open_connection(*address, ssl=tls)
        try:
            writer.write(REQUEST)
            return await reader.read(12)
        finally:
            writer.close()
    except ConnectionError:
        return b""


async def admitted(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
    while await answer(address, tls) != b"HTTP/1.1 200":
        pass


def events(log: Sequence[Mapping[str, object]]) -> list[object]:
    return [line["event"] for line in log if str(line["event"]).startswith("connections.")]


def test_connections_that_ask_for_nothing_count_and_one_too_many_is_closed() -> None:
    async def play(log: Sequence[Mapping[str, object]]) -> None:
        async with serving() as address:
            async with crowd(address) as connections:
                for _ in range(3):
                    assert await answer(address) == b""
                connections.pop()[1].close()
                await admitted(address)
                while await answer(address):
                    connections.append(await asyncio.open_connection(*address))
            while events(log)[-1] != "connections.taken":
                await answer(address)

    with structlog.testing.capture_logs() as log:
        asyncio.run(asyncio.wait_for(play(log), 30))
    assert events(log) == ["connections.refused", "connections.taken"]


def test_connections_count_before_their_tls_handshake(ca: trustme.CA) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    client = ssl.create_default_context()
    ca.configure_trust(client)

    async def play() -> None:
        async with serving(tls) as address:
            async with crowd(address):
                assert await answer(address, client) == b""
            await admitted(address, client)

    asyncio.run(asyncio.wait_for(play(), 30))


def test_a_tls_handshake_that_never_ends_is_given_up(
    ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "HANDSHAKE_SECONDS", 0.05)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)

    async def play() -> None:
        async with serving(tls) as address, crowd(address) as connections:
            for reader, _ in connections:
                assert await reader.read() == b""

    asyncio.run(asyncio.wait_for(play(), 30))
