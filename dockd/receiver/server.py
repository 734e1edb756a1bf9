"""Runs the receiver: sockets, TLS, signals."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.types import ASGIApp

from dockd import __version__
from dockd.base import logs
from dockd.base.clock import Clock
from dockd.base.errors import ConfigError, StoreError, explained
from dockd.base.incidents import Incidents
from dockd.base.logs import configure, last_words
from dockd.base.web import BoundedServer
from dockd.host.memory import keep_buffers
from dockd.host.notify import Heartbeats, Notifier, feed
from dockd.host.stopping import Deadline, abandon_calls
from dockd.receiver import events
from dockd.receiver.app import open_receiver
from dockd.receiver.config import Config, ListenConfig, load
from dockd.receiver.core.uploads import Uploads
from dockd.receiver.listening import is_exposed, open_listener, tls_context

GRACE_SECONDS = 5
"""How long requests may take to end at shutdown."""
STOP_SECONDS = 15.0
"""How long a shutdown may take; after that it is a crash, from which the next start recovers."""


def run(config_path: Path) -> int:
    """Run the receiver until SIGTERM or SIGINT.

    Returns:
        The exit code; an error has been logged.

    Raises:
        ConfigError: invalid configuration.
    """
    try:
        config = load(config_path)
    except ConfigError as error:
        configure()
        events.receiver_failed(error)
        last_words()
        raise
    configure(level=config.log.level, style=config.log.style)
    keep_buffers()
    deadline = Deadline(STOP_SECONDS, events.receiver_cut_short)
    code = 0
    try:
        asyncio.run(_work(config, deadline))
        events.receiver_stopped()
    except OSError as error:
        failed = StoreError(str(error), hint="check the store's disk and its mount")
        events.receiver_failed(failed)
        code = failed.exit_code
    except Exception as error:  # noqa: BLE001  # the boundary of the receiver
        failure = explained(error)
        events.receiver_failed(failure)
        code = failure.exit_code
    finally:
        deadline.over()
        last_words()
    abandon_calls(code)
    return code


async def _work(config: Config, deadline: Deadline) -> None:
    async with open_receiver(config) as receiver, _watched(receiver.uploads):

        def stop() -> None:
            deadline.begin(0)
            receiver.stop()

        await serve(receiver.app, config.listen, stop, receiver.incidents)


@contextlib.asynccontextmanager
async def _watched(uploads: Uploads) -> AsyncIterator[None]:
    """Feed systemd's watchdog while the event loop runs.

    A disk that fails or hangs must not cause a restart: stations get errors instead.
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


async def serve(
    app: ASGIApp, listen: ListenConfig, on_stop: Callable[[], None], incidents: Incidents
) -> None:
    """Serve an application until SIGTERM or SIGINT; ``on_stop`` ends its requests.

    Raises:
        ListenError: the address is unavailable now.
        ConfigError: the address is invalid.
        KeyFileError: certificate, key or CA is unusable.
    """
    tls = tls_context(listen)
    listener = open_listener(listen)
    server = _Server(
        app,
        incidents,
        most_connections=listen.max_connections,
        most_from_one=listen.max_connections_per_address or max(listen.max_connections // 2, 1),
        tls=tls,
        grace_seconds=GRACE_SECONDS,
    )
    if tls is None and is_exposed(listen):
        events.receiver_unencrypted(
            address=listen.host,
            hint="set listen.certificate and certificate_key_file, or listen on 127.0.0.1",
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
    """A server that logs where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "http" if self.tls is None else "https"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
        events.receiver_started(version=__version__, address=address)
        Notifier().ready()
