"""Who sees the station's credentials, and by which way its requests go."""

import asyncio
from pathlib import Path

import httpx
import pytest

from dockd.base.clock import Clock
from dockd.base.errors import TransientError
from dockd.station.config import TargetConfig
from dockd.station.targets import Sealed
from dockd.station.targets.failures import to_error
from dockd.station.targets.http import ask, open_client
from tests.station.targets.support import ENDPOINT, Station, TusServer, make_config, make_sealed


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return make_sealed(tmp_path, 100)


def authorization(config: TargetConfig, *urls: str) -> list[str | None]:
    """What a server at each address is shown."""
    shown: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        shown.append(request.headers.get("Authorization"))
        return httpx.Response(302, headers={"Location": "http://other.example/"})

    async def run() -> None:
        async with open_client(config, httpx.MockTransport(handle)) as client:
            for url in urls:
                await ask(client, client.build_request("GET", url), Clock())

    asyncio.run(run())
    return shown


def test_the_token_goes_with_every_request(sealed: Sealed, token: Path) -> None:
    server = TusServer()
    Station(server, make_config(token_file=str(token))).upload(sealed)
    shown = {request.headers.get("Authorization") for request in server.requests}
    assert shown == {"Bearer first-token"}


def test_without_a_token_nothing_is_shown(sealed: Sealed) -> None:
    server = TusServer()
    Station(server).upload(sealed)
    assert all("Authorization" not in request.headers for request in server.requests)


def test_a_rotated_token_counts_from_the_next_request(sealed: Sealed, token: Path) -> None:
    server = TusServer()

    def rotate(request: httpx.Request) -> httpx.Response:
        token.write_text("second-token")
        return server.answer(request)

    server.script["POST"].append(rotate)
    Station(server, make_config(token_file=str(token))).upload(sealed)
    shown = [request.headers["Authorization"] for request in server.requests]
    assert shown == ["Bearer first-token", "Bearer first-token", "Bearer second-token"]


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/files/",
        "http://127.0.0.1/files/",
        "http://127.0.0.1:1081/files/",
        "https://127.0.0.1:1080/files/",
        "http://127.0.0.1.other.example:1080/files/",
        "http://127.0.0.1:1080@other.example/files/",
    ],
)
def test_another_server_never_sees_the_token(token: Path, url: str) -> None:
    config = make_config(token_file=str(token))
    assert authorization(config, ENDPOINT + "1", url)[0] == "Bearer first-token"
    assert "first-token" not in str(authorization(config, url)[0])


def test_the_receipts_server_is_shown_the_token_too(token: Path) -> None:
    config = make_config(
        token_file=str(token),
        receipts_url="https://receipts.example/r/",
        receiver_keys=["receiver.pub"],
    )
    assert authorization(config, "https://receipts.example/r/1") == ["Bearer first-token"]


def test_a_redirect_is_not_followed(token: Path) -> None:
    assert len(authorization(make_config(token_file=str(token)), ENDPOINT)) == 1


@pytest.mark.parametrize(
    "content", [None, "", "\n", "two words", "tok\x00en", "schlüssel", "a\nb", "=x"]
)
def test_a_token_that_cannot_be_used_is_waited_for(
    sealed: Sealed, token: Path, content: str | None
) -> None:
    token.unlink()
    if content is not None:
        token.write_text(content)
        token.chmod(0o600)
    server = TusServer()
    with pytest.raises(TransientError) as raised:
        Station(server, make_config(token_file=str(token))).upload(sealed)
    assert str(token) in raised.value.detail
    assert raised.value.hint
    assert server.requests == []


def test_a_token_that_others_can_read_is_not_sent(sealed: Sealed, token: Path) -> None:
    token.chmod(0o644)
    server = TusServer()
    with pytest.raises(TransientError, match="is readable by other users") as raised:
        Station(server, make_config(token_file=str(token))).upload(sealed)
    assert raised.value.hint == f"chmod 600 {token}"
    assert server.requests == []


# Cookies --------------------------------------------------------------------------------


def test_a_cookie_is_neither_kept_nor_shown() -> None:
    shown: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        shown.append(request.headers.get("Cookie"))
        return httpx.Response(202, headers={"Set-Cookie": "session=secret; Path=/"})

    async def run() -> None:
        async with open_client(make_config(), httpx.MockTransport(handle)) as client:
            for _ in range(2):
                await ask(client, client.build_request("PUT", ENDPOINT), Clock())

    asyncio.run(run())
    assert shown == [None, None]


# Proxies --------------------------------------------------------------------------------


def asked_of_a_proxy(url: str, environment: str, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Ask for an address while the environment names a proxy that wants credentials."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.partition(b"\r\n")[0])
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv(environment, f"http://127.0.0.1:{port}")
        config = make_config(url=url)
        try:
            async with open_client(config) as client:
                await ask(client, client.build_request("OPTIONS", config.url), Clock())
        finally:
            server.close()

    with pytest.raises(TransientError) as raised:
        asyncio.run(run())
    if asked:
        assert "407" in raised.value.detail
        assert "HTTPS_PROXY" in raised.value.hint
    return asked


def test_a_proxy_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of_a_proxy("https://evidence.invalid/files/", "HTTPS_PROXY", monkeypatch)
    assert asked == [b"CONNECT evidence.invalid:443 HTTP/1.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("environment", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_server_on_loopback_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, host: str, environment: str
) -> None:
    assert asked_of_a_proxy(f"http://{host}:1/files/", environment, monkeypatch) == []


def test_a_hint_names_the_key_of_the_address_that_was_asked() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(412)

    async def ask_for(method: str) -> str:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            request = client.build_request(method, "https://e.example/")
            return to_error(await ask(client, request, Clock())).hint

    assert "check target.url" in asyncio.run(ask_for("POST"))
    assert "check target.receipts_url" in asyncio.run(ask_for("GET"))
