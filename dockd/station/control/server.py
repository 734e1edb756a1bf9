"""Serves the control API and the bay display, concurrently with the station's work."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from dockd.base.concurrency import finished, on_threads
from dockd.base.errors import ControlError, UnforeseenError
from dockd.base.incidents import Incidents
from dockd.base.randomness import Randomness
from dockd.base.web import BoundedProtocol, BoundedServer
from dockd.station import events
from dockd.station.config import Config
from dockd.station.control import health, metrics, pages
from dockd.station.control.api import Api
from dockd.station.control.feed import StatusFeed
from dockd.station.control.listening import Listener, PeerProtocol, tcp_listener, unix_listener
from dockd.station.control.metrics import Metrics
from dockd.station.control.orders import Orders
from dockd.station.control.problems import HANDLERS
from dockd.station.control.reading import Reader
from dockd.station.control.snapshot import Parts

GRACE_SECONDS = 1.0
"""The time for responses to finish when shutting down."""
_MOST_CONNECTIONS = 64
"""On each listener."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_Offer = tuple[AbstractContextManager[Listener], ASGIApp, type[BoundedProtocol]]
"""An address, an application, and its protocol."""


class Control:
    """The control API, the bay display and metrics of a station."""

    def __init__(
        self, config: Config, counted: Metrics, incidents: Incidents, randomness: Randomness
    ) -> None:
        """Create it without listening yet.

        Args:
            config: the station's.
            counted: what the metrics count.
            incidents: failures that go on.
            randomness: makes the socket's temporary name.
        """
        self.feed = StatusFeed()
        self._reader = Reader(config.ledger_path)
        self._api = Api(self.feed, self._reader)
        self._config = config.control
        self._metrics = counted
        self._incidents = incidents
        self._randomness = randomness

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen within the context; addresses that can't be listened on are logged."""
        servers: list[_Server] = []
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._reader.aclose)
            for listening, app, protocol in self._offers():
                try:
                    listener = await stack.enter_async_context(on_threads(listening))
                except ControlError as error:
                    events.control_failed(error)
                else:
                    servers.append(_Server(app, protocol, listener, self._incidents))
            serving = [asyncio.create_task(server.serve_listener()) for server in servers]
            try:
                yield
            finally:
                self.feed.stop()
                for server in servers:
                    server.should_exit = True
                await finished(asyncio.gather(*serving))

    def _offers(self) -> Iterator[_Offer]:
        if self._config.socket is not None:
            listening = unix_listener(self._config.socket, self._randomness)
            yield listening, self._api.app(), PeerProtocol
        if self._config.address is not None:
            yield tcp_listener(*self._config.address), self._display(), BoundedProtocol

    def _display(self) -> ASGIApp:
        """Return the read-only public app: no clip names, no secrets."""
        hosts = ["*"]
        if self._config.address is not None and self._config.address[0] in _LOOPBACK:
            # A web page from elsewhere may make its own name point here (DNS rebinding).
            hosts = [*_LOOPBACK, "[::1]"]
        return Starlette(
            routes=[
                *pages.routes(self.feed, columns=self._config.columns),
                *metrics.routes(self._metrics, self.feed.current),
                *health.routes(self._unready),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
            exception_handlers=HANDLERS,
        )

    def _unready(self) -> str | None:
        return None if self._api.orders is not None else "the work has not begun"

    async def work(self, parts: Parts, orders: Orders) -> None:
        """Serve the status of a station and accept orders for it, until cancelled."""
        # Closed where it fails and is begun again.
        self._reader.open()
        self._api.orders = orders
        try:
            await self.feed.run(parts, self._reader)
        finally:
            self._api.orders = None
            # Before the ledger is closed: only its last connection empties the WAL into it.
            await self._reader.aclose()


class _Server(BoundedServer):
    """A server of one listener, which logs its address."""

    def __init__(
        self,
        app: ASGIApp,
        protocol: type[BoundedProtocol],
        listener: Listener,
        incidents: Incidents,
    ) -> None:
        super().__init__(app, incidents, most_connections=_MOST_CONNECTIONS, protocol=protocol)
        self._listener = listener

    async def serve_listener(self) -> None:
        """Serve until ``should_exit``; an error is logged, and affects nothing else."""
        try:
            await self.serve(sockets=[self._listener.socket])
        except Exception as error:  # noqa: BLE001  # the work goes on without
            events.control_failed(UnforeseenError.of(error))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        events.control_listens(address=self._listener.address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait a while for responses to finish; a client that no longer reads does not block it."""
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abort)
        await super().shutdown(sockets)

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
