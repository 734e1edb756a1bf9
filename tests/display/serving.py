"""Serves the pages of a status that a test sets."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.resources.abc import Traversable

import uvicorn
from starlette.applications import Starlette

from dockd.station.control import pages
from dockd.station.control.views import Status


class SetFeed:
    """A feed of whatever status was set last; lives on one event loop."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._changed = asyncio.Event()
        self._ended = False

    def set(self, status: Status) -> None:
        self._status = status
        self._wake()

    def end(self) -> None:
        """End every stream."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def current(self) -> Status:
        return self._status

    async def changes(self) -> AsyncIterator[Status]:
        while not self._ended:
            changed = self._changed
            yield self._status
            await changed.wait()


class Daemon:
    """The pages at one address; it can end and come back as the daemon does."""

    def __init__(
        self, status: Status, folder: Traversable, quiet_seconds: float, columns: int
    ) -> None:
        self.status = status
        self._columns = columns
        self._folder = folder
        self._quiet_seconds = quiet_seconds
        self._port = 0
        self._do: Callable[[Callable[[], object]], object] = lambda _: None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def show(self, status: Status) -> None:
        """Change the status."""
        self.status = status
        self._do(lambda: self._feed.set(status))

    def start(self) -> None:
        """Start it, at the same port as before, if any."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, started.set))
        )
        self._thread.start()
        started.wait()

    async def _serve(self, listener: socket.socket, started: Callable[[], None]) -> None:
        self._feed = SetFeed(self.status)
        routes = pages.routes(
            self._feed,
            columns=self._columns,
            folder=self._folder,
            quiet_seconds=self._quiet_seconds,
        )
        config = uvicorn.Config(Starlette(routes=routes), lifespan="off", log_config=None)
        self._server = uvicorn.Server(config)
        self._do = asyncio.get_running_loop().call_soon_threadsafe
        started()
        await self._server.serve(sockets=[listener])

    def stop(self) -> None:
        """End it."""

        def stop() -> None:
            self._server.should_exit = True
            self._feed.end()

        if self._thread is not None:
            self._do(stop)
            self._thread.join()
            self._thread = None


@contextlib.contextmanager
def serving(
    status: Status,
    folder: Traversable = pages.FOLDER,
    *,
    quiet_seconds: float = pages.QUIET_SECONDS,
    columns: int = 0,
) -> Iterator[Daemon]:
    """Serve the pages of a status."""
    daemon = Daemon(status, folder, quiet_seconds, columns)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
