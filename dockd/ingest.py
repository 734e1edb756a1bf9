"""Reads a clip once: the plaintext's digest, the age ciphertext, the ciphertext's digest.

Two threads share the work where two cores are free: one reads and digests the plaintext,
the other seals, digests the ciphertext and writes. All of it happens in C code that
releases the GIL, on buffers that are allocated once per clip.
"""

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from dockd.age import CHUNK, TAG, Recipient, Sealer
from dockd.errors import ClipChangedError
from dockd.manifest import Content
from dockd.model import FileStat

BLOCK = 4 * CHUNK
"""Bytes read, sealed and written at a time."""
_BUFFERS = 4

Write = Callable[[memoryview], None]
Progress = Callable[[int], None]

_Block = tuple[memoryview, int]
"""A buffer, and how many of its bytes are filled."""
_Free = queue.SimpleQueue[memoryview | None]
"""Buffers that may be filled; None ends the reading."""


class IngestCancelledError(Exception):
    """The daemon is stopping."""


@dataclass(frozen=True)
class Ingested:
    """What one reading made of a file."""

    stat: FileStat
    plaintext: Content
    ciphertext: Content


def ingest(
    source: int,
    write: Write,
    recipients: Sequence[Recipient],
    *,
    threads: int = 2,
    cancelled: threading.Event | None = None,
    progress: Progress | None = None,
) -> Ingested:
    """Seal a file under a fresh file key while digesting both sides of it; blocks.

    Args:
        source: descriptor of the plaintext, at its start.
        write: takes the ciphertext, block by block; a block is valid during the call only.
        recipients: who may open it.
        threads: 2 reads and digests the plaintext on a second thread, 1 does it on this one.
        cancelled: breaks the ingest off when set.
        progress: is told the bytes of plaintext sealed so far.

    Raises:
        ClipChangedError: the file changed while it was read.
        IngestCancelledError: ``cancelled`` was set.
        OSError: the source could not be read, or ``write`` failed.
    """
    before = FileStat.of(os.fstat(source))
    plaintext = hashlib.sha256()
    free: _Free = queue.SimpleQueue()
    for _ in range(_BUFFERS):
        free.put(memoryview(bytearray(BLOCK)))
    sealing = _Sealing(Sealer(recipients), write)
    blocks = _read(source, plaintext.update, free)
    with closing(blocks if threads == 1 else _on_a_thread(blocks, free)) as reading:
        # One block is held back: only the end of the file tells which one is final.
        held: _Block | None = None
        for block in reading:
            if cancelled is not None and cancelled.is_set():
                raise IngestCancelledError
            if sealing.size > before.size:
                # It grows: to wait for its end could take more than there is room for.
                break
            if held is not None:
                sealing.add(held, final=False)
                free.put(held[0])
                if progress is not None:
                    progress(sealing.size)
            held = block
        sealing.add(held or (memoryview(b""), 0), final=True)
    if FileStat.of(os.fstat(source)) != before or sealing.size != before.size:
        raise ClipChangedError(
            f"it had {before.size} bytes when reading began, and {sealing.size} were read",
            hint="dockd reads it again once it rests",
        )
    read = Content(sha256=plaintext.hexdigest(), size=sealing.size)
    return Ingested(before, read, sealing.written())


class _Sealing:
    """Seals blocks one after the other and digests what comes out."""

    def __init__(self, sealer: Sealer, write: Write) -> None:
        self.size = 0
        self._sealer = sealer
        self._write = write
        self._digest = hashlib.sha256()
        self._written = 0
        self._out = memoryview(bytearray(BLOCK + BLOCK // CHUNK * TAG))
        self._put(memoryview(sealer.prologue))

    def add(self, block: _Block, *, final: bool) -> None:
        buffer, count = block
        self._put(self._out[: self._sealer.seal_into(buffer[:count], self._out, final=final)])
        self.size += count

    def _put(self, sealed: memoryview) -> None:
        self._digest.update(sealed)
        self._write(sealed)
        self._written += len(sealed)

    def written(self) -> Content:
        return Content(sha256=self._digest.hexdigest(), size=self._written)


def _read(source: int, digest: Write, free: _Free) -> Generator[_Block]:
    """Fill free buffers from a file and digest them; only the last may be filled in part."""
    while (buffer := free.get()) is not None:
        count = 0
        while count < BLOCK and (got := os.readv(source, [buffer[count:]])):
            count += got
        if count:
            digest(buffer[:count])
            yield buffer, count
        if count < BLOCK:
            return


def _on_a_thread(blocks: Generator[_Block], free: _Free) -> Generator[_Block]:
    """Run a reading on a thread of its own, ahead of its consumer."""
    full: queue.SimpleQueue[_Block | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            for block in blocks:
                full.put(block)
            full.put(None)
        except BaseException as error:  # noqa: BLE001  # handed over, and raised there
            full.put(error)

    thread = threading.Thread(target=run, name="ingest-read")
    thread.start()
    try:
        while (item := full.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        free.put(None)
        thread.join()
