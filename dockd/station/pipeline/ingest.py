"""Reads a clip once: the plaintext's digest, the age ciphertext, the ciphertext's digest.

Where two cores are free, threads share the work: one reads and digests the plaintext, the
caller's thread seals and digests the ciphertext, one writes. All of it runs in C code that
releases the GIL, on buffers that are allocated once per clip.
"""

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from dockd.base.errors import ClipChangedError
from dockd.base.threads import Thread, start
from dockd.evidence.age import CHUNK, TAG, Recipient, Sealer
from dockd.evidence.statements import Content
from dockd.station.model import FileStat

CHANGES = "find the process that writes to it; dockd reads it again once it is unchanged"
"""Hint for a file that changes while it is read."""
BLOCK = 4 * CHUNK
"""Bytes read, sealed and written at a time."""
_BUFFERS = 4
_SEALED = BLOCK + BLOCK // CHUNK * TAG
"""Bytes of a block, sealed."""

Write = Callable[[memoryview], None]
Progress = Callable[[int], None]

_Block = tuple[memoryview, int]
"""A buffer, and how many of its bytes are filled."""
_Free = queue.SimpleQueue[memoryview | None]
"""Buffers that may be filled; None ends the reader."""


class IngestCancelledError(Exception):
    """The daemon is shutting down."""


@dataclass(frozen=True)
class Ingested:
    """The result of one reading of a file."""

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
        recipients: the age public keys to encrypt to.
        threads: 2 reads and digests the plaintext, and writes, on threads beside the sealing,
            which keeps two cores busy; 1 does everything on this thread.
        cancelled: aborts the ingest when set.
        progress: takes the bytes of plaintext sealed so far.

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
    blocks = _read(source, plaintext.update, free)
    sealer = Sealer(recipients)
    write(memoryview(sealer.prologue))
    with (
        closing(_Sink(write, on_a_thread=threads > 1)) as sink,
        closing(blocks if threads == 1 else _on_a_thread(blocks, free)) as reading,
    ):
        sealing = _Sealing(sealer, sink)
        # One block is held back: only the end of the file shows which one is final.
        held: _Block | None = None
        for block in reading:
            if cancelled is not None and cancelled.is_set():
                raise IngestCancelledError
            if sealing.size > before.size:
                # The file grows: reading to its end could exceed the reserved room.
                break
            if held is not None:
                sealing.add(held, final=False)
                free.put(held[0])
                if progress is not None:
                    progress(sealing.size)
            held = block
        sealing.add(held or (memoryview(b""), 0), final=True)
    sink.check()
    if FileStat.of(os.fstat(source)) != before or sealing.size != before.size:
        raise ClipChangedError(
            f"it had {before.size} bytes when reading began, and {sealing.size} bytes were read",
            hint=CHANGES,
        )
    read = Content(sha256=plaintext.hexdigest(), size=sealing.size)
    return Ingested(before, read, sealing.written())


class _Sealing:
    """Seals blocks one after the other, and digests the prologue and the sealed blocks."""

    def __init__(self, sealer: Sealer, sink: "_Sink") -> None:
        self.size = 0
        self._sealer = sealer
        self._sink = sink
        self._digest = hashlib.sha256(sealer.prologue)
        self._written = len(sealer.prologue)

    def add(self, block: _Block, *, final: bool) -> None:
        buffer, count = block
        out = self._sink.free.get()
        sealed = self._sealer.seal_into(buffer[:count], out, final=final)
        self._digest.update(out[:sealed])
        self._sink.put((out, sealed))
        self.size += count
        self._written += sealed

    def written(self) -> Content:
        return Content(sha256=self._digest.hexdigest(), size=self._written)


class _Sink:
    """Writes sealed blocks; on its own thread, one block while the next is being sealed."""

    def __init__(self, write: Write, *, on_a_thread: bool) -> None:
        self.free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        """Buffers to seal into; the taker puts them back filled, with ``put``."""
        self._write = write
        self._full: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread: Thread | None = None
        for _ in range(2 if on_a_thread else 1):
            self.free.put(memoryview(bytearray(_SEALED)))
        if on_a_thread:
            self._thread = start(self._run, "ingest-write")

    def put(self, block: _Block) -> None:
        """Write a block; raises the error of an earlier write, or of this one."""
        if self._thread is None:
            self._write_one(block)
        else:
            self._full.put(block)
        self.check()

    def close(self) -> None:
        """Wait until all blocks are written, or have failed."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()

    def check(self) -> None:
        """Raise the error of a failed write, if there is one."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (block := self._full.get()) is not None:
            self._write_one(block)

    def _write_one(self, block: _Block) -> None:
        buffer, count = block
        if self._error is None:
            try:
                self._write(buffer[:count])
            except BaseException as error:  # noqa: BLE001  # raised where blocks are put
                self._error = error
        self.free.put(buffer)


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
    """Run a reader on its own thread, ahead of its consumer."""
    full: queue.SimpleQueue[_Block | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            for block in blocks:
                full.put(block)
            full.put(None)
        except BaseException as error:  # noqa: BLE001  # handed over, and raised there
            full.put(error)

    thread = start(run, "ingest-read")
    try:
        while (item := full.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        free.put(None)
        thread.join()
