"""Runs the receiver: sockets, TLS, signals."""

import asyncio
import contextlib
import errno
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.types import ASGIApp

from dockd import __version__, logs
from dockd.clock import Clock
from dockd.errors import ConfigError, DockdError, KeyFileError, ListenError, StoreError
from dockd.events import RECEIVER_FAILED, RECEIVER_STARTED, RECEIVER_STOPPED
from dockd.keys import pem_path
from dockd.logs import configure, emit, emit_error, last_words
from dockd.memory import keep_buffers
from dockd.notify import Heartbeats, Notifier, feed
from dockd.receiver.app import open_receiver
from dockd.receiver.config import Config, ListenConfig, load
from dockd.receiver.uploads import Uploads
from dockd.web import BACKLOG, BoundedServer

GRACE_SECONDS = 5
"""How long requests may take to end once a stop was asked for."""
_PASSING = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, socket.EAI_AGAIN}
"""Why an address may not be listened on yet: it is taken, not there, or can't be looked up."""


def run(config_path: Path) -> int:
    """Run the receiver until SIGTERM or SIGINT.

    Returns:
        The exit code; an error has been logged.

    Raises:
        ConfigError: the configuration has mistakes.
    """
    config = load(config_path)
    configure(level=config.log.level, style=config.log.style)
    keep_buffers()
    try:
        asyncio.run(_run(config))
    except DockdError as error:
        emit_error(RECEIVER_FAILED, error)
        return error.exit_code
    except OSError as error:
        failed = StoreError(str(error), hint="look at the store's disk and its mount")
        emit_error(RECEIVER_FAILED, failed)
        return failed.exit_code
    finally:
        last_words()
    return 0


async def _run(config: Config) -> None:
    async with open_receiver(config) as receiver, _watched(receiver.uploads):
        await serve(receiver.app, config.listen, receiver.stop)
    emit(RECEIVER_STOPPED)


@contextlib.asynccontextmanager
async def _watched(uploads: Uploads) -> AsyncIterator[None]:
    """Feed systemd's watchdog for as long as the event loop turns.

    A disk that fails or hangs is no reason to start anew: stations are told of it.
    """

    async def probe() -> None:
        await asyncio.sleep(0)

    def status() -> str:
        lost = logs.health().lost
        return f"{uploads.unfinished} uploads under way" + (f"; {lost} log lines lost" * bool(lost))

    clock = Clock()
    feeding = asyncio.create_task(feed(Notifier(), Heartbeats(clock), probe, status, clock))
    try:
        yield
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding


async def serve(app: ASGIApp, listen: ListenConfig, on_stop: Callable[[], None]) -> None:
    """Serve an application until SIGTERM or SIGINT; ``on_stop`` is to end its requests.

    Raises:
        ListenError: the address can't be listened on now.
        ConfigError: it never can be.
        KeyFileError: certificate, key or CA can't be used.
    """
    tls = tls_context(listen)
    listener = _listen(listen)
    server = _Server(
        app, most_connections=listen.max_connections, tls=tls, grace_seconds=GRACE_SECONDS
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        Notifier().stopping()
        on_stop()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await server.serve(sockets=[listener])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class _Server(BoundedServer):
    """A server that says where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "http" if self.tls is None else "https"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
        emit(RECEIVER_STARTED, version=__version__, address=address)
        Notifier().ready()


def _listen(listen: ListenConfig) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except UnicodeError as error:
        raise ConfigError(
            f"listen: {listen.host} is no name", hint="correct listen.host"
        ) from error
    except OSError as error:
        detail = f"{listen.host} port {listen.port}: {error.strerror}"
        if error.errno in _PASSING:
            hint = "another process may have the port, or this machine not yet the address"
            raise ListenError(detail, hint=hint) from error
        hint = "look at listen.host, and whether the receiver may use the port"
        raise ConfigError(f"listen: {detail}", hint=hint) from error


def tls_context(listen: ListenConfig) -> ssl.SSLContext | None:
    """Return the TLS settings; with a client CA, a client has to show a certificate.

    Raises:
        KeyFileError: certificate, key or CA can't be used.
    """
    if listen.certificate is None or listen.certificate_key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with (
            pem_path(listen.certificate) as certificate,
            pem_path(listen.certificate_key_file, secret=True) as key,
        ):
            context.load_cert_chain(certificate, key)
        if listen.client_ca_file is not None:
            with pem_path(listen.client_ca_file) as authorities:
                context.load_verify_locations(authorities)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise KeyFileError(
            f"TLS: {error}", hint="look at certificate, certificate_key_file and client_ca_file"
        ) from error
    return context
