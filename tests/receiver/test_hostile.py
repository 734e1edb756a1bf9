"""Requests that nobody in his right mind sends."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from dockd.base.clock import Clock
from dockd.base.web import BoundedProtocol
from dockd.receiver.core.body import Body
from dockd.receiver.core.errors import RefusedError
from dockd.receiver.http import body, problems
from dockd.receiver.http.body import pieces
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.translating import translated
from tests.receiver.support import Running, Station, create, make_site, process, running

STATION = Station()
CLIP = STATION.clip()

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]
SEGMENTS = st.sampled_from(
    [
        *("files", "receipts", "healthz", "clips", "incoming", "lock", "UPLOAD", CLIP.id),
        *("", ".", "..", "%2e%2e", "..%2f..", "%00", "%ff", "\N{SNOWMAN}", "a" * 64, "a" * 5000),
    ]
)
NUMBERS = st.sampled_from(["0", "1", "4", "10", "-1", "1e3", "9" * 30, "", "NaN", "0x10", "\xb2"])
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=40)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Tus-Resumable": st.sampled_from(["1.0.0", "1.0.0", "1.0.0", "0.1", ""]),
        "Upload-Length": NUMBERS,
        "Upload-Offset": NUMBERS,
        "Content-Length": NUMBERS,
        "Upload-Metadata": st.sampled_from([CLIP.metadata, "a", "a b", ",", "manifest"]) | TEXT,
        "Upload-Checksum": st.sampled_from(["sha256", "sha1 YQ==", "crc32 YQ=="]) | TEXT,
        "Upload-Defer-Length": st.just("1"),
        "Upload-Concat": st.sampled_from(["partial", "final;/files/a /files/b"]),
        "Content-Type": st.sampled_from(
            ["application/offset+octet-stream", "application/jose", "text/html; charset=%%"]
        )
        | TEXT,
        "X-HTTP-Method-Override": st.sampled_from([*METHODS, "patch"]) | TEXT,
        "Prefer": st.sampled_from(["wait=0", "wait=x", "wait=999999999999", "wait, wait=0"]) | TEXT,
        "Authorization": st.sampled_from(["Bearer x", "Basic", ""]) | TEXT,
        "Host": st.sampled_from(["[", "a:b:c", "", "receiver"]) | TEXT,
    },
)
BODIES = st.sampled_from([b"", b"0123", CLIP.token.encode(), CLIP.data]) | st.binary(max_size=200)


async def send(
    app: ASGIApp, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    """Call the application by hand: httpx would tidy the request up."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path, errors="replace"),
        "raw_path": path.encode("utf-8"),
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
    }
    incoming = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(incoming, {"type": "http.disconnect"})

    async def collect(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, collect)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_no_request_breaks_the_receiver_or_leaves_its_store(tmp_path: Path) -> None:
    """An exception of the application would reach this test."""
    site = make_site(tmp_path, STATION)
    before = set(tmp_path.rglob("*"))

    async def attack(
        run: Running, method: str, path: list[str], headers: dict[str, str], body: bytes
    ) -> None:
        response = await run.client.post("/files/", headers=CLIP.creation)
        upload_id = response.headers.get("Location", "stored")
        address = "/" + "/".join(path).replace("UPLOAD", upload_id)
        status, answer = await send(run.receiver.app, method, address, headers, body)
        assert status < 500
        if status >= 400 and answer:
            assert json.loads(answer)["status"] == status

    with asyncio.Runner() as runner:
        context = running(site)
        run = runner.run(context.__aenter__())

        @settings(max_examples=300, deadline=None, derandomize=True)
        @given(st.sampled_from(METHODS), st.lists(SEGMENTS, max_size=4), HEADERS, BODIES)
        def test(method: str, path: list[str], headers: dict[str, str], body: bytes) -> None:
            runner.run(attack(run, method, path, headers, body))

        test()
        runner.run(context.__aexit__(None, None, None))
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(site.store)}
    assert outside == before
    there = {path.name.split("-")[0] for path in site.store.iterdir()}
    assert there <= {"anchors.db", "log.db", "log", "incoming", "clips", "lock"}


HEAD = b"PATCH /files/0 HTTP/1.1\r\nHost: receiver\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("opening", "endless"),
    [
        (b"", b"A" * 65536),
        (b"GET /", b"a" * 65536),
        (HEAD + b"X: ", b"a" * 65536),
        (HEAD, b"X: y\r\n" * 10_000),
        (CHUNKED + b"1", b"0" * 65536),
        (CHUNKED + b"1;", b"a" * 65536),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000),
        (CHUNKED + b"0\r\nX: ", b"y" * 65536),
    ],
    ids=["method", "path", "header", "headers", "chunk", "extension", "trailers", "trailer"],
)
def test_what_never_ends_is_cut_off(address: str, opening: bytes, endless: bytes) -> None:
    with socket.create_connection(listening(address)) as connection:
        connection.sendall(opening)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(endless * 1000)
    assert httpx.get(f"{address}healthz").status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%ff%fe\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /files/\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nz",
    ],
)
def test_what_is_not_a_sound_request_is_answered_4xx_or_not_at_all(
    address: str, request_bytes: bytes
) -> None:
    with socket.create_connection(listening(address), timeout=20) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert httpx.get(f"{address}healthz").status_code == 200


class ImpatientProtocol(BoundedProtocol):
    # On a busy machine it takes a while until a request is read that was sent at once.
    head_seconds = 1.0
    linger_seconds = 0.05


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nX", b""),
        (b"GET / HTTP/1.1\r\n\r\nGET / HT", b"HTTP/1.1 404 "),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 404 "),
    ],
    ids=["connection", "headers", "next headers", "body of a refused request"],
)
def test_a_connection_that_gets_nowhere_is_closed(sent: bytes, answer: bytes) -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await RequestError(problems.NOT_FOUND, "nothing").response()(scope, receive, send)

    async def play() -> None:
        config = uvicorn.Config(
            refuse, log_config=None, log_level="critical", timeout_keep_alive=3600
        )
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: ImpatientProtocol(config, state, {}), "127.0.0.1", 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert (await asyncio.wait_for(reader.read(), 20)).startswith(answer)
            writer.close()

    asyncio.run(play())


def test_a_body_that_stops_arriving_is_given_up_and_kept(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def play() -> None:
        async with running(site) as run:
            path = await create(run.client, CLIP)
            upload = run.receiver.uploads.find(path.removeprefix("/files/"))
            messages = iter([{"type": "http.request", "body": CLIP.data[:4], "more_body": True}])

            async def receive() -> Message:
                for message in messages:
                    return message
                await asyncio.Event().wait()
                raise AssertionError

            stopping = pieces(receive, Clock(), idle_seconds=0.01)
            with pytest.raises(RefusedError) as refusal:
                await run.receiver.uploads.append(upload, 0, stopping, None, None)
            assert translated(refusal.value).problem is problems.TOO_SLOW
            assert upload.offset == 4

    asyncio.run(play())


async def dripping() -> Message:
    await asyncio.sleep(0.001)
    return {"type": "http.request", "body": b"x", "more_body": True}


def test_a_body_that_drips_is_given_up_and_kept() -> None:
    async def play() -> None:
        slow = Body(pieces(dripping, Clock(), batch_seconds=0.05), Clock())
        assert await slow.batch()
        assert slow.broken
        assert await slow.batch() == []

    asyncio.run(play())


def test_a_small_body_that_drips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SMALL_SECONDS", 0.05)

    async def play() -> None:
        with pytest.raises(RequestError) as refusal:
            await body.read_small(dripping, 60_000, Clock())
        assert refusal.value.problem is problems.TOO_SLOW

    asyncio.run(play())


def listening(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a receiver in a process of its own, and watch its memory."""
    site = make_site(tmp_path_factory.mktemp("hostile"), STATION)
    with process(site) as (child, address):
        yield address
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        assert peak < 128 * 2**20
