"""Listeners: a Unix socket for a group, and a port for the public app."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dockd.base.errors import ControlError
from dockd.base.randomness import Randomness
from dockd.base.web import BoundedProtocol

_MODE = 0o660
_UCRED = struct.Struct("3i")
"""The peer's pid, uid and gid, unix(7)."""


@dataclass(frozen=True)
class Listener:
    """A bound socket, and its address as text."""

    socket: socket.socket
    address: str


@contextlib.contextmanager
def unix_listener(path: Path, randomness: Randomness | None = None) -> Iterator[Listener]:
    """Listen on a socket file with mode 0660; replaces the socket of a dead daemon.

    The group is that of the process, or the folder's where its set-group-ID bit is set.

    Raises:
        ControlError: a living daemon has the path, or the folder can't be used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    aside = path.with_name(f".{(randomness or Randomness()).hex(4)}")
    try:
        _refuse_living(path)
        try:
            listener.bind(str(aside))
            # Nobody can connect before the mode is right: it listens later.
            aside.chmod(_MODE)
            own = aside.stat().st_ino
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        listener.close()
        raise ControlError(
            f"{path}: {error.strerror or error}", hint="check control.socket and its folder"
        ) from error
    try:
        yield Listener(listener, str(path))
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == own:
                path.unlink()


def _refuse_living(path: Path) -> None:
    """Make sure that no other process listens.

    Raises:
        OSError: somebody does.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
    raise OSError(None, "another dockd listens there")


@contextlib.contextmanager
def tcp_listener(host: str, port: int) -> Iterator[Listener]:
    """Listen on a port.

    Raises:
        ControlError: it can't be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ControlError(
            f"{host} port {port}: {error.strerror or error}", hint="check control.listen"
        ) from error
    with listener:
        name, port = (f"[{host}]" if ":" in host else host), listener.getsockname()[1]
        yield Listener(listener, f"http://{name}:{port}/")


class PeerProtocol(BoundedProtocol):
    """HTTP over a Unix socket; ``request.state.uid`` is the client's."""

    def on_message_begin(self) -> None:
        """Expect the headers, of a request by whoever has connected."""
        super().on_message_begin()
        self.scope["state"]["uid"] = _peer_uid(self)


def _peer_uid(protocol: HttpToolsProtocol) -> int:
    """Return the uid of the process at the other end of a Unix socket's connection."""
    connection: socket.socket = protocol.transport.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    return int(uid)
