"""What the receiver and the daemon's own API share of serving HTTP/1.1 with uvicorn."""

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 128 * 1024
"""Bytes that may arrive without a message, its headers or its body getting further."""


class SignalFreeServer(uvicorn.Server):
    """uvicorn's server, which leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on what a client may make it remember or wait for.

    By itself, it takes headers of any size at any pace.
    """

    head_seconds = 10.0
    """How long a request's headers may take, and a new connection before the first."""
    linger_seconds = 10.0
    """How long the rest of a body is read and dropped after its request was refused."""

    _unused = 0
    _timer: asyncio.TimerHandle | None = None
    _in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Expect a request."""
        super().connection_made(transport)
        self._set_timer(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._set_timer(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and end a connection whose bytes lead nowhere."""
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
        """Hand on a piece of the body."""
        self._unused = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next request, if any."""
        self._unused = 0
        self._in_message = False
        self._set_timer(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give a client that was answered early some time to notice."""
        super().on_response_complete()
        if self._in_message and self.cycle.response_complete:
            self._set_timer(self.linger_seconds)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self.transport.close)
