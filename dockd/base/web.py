"""Serving HTTP/1.1 with uvicorn, as shared by the receiver and the daemon's API."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dockd.base import events
from dockd.base.errors import CrowdedError
from dockd.base.incidents import Incidents

MAX_HEAD = 128 * 1024
"""Bytes that may arrive without progress of a message, its headers or its body."""
HANDSHAKE_SECONDS = 10.0
"""How long TLS may take to begin, and to end."""
BACKLOG = 128
"""Connections that the kernel keeps until they are accepted."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on memory and time for each client.

    uvicorn alone accepts headers of any size at any speed.
    """

    head_seconds = 10.0
    """How long a request's headers may take, and a new connection before the first."""
    linger_seconds = 10.0
    """How long the rest of a body is read and discarded after an early response."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress; the rest of an answered body does not count."""
        cycle = getattr(self, "cycle", None)
        return not self._in_message if cycle is None else bool(cycle.response_complete)

    @property
    def host(self) -> str:
        """The client's address; empty before the connection is made."""
        return self.client[0] if self.client else ""

    @property
    def descriptor(self) -> int:
        """The socket's descriptor; -1 once it is closed."""
        made = self.transport.get_extra_info("socket")
        return -1 if made is None else int(made.fileno())

    def drop(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    made: "dict[BoundedProtocol, None] | None" = None
    """Where it is listed while its connection lasts, oldest first."""
    _unused = 0
    _timer: asyncio.TimerHandle | None = None
    _in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Expect a request."""
        super().connection_made(transport)
        if self.made is not None:
            self.made[self] = None
        self._set_timer(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.made is not None:
            self.made.pop(self, None)
        self._set_timer(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and end a connection without progress."""
        self._unused += len(data)
        super().data_received(data)
        if self._unused > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("Headers too large.")

    def on_message_begin(self) -> None:
        """Expect the headers."""
        self._set_timer(self.head_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._unused = 0
        self._in_message = True
        self._set_timer(None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._unused = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next request, if any."""
        self._unused = 0
        self._in_message = False
        self._set_timer(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give a client with an early response some time to notice it."""
        super().on_response_complete()
        if self._in_message and self.cycle.response_complete:
            self._set_timer(self.linger_seconds)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self.transport.close)


class BoundedServer(uvicorn.Server):
    """uvicorn's server with a connection limit.

    Both of dockd's servers are one of these::

        server = BoundedServer(app, incidents, most_connections=64, protocol=PeerProtocol)
        await server.serve(sockets=[listener])  # until ``should_exit`` is set

    The listener is a bound stream socket, TCP or Unix, which the server takes over. Signals
    are left to the caller.
    """

    def __init__(
        self,
        app: ASGIApp,
        incidents: Incidents,
        *,
        most_connections: int,
        most_from_one: int | None = None,
        protocol: type[BoundedProtocol] = BoundedProtocol,
        tls: ssl.SSLContext | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        """Make a server; nothing listens yet.

        Args:
            app: the application.
            incidents: where refused connections are reported.
            most_connections: the limit of open connections, from accept to close and including
                TLS handshakes; further ones are closed unread.
            most_from_one: the limit for one address; with it, idle connections make way for new
                ones. None: no limit for one address, and existing connections stay.
            protocol: the protocol class.
            tls: the TLS settings, if any.
            grace_seconds: how long requests may take to end after ``should_exit`` was set.
        """
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                # A request may outlast its connection; uvicorn refuses requests at this limit.
                limit_concurrency=most_connections + 1,
                timeout_graceful_shutdown=grace_seconds,
            )
        )
        self._incidents = incidents
        self._most = most_connections
        self._most_from_one = most_from_one
        self._protocol = protocol
        self.tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; uvicorn itself has no limit for connections and handshakes."""
        self.servers = [await self._listen(listener) for listener in sockets or ()]
        self.started = True

    async def _listen(self, listener: socket.socket) -> asyncio.Server:
        seconds = None if self.tls is None else HANDSHAKE_SECONDS
        bounded = _BoundedListener(listener, self._most, self._most_from_one, self._incidents)

        def make() -> BoundedProtocol:
            protocol = self._protocol(self.config, self.server_state, {})
            protocol.made = bounded.protocols
            return protocol

        return await asyncio.get_running_loop().create_server(
            make,
            sock=bounded,
            ssl=self.tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=seconds,
            ssl_shutdown_timeout=seconds,
        )


class _BoundedListener(socket.socket):
    """A listener that counts its connections, and closes those beyond the limit."""

    def __init__(
        self, listener: socket.socket, most: int, most_from_one: int | None, incidents: Incidents
    ) -> None:
        super().__init__(listener.family, listener.type, listener.proto, listener.detach())
        self._most = most
        self._most_from_one = most_from_one
        self._connections: weakref.WeakKeyDictionary[socket.socket, str] = (
            weakref.WeakKeyDictionary()
        )
        """Each with its client's address."""
        self.protocols: dict[BoundedProtocol, None] = {}
        """Their protocols, oldest first, once a handshake is complete."""
        self._incidents = incidents.scope("connections", str(self.getsockname()))

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            ConnectionAbortedError: the limit was reached; asyncio continues.
        """
        connection, address = super().accept()
        host = network(str(address[0]) if isinstance(address, tuple) else "")
        # Connections that asyncio has finished with are closed, used or not.
        count = Counter(at for known, at in self._connections.items() if known.fileno() != -1)
        total, own = count.total(), count[host]
        if not self._has_room(total, own, host, count):
            connection.close()
            crowds = ", ".join(f"{many} from {who}" for who, many in count.most_common(3))
            error = CrowdedError(
                f"{total} are open, {crowds}; a new one from {host} was closed",
                hint="check who connects (ss -tn); the receiver's limit is listen.max_connections",
            )
            self._incidents.failed(events.connections_refused(), error)
            raise ConnectionAbortedError
        if total <= self._most // 2:
            self._incidents.recovered(events.connections_refused)
        self._connections[connection] = host
        return connection, address

    def _has_room(self, total: int, own: int, host: str, count: Counter[str]) -> bool:
        if self._most_from_one is not None and own >= self._most_from_one:
            return self._make_room(host)
        if total < self._most:
            return True
        return self._most_from_one is not None and any(
            self._make_room(crowd) for crowd, _ in count.most_common()
        )

    def _make_room(self, host: str) -> bool:
        """Drop the oldest idle connection from an address, if there is one.

        Otherwise, drop one whose TLS handshake is incomplete.
        """
        spoken = {protocol.descriptor: protocol for protocol in self.protocols}
        own = [known for known, at in self._connections.items() if at == host]
        for connection in own:
            protocol = spoken.get(connection.fileno())
            if protocol is not None and protocol.is_idle:
                del self.protocols[protocol], self._connections[connection]
                protocol.drop()
                return True
        for connection in own:
            if connection.fileno() != -1 and connection.fileno() not in spoken:
                del self._connections[connection]
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # which asyncio notices, and closes
                return True
        return False


def network(host: str) -> str:
    """Return the addresses one client may use: its IPv4 address, or its IPv6 /64 network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address), 64), strict=False))
