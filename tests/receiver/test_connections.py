"""Connections are counted from the moment they are accepted."""

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
import trustme
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dockd.base import web
from dockd.base.clock import Clock
from dockd.base.incidents import Incidents
from dockd.base.web import BoundedProtocol, BoundedServer

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
    server = BoundedServer(app, Incidents(Clock()), most_connections=MOST, tls=tls)
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


# Shares: with them, what is idle makes way


@asynccontextmanager
async def sharing(
    most_from_one: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve as a receiver does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            await asyncio.Event().wait()
        await Response("here")(scope, receive, send)

    listener = socket.create_server(("", 0))
    port = listener.getsockname()[1]
    server = BoundedServer(
        app,
        Incidents(Clock()),
        most_connections=MOST,
        most_from_one=most_from_one,
        tls=tls,
        grace_seconds=1,
    )
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield "127.0.0.1", port
    finally:
        server.should_exit = True
        await running


async def ask_from(host: str, address: tuple[str, int], path: str = "/") -> Connection:
    reader, writer = await asyncio.open_connection(*address, local_addr=(host, 0))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return reader, writer


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9"])
def test_whoever_only_connects_shuts_nobody_out(host: str) -> None:
    async def play() -> None:
        async with sharing(MOST - 1) as address:
            idle = [
                await asyncio.open_connection(*address, local_addr=("127.0.0.9", 0))
                for _ in range(5 * MOST)
            ]
            reader, writer = await ask_from(host, address)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            for _, one in (*idle, (reader, writer)):
                one.close()

    asyncio.run(play())


def test_one_address_can_not_have_all_connections_at_work() -> None:
    async def play() -> None:
        async with sharing(MOST - 1) as address:
            busy = [await ask_from("127.0.0.9", address, "/wait") for _ in range(MOST - 1)]
            with structlog.testing.capture_logs() as log:
                reader, one_more = await ask_from("127.0.0.9", address)
                assert await reader.read() == b""
            (line,) = [line for line in log if line["event"] == "connections.refused"]
            assert "3 from 127.0.0.9" in line["detail"]
            reader, writer = await ask_from("127.0.0.1", address)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            for _, open_one in (*busy, (reader, writer), (reader, one_more)):
                open_one.close()

    asyncio.run(play())


def test_whoever_gets_answers_to_requests_that_never_end_shuts_nobody_out() -> None:
    async def play() -> None:
        async with sharing(MOST // 2) as address:
            busy = []
            for number in range(MOST):
                local = (f"127.0.0.{8 + number % 2}", 0)
                reader, writer = await asyncio.open_connection(*address, local_addr=local)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                busy.append(writer)
            for _ in range(2 * MOST):
                reader, writer = await ask_from("127.0.0.1", address)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                busy.append(writer)
            for writer in busy:
                writer.close()

    asyncio.run(play())


def test_handshakes_that_never_end_shut_nobody_out(ca: trustme.CA) -> None:
    async def play() -> None:
        certificate = ca.issue_cert("localhost")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(tls)
        client = ssl.create_default_context()
        ca.configure_trust(client)
        async with sharing(MOST - 1, tls) as address:
            mute = [
                await asyncio.open_connection(*address, local_addr=(f"127.0.0.{9 - number % 2}", 0))
                for number in range(5 * MOST)
            ]
            for _ in range(2 * MOST):
                reader, writer = await asyncio.open_connection(
                    *address, ssl=client, server_hostname="localhost"
                )
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                mute.append((reader, writer))
            for _, writer in mute:
                writer.transport.abort()

    asyncio.run(play())


def test_each_crowd_is_named_when_its_connections_are_too_many() -> None:
    async def play() -> None:
        async with sharing(2) as address:
            held = []
            for host in ("127.0.0.8", "127.0.0.9"):
                held += [await ask_from(host, address, "/wait") for _ in range(2)]
                reader, writer = await ask_from(host, address)
                assert await reader.read() == b""
                held.append((reader, writer))
            for _, writer in held:
                writer.close()

    with structlog.testing.capture_logs() as log:
        asyncio.run(play())
    told = [line["detail"] for line in log if line["event"] == "connections.refused"]
    assert len(told) == 2
    assert "2 from 127.0.0.8, 2 from 127.0.0.9" in told[1]


def test_connections_that_are_over_are_forgotten() -> None:
    async def play() -> int:
        async with sharing(MOST - 1) as address:
            for _ in range(50):
                reader, writer = await ask_from("127.0.0.1", address)
                await reader.readline()
                writer.close()
                await writer.wait_closed()
            await asyncio.sleep(0.1)  # the server hears of the last one's end
            gc.collect()
            return sum(isinstance(thing, BoundedProtocol) for thing in gc.get_objects())

    assert asyncio.run(play()) < 10


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_one_peer_has_all_the_addresses_of_its_ipv6_network(host: str, network: str) -> None:
    assert web.network(host) == network
