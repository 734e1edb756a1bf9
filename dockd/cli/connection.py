"""Shared by commands that query the daemon: its address, and following its status."""

import argparse
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dockd.base.errors import ControlError
from dockd.cli.parser import DEFAULT_CONFIG, Parser, add_file
from dockd.station.control.client import Client, socket_path
from dockd.station.control.views import Status, Verdict

EXITS = {
    69: "the daemon is not running, or does not respond",
    75: "the command is pending until the ledger responds",
    76: "incompatible daemon version",
    77: "access to the control socket is denied: join the group dockd",
}
"""Exit codes of every command that queries the daemon."""
VERDICTS = {Verdict.WELL: 0, Verdict.WORKING: 10, Verdict.NEEDS_PERSON: 20}
"""The exit code for each verdict."""
_TICK_SECONDS = 1.0
_RECONNECT_SECONDS = 1.0


def add_options(parser: Parser) -> None:
    """Add the options for the daemon's address."""
    add_file(parser, "--socket", metavar="PATH", help="the daemon's control socket")
    add_file(
        parser,
        "--config",
        metavar="FILE",
        help=f"the configuration that names the socket; default: {DEFAULT_CONFIG}",
    )


def connect(options: argparse.Namespace) -> Client:
    """Return a client of the daemon that the options name."""
    socket: Path | None = options.socket
    config: Path | None = options.config
    if socket is None:
        socket = socket_path(config or DEFAULT_CONFIG, is_required=config is not None)
    return Client(socket)


@dataclass(frozen=True)
class Lost:
    """The daemon is unreachable; reconnecting."""

    error: ControlError


Update = Status | Lost | None
"""What is new; None: nothing was new for a second."""


def follow(client: Client) -> Iterator[Update]:
    """Yield the newest status indefinitely, the current one first; skips outdated ones."""
    reader = _Reader(client)
    reader.start()
    try:
        while reader.is_alive():
            yield reader.take(_TICK_SECONDS)
    finally:
        reader.stop()
    raise ControlError("the connection's thread ended")


class _Reader(threading.Thread):
    """Reads events independently of how fast the terminal shows them."""

    def __init__(self, client: Client) -> None:
        super().__init__(name="events", daemon=True)
        self._client = client
        self._newest: Status | Lost | None = None
        self._fresh = threading.Event()
        self._stopped = threading.Event()

    def take(self, seconds: float) -> Update:
        """Return what is new, after waiting at most ``seconds`` for it."""
        if not self._fresh.wait(seconds):
            return None
        self._fresh.clear()
        return self._newest

    def stop(self) -> None:
        """Stop at the next event."""
        self._stopped.set()

    def run(self) -> None:
        """Follow the daemon through its restarts."""
        while not self._stopped.is_set():
            try:
                for status in self._client.events():
                    self._put(status)
                    if self._stopped.is_set():
                        return
                self._put(Lost(ControlError("the daemon closed the connection")))
            except ControlError as error:
                self._put(Lost(error))
            self._stopped.wait(_RECONNECT_SECONDS)

    def _put(self, update: Status | Lost) -> None:
        self._newest = update
        self._fresh.set()
