"""Real connections that break: cuts, lost answers, silence, and TLS that doesn't hold."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from dockd.base.clock import Clock
from dockd.base.errors import KeyFileError, RejectedError, TransientError
from dockd.base.incidents import Incidents
from dockd.station.config import TargetConfig
from dockd.station.targets import Sealed
from dockd.station.targets.bandwidth import Limiter
from dockd.station.targets.health import TargetHealth
from dockd.station.targets.http import open_client
from dockd.station.targets.tus import TusTarget
from tests.station.targets.support import MIB, make_config, make_sealed
from tests.station.targets.wire import WireServer

SIZE = 24 * MIB + 77
"""More than the kernel takes off a sender's hands."""


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return make_sealed(tmp_path, SIZE)


class Uploads:
    """Attempts over the network, with what is remembered between them."""

    def __init__(self, config: TargetConfig) -> None:
        self.config = config
        self.url: str | None = None
        self.progress: list[int] = []
        self.rate = 0

    @contextlib.asynccontextmanager
    async def target(self) -> AsyncIterator[TusTarget]:
        clock = Clock()
        limiter = Limiter(clock, lambda: self.rate)
        health = TargetHealth(self.config.url, clock, Incidents(clock))
        target = TusTarget(self.config, open_client(self.config), limiter, clock, health)
        try:
            yield target
        finally:
            await target.aclose()

    async def attempt(self, sealed: Sealed) -> None:
        self.progress.clear()
        async with self.target() as target:
            await target.upload(sealed, self.url, self.remember, self.progress.append)

    async def remember(self, url: str) -> None:
        self.url = url


def assert_stored(server: WireServer, sealed: Sealed) -> None:
    (upload,) = server.tus.uploads.values()
    assert hashlib.sha256(upload.data).hexdigest() == sealed.sha256


def test_a_connection_that_is_cut_in_a_chunk_is_resumed_at_its_last_byte(sealed: Sealed) -> None:
    async def run() -> None:
        server = WireServer()
        server.cut_after.extend([3 * MIB + 1, 2 * MIB])
        async with server.running() as url:
            uploads = Uploads(make_config(url=url, chunk_size=64 * MIB))
            for _ in range(2):
                with pytest.raises(TransientError):
                    await uploads.attempt(sealed)
            await uploads.attempt(sealed)
        assert uploads.progress[0] == 5 * MIB + 1
        assert_stored(server, sealed)

    asyncio.run(run())


def test_a_final_answer_that_is_lost_on_the_wire_ends_well(sealed: Sealed) -> None:
    async def run() -> None:
        server = WireServer(lose_answers=1)
        async with server.running() as url:
            await Uploads(make_config(url=url, chunk_size=64 * MIB)).attempt(sealed)
        assert server.tus.methods()[-2:] == ["PATCH", "HEAD"]
        assert_stored(server, sealed)

    asyncio.run(run())


def test_a_server_that_comes_back_is_gone_on_with(sealed: Sealed) -> None:
    async def run() -> None:
        server = WireServer()
        server.cut_after.append(MIB)
        async with server.running() as url:
            uploads = Uploads(make_config(url=url, chunk_size=64 * MIB))
            with pytest.raises(TransientError):
                await uploads.attempt(sealed)
        with pytest.raises(TransientError, match="nothing listens there"):
            await uploads.attempt(sealed)
        async with server.running():
            await uploads.attempt(sealed)
        assert_stored(server, sealed)

    asyncio.run(run())


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PATCH"])
def test_a_server_that_stays_silent_is_given_up_after_the_timeout(
    sealed: Sealed, method: str
) -> None:
    async def run() -> None:
        server = WireServer(silent={method})
        async with server.running() as url:
            uploads = Uploads(make_config(url=url, timeout_seconds=0.2))
            with pytest.raises(TransientError, match="no response") as raised:
                await uploads.attempt(sealed)
            assert "target.timeout_seconds" in raised.value.hint

    asyncio.run(run())


@contextlib.asynccontextmanager
async def dripping(beginning: bytes) -> AsyncIterator[int]:
    """Serve answers that begin so, and go on a byte at a time without end; yields the port."""
    ended: list[asyncio.Future[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(end := asyncio.get_running_loop().create_future())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(beginning)
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        end.set_result(None)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*ended)


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 503 Later\r\nContent-Length: 60000\r\n\r\n",
    ],
    ids=["head", "head after another", "body"],
)
def test_an_answer_that_drips_without_end_is_given_up(sealed: Sealed, beginning: bytes) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), dripping(beginning) as port:
            uploads = Uploads(make_config(url=f"http://127.0.0.1:{port}/", timeout_seconds=0.2))
            with pytest.raises(TransientError, match="takes too long") as raised:
                await uploads.attempt(sealed)
            assert "target.timeout_seconds" in raised.value.hint

    asyncio.run(run())


def test_sending_may_take_longer_than_any_answer(tmp_path: Path) -> None:
    async def run() -> None:
        server = WireServer()
        async with server.running() as url:
            uploads = Uploads(make_config(url=url, chunk_size=64 * MIB, timeout_seconds=0.4))
            uploads.rate = 2 * MIB
            sealed = make_sealed(tmp_path, 4 * MIB)
            await uploads.attempt(sealed)
        assert server.tus.methods() == ["OPTIONS", "POST", "PATCH"]
        assert_stored(server, sealed)

    asyncio.run(run())


def test_a_refusal_that_comes_before_the_body_is_read_is_heard(sealed: Sealed) -> None:
    async def run() -> None:
        refusal = b"HTTP/1.1 413 Too Large\r\nTus-Resumable: 1.0.0\r\nContent-Length: 0\r\n\r\n"
        server = WireServer(refusal=refusal)
        async with server.running() as url:
            with pytest.raises(RejectedError, match="413"):
                await Uploads(make_config(url=url)).attempt(sealed)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def saying(words: bytes) -> AsyncIterator[int]:
    """Serve something that is no HTTP server; yields its port."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 2"])
def test_something_that_is_not_http_is_waited_for(sealed: Sealed, words: bytes) -> None:
    async def run() -> None:
        async with saying(words) as port:
            with pytest.raises(TransientError, match=r"closed the connection|broke"):
                await Uploads(make_config(url=f"http://127.0.0.1:{port}/")).attempt(sealed)

    asyncio.run(run())


def test_a_name_that_does_not_resolve_is_waited_for(sealed: Sealed) -> None:
    uploads = Uploads(make_config(url="https://no-such-host.invalid/files/"))
    with pytest.raises(TransientError, match="can't be resolved") as raised:
        asyncio.run(uploads.attempt(sealed))
    assert "DNS" in raised.value.hint


def test_a_cancelled_upload_stops_at_once_and_can_be_gone_on_with(sealed: Sealed) -> None:
    async def run() -> None:
        server = WireServer(silent={"PATCH"})
        async with server.running() as url:
            uploads = Uploads(make_config(url=url))
            first_block = asyncio.Event()
            async with uploads.target() as target:
                task = asyncio.create_task(
                    target.upload(sealed, None, uploads.remember, lambda _: first_block.set())
                )
                await first_block.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            server.silent.clear()
            await uploads.attempt(sealed)
        assert_stored(server, sealed)

    asyncio.run(run())


# TLS ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def server_tls(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or ("localhost",))).configure_cert(tls)
    return tls


def write_ca(ca: trustme.CA, folder: Path) -> str:
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    return str(folder / "ca.pem")


def write_client(ca: trustme.CA, folder: Path) -> dict[str, str]:
    leaf = ca.issue_cert("camden-07.station")
    certificate, key = folder / "client.pem", folder / "client.key"
    certificate.write_bytes(leaf.cert_chain_pems[0].bytes())
    key.write_bytes(leaf.private_key_pem.bytes())
    key.chmod(0o600)
    return {"client_certificate": str(certificate), "client_key_file": str(key)}


def upload_by_tls(
    sealed: Sealed, tls: ssl.SSLContext, keys: dict[str, str]
) -> tuple[WireServer, TransientError | None]:
    """Make one attempt; returns the server and what went wrong."""
    server = WireServer()

    async def run() -> TransientError | None:
        async with server.running(tls) as url:
            try:
                await Uploads(make_config(url=url, **keys)).attempt(sealed)
            except TransientError as error:
                return error
        return None

    return server, asyncio.run(run())


def test_a_private_ca_is_trusted(sealed: Sealed, ca: trustme.CA, tmp_path: Path) -> None:
    server, error = upload_by_tls(sealed, server_tls(ca), {"ca_file": write_ca(ca, tmp_path)})
    assert error is None
    assert_stored(server, sealed)


@pytest.mark.parametrize("keys", ["another ca", "the system's"])
def test_another_ca_is_not_trusted(
    sealed: Sealed, ca: trustme.CA, tmp_path: Path, keys: str
) -> None:
    other = {"ca_file": write_ca(trustme.CA(), tmp_path)} if keys == "another ca" else {}
    server, error = upload_by_tls(sealed, server_tls(ca), other)
    assert error is not None
    assert "certificate is not trusted" in error.detail
    assert "target.ca_file" in error.hint
    assert server.tus.requests == []


def test_with_a_private_ca_the_systems_cas_are_not_trusted(
    sealed: Sealed, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", write_ca(ca, tmp_path / "system"))
    _, error = upload_by_tls(sealed, server_tls(ca), {})
    assert error is None
    _, error = upload_by_tls(sealed, server_tls(ca), {"ca_file": write_ca(trustme.CA(), tmp_path)})
    assert error is not None


def test_a_certificate_for_another_name_is_not_trusted(
    sealed: Sealed, ca: trustme.CA, tmp_path: Path
) -> None:
    keys = {"ca_file": write_ca(ca, tmp_path)}
    _, error = upload_by_tls(sealed, server_tls(ca, "other.example"), keys)
    assert error is not None
    assert "the certificate has the name" in error.hint


def test_the_clients_certificate_is_shown(sealed: Sealed, ca: trustme.CA, tmp_path: Path) -> None:
    tls = server_tls(ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    keys = {"ca_file": write_ca(ca, tmp_path), **write_client(ca, tmp_path)}
    server, error = upload_by_tls(sealed, tls, keys)
    assert error is None
    assert "camden-07.station" in str(server.peer_certificates[0])


@pytest.mark.parametrize("client", ["none", "of another ca"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_refuses_the_clients_certificate_is_waited_for(
    sealed: Sealed, ca: trustme.CA, tmp_path: Path, client: str, version: ssl.TLSVersion
) -> None:
    tls = server_tls(ca)
    tls.maximum_version = version
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    keys = {"ca_file": write_ca(ca, tmp_path)}
    if client == "of another ca":
        keys |= write_client(trustme.CA(), tmp_path)
    _, error = upload_by_tls(sealed, tls, keys)
    assert error is not None
    assert error.hint


def test_a_servers_alert_is_passed_on(sealed: Sealed, ca: trustme.CA, tmp_path: Path) -> None:
    tls = server_tls(ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    heard = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection = tls.wrap_socket(
            listener.accept()[0], server_side=True, do_handshake_on_connect=False
        )
        with connection:
            with pytest.raises(ssl.SSLError):
                connection.do_handshake()
            heard.wait()  # closed now, a reset could overtake the alert

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        url = f"https://localhost:{listener.getsockname()[1]}/"
        config = make_config(url=url, ca_file=write_ca(ca, tmp_path))
        try:
            with pytest.raises(TransientError, match="CERTIFICATE_REQUIRED") as raised:
                asyncio.run(Uploads(config).attempt(sealed))
        finally:
            heard.set()
            server.join()
    assert "target.client_certificate" in raised.value.hint


def test_a_server_without_tls_is_waited_for(sealed: Sealed) -> None:
    async def run() -> None:
        async with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
            with pytest.raises(TransientError, match="TLS failed"):
                await Uploads(make_config(url=f"https://127.0.0.1:{port}/")).attempt(sealed)

    asyncio.run(run())


def test_silence_behind_tls_is_not_blamed_on_tls(
    sealed: Sealed, ca: trustme.CA, tmp_path: Path
) -> None:
    async def run() -> None:
        server = WireServer(silent={"POST"})
        async with server.running(server_tls(ca)) as url:
            config = make_config(url=url, ca_file=write_ca(ca, tmp_path), timeout_seconds=0.2)
            with pytest.raises(TransientError, match="no response"):
                await Uploads(config).attempt(sealed)

    asyncio.run(run())


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_ca_file_that_holds_no_certificate_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"ca\.pem"):
        open_client(make_config(url="https://evidence.example/files/", ca_file=str(path)))


def test_a_client_key_that_others_can_read_is_refused(ca: trustme.CA, tmp_path: Path) -> None:
    keys = write_client(ca, tmp_path)
    Path(keys["client_key_file"]).chmod(0o644)
    with pytest.raises(KeyFileError, match="is readable by other users"):
        open_client(make_config(url="https://evidence.example/files/", **keys))


@pytest.mark.parametrize("swap", [True, False])
def test_a_client_key_that_does_not_fit_is_named(
    ca: trustme.CA, tmp_path: Path, swap: bool
) -> None:
    keys = write_client(ca, tmp_path)
    other = ca.issue_cert("other").private_key_pem.bytes()
    Path(keys["client_key_file"]).write_bytes(other if swap else b"nothing")
    with pytest.raises(KeyFileError, match=r"client\.pem and .*client\.key"):
        open_client(make_config(url="https://evidence.example/files/", **keys))


def test_an_encrypted_client_key_is_refused(ca: trustme.CA, tmp_path: Path) -> None:
    keys = write_client(ca, tmp_path)
    path = Path(keys["client_key_file"])
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(KeyFileError, match="unencrypted"):
        open_client(make_config(url="https://evidence.example/files/", **keys))
