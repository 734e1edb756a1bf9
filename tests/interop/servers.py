"""Other people's tus servers as processes, and a relay before them that breaks connections."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pytest

from tests.fetching import alone, npm_ci

HERE = Path(__file__).parent
PROGRAMS = HERE.parents[1] / ".cache" / "bin"
HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that a server may take to start."""

Command = Callable[[int, Path], Sequence[str]]
"""Says how a server is started, given its port and the folder of its uploads."""


def tusd() -> Command:
    """Build tusd as tests/interop/tusd/go.mod pins it, and say how to start it."""
    _require("go")
    with alone("go"):
        subprocess.run(
            ["go", "install", "-buildvcs=false", "github.com/tus/tusd/v2/cmd/tusd"],
            cwd=HERE / "tusd",
            env=os.environ | {"GOBIN": str(PROGRAMS)},
            check=True,
        )
    return lambda port, folder: [
        str(PROGRAMS / "tusd"),
        *("-host", HOST),
        *("-port", str(port)),
        *("-base-path", "/files/"),
        *("-upload-dir", str(folder)),
    ]


def tus_node_server() -> Command:
    """Install @tus/server as its lock file pins it, and say how to start it."""
    _require("npm")
    home = HERE / "tus_node_server"
    npm_ci(home)
    return lambda port, folder: ["node", str(home / "server.mjs"), str(port), str(folder)]


def _require(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


class TusServer:
    """A tus server at one port, which can be killed and started again."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        with socket.create_server((HOST, 0)) as free:
            self.port: int = free.getsockname()[1]
        self._command = command(self.port, folder)
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Remove everything that it has stored."""
        for path in self.folder.iterdir():
            path.unlink()

    def uploads(self) -> list[Path]:
        """Return the files of its uploads, begun or whole."""
        return [path for path in self.folder.iterdir() if path.suffix == ""]

    def _answers(self) -> bool:
        with contextlib.suppress(ConnectionError), socket.create_connection((HOST, self.port)):
            return True
        return False


class Relay:
    """Passes connections on to a server, and breaks them where it is told to."""

    def __init__(self, upstream: int) -> None:
        self.passed = 0
        """Bytes that went to the server, over all connections."""
        self.breaks: deque[tuple[int, Callable[[], object]]] = deque()
        """Once so many bytes have passed: what is done, before the connection is closed."""
        self._upstream = upstream
        self._listener = socket.create_server((HOST, 0))
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """The address at which the server seems to be."""
        return f"http://{HOST}:{self._listener.getsockname()[1]}/"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((HOST, self._upstream))
        except ConnectionError:
            _close(client)
            return
        self._start(self._answer, server, client)
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
                self.passed += len(data)
                if self.breaks and self.passed >= self.breaks[0][0]:
                    self.breaks.popleft()[1]()
                    break
        _close(client, server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
        _close(client, server)


def _close(*connections: socket.socket) -> None:
    """Close connections, so that a thread that still waits for one of them wakes up."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
