"""The proxy of an address, out of an environment as administrators set it for all services."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from dockd.base.clock import Clock
from dockd.base.errors import ConfigError, TransientError
from dockd.cli import main as cli
from dockd.station.config import TargetConfig
from dockd.station.targets.http import ask, open_client
from dockd.station.targets.proxies import proxy_for
from tests.station.targets.support import make_config
from tests.support import write_config

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def chosen(url: str = "https://evidence.example/files/", **environment: str) -> str | None:
    proxy = proxy_for(httpx.URL(url), environment)
    return None if proxy is None else str(proxy.url)


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://proxy:3128/", "http://proxy:3128"),
        ("proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy:1080"),
        ("HTTP://proxy", "http://proxy:1080"),
        ("https://proxy", "https://proxy:443"),
        ("socks5://proxy", "socks5://proxy:1080"),
        ("socks5h://proxy:9050", "socks5h://proxy:9050"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        (" http://proxy:3128 ", "http://proxy:3128"),
        ("", None),
    ],
)
def test_a_proxy_is_named_as_curl_takes_it(value: str, proxy: str | None) -> None:
    expected = None if proxy is None else str(httpx.URL(proxy))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        assert chosen(**{name: value}) == expected


def test_credentials_are_decoded() -> None:
    url = httpx.URL("https://evidence.example/")
    proxy = proxy_for(url, {"https_proxy": "http://me:a%40b:c@proxy:3128"})
    assert proxy is not None
    assert proxy.auth == ("me", "a@b:c")
    assert str(proxy.url) == "http://proxy:3128"


def test_the_nearest_variable_counts_and_others_do_not() -> None:
    assert chosen(https_proxy="a:1", HTTPS_PROXY="b:1", all_proxy="c:1") == "http://a:1"
    assert chosen(HTTPS_PROXY="b:1", all_proxy="c:1") == "http://b:1"
    assert chosen(http_proxy="ftp://x", HTTP_PROXY="ftp://x") is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("ftp://proxy:21", "ftp://"),
        ("socks4://proxy", "socks4://"),
        ("http://proxy:port", "invalid port"),
        ("http://proxy:99999", "invalid port"),
        ("http://proxy:0", "invalid port"),
        ("http://", "it has no host"),
        ("http://[::1", "it has no host"),
        ("http://pro xy:3128", "it has no host"),
        ("http://user:secret@", "it has no host"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_told_by_its_variable_and_without_its_password(
    value: str, told: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        chosen(HTTPS_PROXY=value)
    assert told in refused.value.detail
    assert refused.value.detail.startswith("HTTPS_PROXY")
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("url", "entries"),
    [
        ("https://evidence.example/", "evidence.example"),
        ("https://evidence.example/", ".example"),
        ("https://evidence.example/", "example"),
        ("https://evidence.example/", "*.example"),
        ("https://evidence.example/", "x, EVIDENCE.Example. ,y"),
        ("https://evidence.example/", "x y evidence.example"),
        ("https://evidence.example/", "evidence.example:443"),
        ("https://evidence.example/", "fd00::/8,[::1],*"),
        ("https://10.1.2.3/", "10.0.0.0/8"),
        ("https://10.1.2.3/", "10.1.2.3"),
        ("https://10.1.2.3:8443/", "10.1.2.3:8443"),
        ("https://[fd00::1]/", "fd00::/8"),
        ("https://[fd00::1]/", "[fd00::1]"),
        ("https://[fd00::1]:8443/", "[fd00:0::1]:8443"),
        ("https://[fd00::1]/", "[fd00::]/8,fd00::1"),
        ("https://127.0.0.1/", ""),
        ("https://localhost/", ""),
    ],
)
def test_what_no_proxy_lists_is_asked_directly(url: str, entries: str) -> None:
    assert chosen(url, https_proxy="proxy:3128", no_proxy=entries) is None
    assert chosen(url, https_proxy="proxy:3128", NO_PROXY=entries) is None


@pytest.mark.parametrize(
    ("url", "entries"),
    [
        ("https://evidence.example/", "dence.example"),
        ("https://evidence.example/", "evidence.example:80"),
        ("https://evidence.example/", "fd00::/8,[::1],10.0.0.0/99,[,],:,::/x"),
        ("https://10.1.2.3/", "11.0.0.0/8,10.1.2.3:80"),
        ("https://[fe80::1]/", "fd00::/8"),
    ],
)
def test_what_no_proxy_does_not_list_is_asked_through_the_proxy(url: str, entries: str) -> None:
    assert chosen(url, https_proxy="proxy:3128", no_proxy=entries) == "http://proxy:3128"


class SocksProxy:
    """A SOCKS 5 proxy (RFC 1928) that leads everything to one port."""

    def __init__(self, to: int, *, speaks: bool = True) -> None:
        self._to = to
        self._speaks = speaks
        self.asked: list[tuple[int, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            if not self._speaks:
                writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
                await writer.drain()
                return
            _, methods = await reader.readexactly(2)
            await reader.readexactly(methods)
            writer.write(b"\x05\x00")
            kind = (await reader.readexactly(4))[3]
            size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
            self.asked.append((kind, await reader.readexactly(size)))
            await reader.readexactly(2)
            writer.write(b"\x05\x00\x00\x01" + bytes(4) + struct.pack(">H", 1))
            there, here = await asyncio.open_connection("127.0.0.1", self._to)
            with contextlib.closing(here):
                await asyncio.gather(_copy(reader, here), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def tls_server(name: str, ca_file: Path) -> AsyncIterator[int]:
    """A server that answers everything with 204 and shows a certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def asked_through(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, speaks: bool = True
) -> list[tuple[int, bytes]]:
    async def run() -> list[tuple[int, bytes]]:
        loop = asyncio.get_running_loop()
        look_up = loop.getaddrinfo

        async def known(host: str, *args: int, **more: int) -> object:
            return await look_up("127.0.0.9" if host == "evidence.test" else host, *args, **more)

        monkeypatch.setattr(loop, "getaddrinfo", known)
        async with tls_server("evidence.test", tmp_path / "ca.pem") as port:
            proxy = SocksProxy(port, speaks=speaks)
            server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{address[1]}")
            config = make_config(url="https://evidence.test/files/", ca_file=tmp_path / "ca.pem")
            try:
                async with open_client(config) as client:
                    reply = await ask(client, client.build_request("OPTIONS", config.url), Clock())
                    assert reply.status == 204
            finally:
                server.close()
            return proxy.asked

    return asyncio.run(run())


def test_a_socks_proxy_is_asked_by_name_or_by_address_as_its_scheme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked_through("socks5h", tmp_path, monkeypatch) == [(3, b"evidence.test")]
    address = socket.inet_aton("127.0.0.9")
    assert asked_through("socks5", tmp_path, monkeypatch) == [(1, address)]


# httpcore leaves the connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_socks_proxy_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TransientError) as raised:
        asked_through("socks5h", tmp_path, monkeypatch, speaks=False)
    assert "the proxy refused" in raised.value.detail
    del raised
    gc.collect()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_DIR", "/nowhere"),
        ("SSL_CERT_DIR", "/nowhere:/dev/null"),
    ],
)
def test_certificates_that_point_nowhere_are_told_by_their_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        open_client(make_config(url="https://evidence.test/files/"))
    assert refused.value.detail.startswith(f"{name}: ")
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    open_client(make_config(url="https://evidence.test/files/", ca_file=authority))


def test_certificates_that_are_there_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", f"/nowhere:{tmp_path}")
    open_client(make_config(url="https://evidence.test/files/"))


@pytest.mark.parametrize("value", ["ftp://proxy", "http://proxy:port"])
def test_check_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    value: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    config = write_config(tmp_path)
    text = config.read_text()
    config.write_text(text.replace("http://127.0.0.1", "https://evidence.invalid"))
    cli.main(["check", "--config", str(config)])
    said = capsys.readouterr().out
    assert "HTTPS_PROXY" in said
    assert "bug in dockd" not in said


def test_what_a_command_asks_the_daemon_goes_through_no_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "ftp://proxy")
    monkeypatch.setenv("NO_PROXY", "fd00::/8")
    assert cli.main(["status", "--socket", str(tmp_path / "none")]) == 69
    assert "is unreachable" in capsys.readouterr().err


def test_a_target_can_be_configured_whatever_the_environment_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "fd00::/8,[::1],*.x,10.0.0.0/8,:,/")
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://proxy")
    config = TargetConfig(url="https://evidence.example/files/")
    open_client(config)
