"""What the moving of a byte costs at least: the steps that no implementation can leave out."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import fill
from dockd.evidence.age import CHUNK, TAG, Sealer, X25519Identity

_SIZE = 2**30
_BLOCK = 4 * CHUNK


@dataclass(frozen=True)
class Step:
    """One thing that is done to every byte."""

    what: str
    times: int
    """How often, on its way from the camera to a receipt."""
    cost: float
    """Nanoseconds of one core for a byte, each time."""


def measure(folder: Path) -> Sequence[Step]:
    """Time each step by itself, in CPU time, on buffers that stay in the cache.

    Args:
        folder: on the tmpfs that the comparisons use.
    """
    source, target = folder / "source", folder / "target"
    fill(source, _SIZE)
    buffer = memoryview(bytearray(os.urandom(_BLOCK)))
    steps = [
        Step("read a file (camera, spool, read-back)", 3, _cost(lambda: _read(source, buffer))),
        Step("SHA-256 (plaintext, ciphertext, read-back)", 3, _cost(lambda: _digest(buffer))),
        Step("seal", 1, _cost(lambda: _seal(buffer))),
        Step("write a new file (store)", 1, _cost(lambda: _write(target, buffer))),
        Step("write over a file (spool, at best)", 1, _cost(lambda: _write(target, buffer))),
        Step("send and receive on loopback", 1, _cost(lambda: _send(buffer))),
    ]
    source.unlink()
    target.unlink()
    return steps


def _cost(step: Callable[[], None]) -> float:
    began = time.process_time()
    step()
    return (time.process_time() - began) / _SIZE * 1e9


def _read(path: Path, buffer: memoryview) -> None:
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _digest(buffer: memoryview) -> None:
    digest = hashlib.sha256()
    for _ in range(_SIZE // _BLOCK):
        digest.update(buffer)


def _seal(buffer: memoryview) -> None:
    sealer = Sealer([X25519Identity.generate().recipient])
    sealed = memoryview(bytearray(_BLOCK + _BLOCK // CHUNK * TAG))
    for _ in range(_SIZE // _BLOCK):
        sealer.seal_into(buffer, sealed, final=False)


def _write(path: Path, buffer: memoryview) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(_SIZE // _BLOCK):
            os.write(fd, buffer)
    finally:
        os.close(fd)


def _send(buffer: memoryview) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()

    def send() -> None:
        with sender:
            for _ in range(_SIZE // _BLOCK):
                sender.sendall(buffer)

    thread = threading.Thread(target=send)
    thread.start()
    arrived = memoryview(bytearray(_BLOCK))
    with receiver:
        while receiver.recv_into(arrived):
            pass
    thread.join()
