import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockd.base.errors import ClipChangedError
from dockd.evidence.age import (
    CHUNK,
    HybridIdentity,
    Identity,
    X25519Identity,
    ciphertext_size,
    open_stream,
)
from dockd.evidence.statements import Content
from dockd.station.model import FileStat
from dockd.station.pipeline.ingest import BLOCK, IngestCancelledError, Ingested, Write, ingest
from tests.support import unreadable

ALICE, BOB = X25519Identity.generate(), X25519Identity.generate()
RECIPIENTS = [ALICE.recipient, BOB.recipient]
BUFFERED = 4 * BLOCK
"""Bytes that a reading is ahead, at most."""
EDGES = sorted(
    {
        max(0, size + around)
        for size in (0, CHUNK, BLOCK - CHUNK, BLOCK, 2 * BLOCK, BUFFERED, 5 * BLOCK + CHUNK)
        for around in (-1, 0, 1)
    }
)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(6 * BLOCK + 5))
    return path


def take(
    path: Path,
    write: Write = lambda block: None,
    *,
    threads: int = 2,
    cancelled: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ingested:
    with path.open("rb") as file:
        return ingest(
            file.fileno(),
            write,
            RECIPIENTS,
            threads=threads,
            cancelled=cancelled,
            progress=progress,
        )


def content(data: bytes) -> Content:
    return Content(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def opened(sealed: bytes, identity: Identity) -> bytes:
    return b"".join(open_stream(io.BytesIO(sealed), [identity]))


@pytest.mark.parametrize("size", EDGES)
def test_both_digests_are_right_and_every_recipient_opens_the_clip(
    tmp_path: Path, size: int, threads: int
) -> None:
    data = os.urandom(size)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    sealed = bytearray()
    ingested = take(path, sealed.extend, threads=threads)
    assert ingested.plaintext == content(data)
    assert ingested.ciphertext == content(bytes(sealed))
    assert ingested.stat == FileStat.of(path.stat())
    assert opened(bytes(sealed), ALICE) == opened(bytes(sealed), BOB) == data
    header_size = sealed.index(b"\n", sealed.index(b"\n--- ") + 1) + 1
    assert len(sealed) == ciphertext_size(size, header_size)


def test_post_quantum_recipients_are_sealed_to(clip: Path) -> None:
    identity = HybridIdentity.generate()
    sealed = bytearray()
    with clip.open("rb") as file:
        ingest(file.fileno(), sealed.extend, [identity.recipient])
    assert opened(bytes(sealed), identity) == clip.read_bytes()


def test_every_ingest_draws_a_key_of_its_own(clip: Path) -> None:
    first, second = take(clip), take(clip)
    assert first.plaintext == second.plaintext
    assert first.ciphertext.sha256 != second.ciphertext.sha256


def test_no_plaintext_is_written(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"a face, a number plate, " * 40_000)
    sealed = bytearray()
    take(path, sealed.extend, threads=threads)
    assert b"number plate" not in sealed


def test_progress_counts_up_to_what_is_held_back(clip: Path, threads: int) -> None:
    told: list[int] = []
    take(clip, threads=threads, progress=told.append)
    assert told == [BLOCK * number for number in range(1, 7)]


# A file that changes


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def shrink(path: Path) -> None:
    os.truncate(path, 3 * BLOCK)


def rewrite(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"edited")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [grow, shrink, rewrite])
def test_a_file_that_changes_while_it_is_read_is_noticed(
    clip: Path, threads: int, change: Callable[[Path], None]
) -> None:
    blocks = 0

    def write(block: memoryview) -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 2:
            change(clip)

    with pytest.raises(ClipChangedError):
        take(clip, write, threads=threads)


def test_a_file_that_grows_without_end_is_given_up_soon(clip: Path, threads: int) -> None:
    size = clip.stat().st_size
    written = 0

    def write(block: memoryview) -> None:
        nonlocal written
        written += len(block)
        with clip.open("ab") as file:
            file.write(bytes(2 * BLOCK))

    with pytest.raises(ClipChangedError):
        take(clip, write, threads=threads)
    assert written < size + 3 * BLOCK


# What goes wrong


@pytest.mark.parametrize("failing_block", [1, 2, 5])
def test_a_failing_write_is_raised(clip: Path, threads: int, failing_block: int) -> None:
    blocks = 0

    def write(block: memoryview) -> None:
        nonlocal blocks
        blocks += 1
        if blocks == failing_block:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        take(clip, write, threads=threads)
    assert blocks == failing_block


def test_a_cancellation_ends_it_within_a_block(clip: Path, threads: int) -> None:
    cancelled = threading.Event()
    told: list[int] = []

    def progress(done: int) -> None:
        told.append(done)
        cancelled.set()

    with pytest.raises(IngestCancelledError):
        take(clip, threads=threads, cancelled=cancelled, progress=progress)
    assert told == [BLOCK]


def test_a_cancellation_before_it_begins_seals_nothing(clip: Path, threads: int) -> None:
    cancelled = threading.Event()
    cancelled.set()
    sealed = bytearray()
    with pytest.raises(IngestCancelledError):
        take(clip, sealed.extend, threads=threads, cancelled=cancelled)
    assert len(sealed) < CHUNK


def test_a_file_that_cannot_be_read_is_the_systems_error(clip: Path, threads: int) -> None:
    with unreadable(clip), pytest.raises(OSError, match="Input/output error") as caught:
        take(clip, threads=threads)
    assert caught.value.errno == errno.EIO


def test_a_folder_cannot_be_ingested(tmp_path: Path, threads: int) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            ingest(fd, lambda block: None, RECIPIENTS, threads=threads)
    finally:
        os.close(fd)
