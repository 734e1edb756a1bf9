import contextlib
import errno
import io
import os
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockd.base.errors import AgeError, AgeNoMatchError, AgePayloadError, UsageError
from dockd.evidence.age import CHUNK, X25519Identity, decrypt_file
from dockd.host.files import Files
from tests.evidence.age.support import plaintext_of, seal

IDENTITY = X25519Identity.generate()
PLAINTEXT = plaintext_of(3 * CHUNK + 100)
SEALED = seal(PLAINTEXT, [IDENTITY.recipient])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "clip.age"
    path.write_bytes(SEALED)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def pipe_fed_by(folder: Path, feed: Callable[[io.BufferedWriter], object]) -> Iterator[Path]:
    """A named pipe that a thread writes to."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        # A reader that gave up closes its end.
        with contextlib.suppress(BrokenPipeError), pipe.open("wb") as writer:
            feed(writer)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield pipe
    finally:
        thread.join()


def test_a_file_is_decrypted_to_a_path_of_mode_0600(source: Path, folder: Path) -> None:
    decrypt_file(source, folder / "clip.mp4", [IDENTITY])

    assert (folder / "clip.mp4").read_bytes() == PLAINTEXT
    assert stat.S_IMODE((folder / "clip.mp4").stat().st_mode) == 0o600
    assert names_in(folder) == ["clip.mp4"]


def test_a_file_is_decrypted_to_a_stream(source: Path) -> None:
    output = io.BytesIO()

    decrypt_file(source, output, [IDENTITY])

    assert output.getvalue() == PLAINTEXT


def test_a_pipe_is_decrypted_to_a_path_and_to_a_stream(tmp_path: Path, folder: Path) -> None:
    with pipe_fed_by(tmp_path, lambda writer: writer.write(SEALED)) as pipe:
        decrypt_file(pipe, folder / "clip.mp4", [IDENTITY])
    (tmp_path / "pipe").unlink()
    output = io.BytesIO()
    with pipe_fed_by(tmp_path, lambda writer: writer.write(SEALED)) as pipe:
        decrypt_file(pipe, output, [IDENTITY])

    assert (folder / "clip.mp4").read_bytes() == output.getvalue() == PLAINTEXT


DAMAGED = [
    (SEALED[:-1], AgePayloadError),
    (SEALED[: -100 - 16], AgePayloadError),
    (SEALED + b"\0", AgePayloadError),
    (SEALED[:-1] + bytes([SEALED[-1] ^ 1]), AgePayloadError),
    (seal(PLAINTEXT, [X25519Identity.generate().recipient]), AgeNoMatchError),
]


@pytest.mark.parametrize(("sealed", "error"), DAMAGED)
def test_a_damaged_file_leaves_nothing_behind(
    source: Path, folder: Path, sealed: bytes, error: type[AgeError]
) -> None:
    source.write_bytes(sealed)

    with pytest.raises(error):
        decrypt_file(source, folder / "clip.mp4", [IDENTITY])

    assert not names_in(folder)


@pytest.mark.parametrize(("sealed", "error"), DAMAGED)
def test_a_damaged_file_gives_a_stream_not_a_byte(
    source: Path, sealed: bytes, error: type[AgeError]
) -> None:
    source.write_bytes(sealed)
    output = io.BytesIO()

    with pytest.raises(error):
        decrypt_file(source, output, [IDENTITY])

    assert not output.getvalue()


@pytest.mark.parametrize(("sealed", "error"), DAMAGED)
def test_a_damaged_file_from_a_pipe_gives_a_stream_not_a_byte(
    tmp_path: Path, sealed: bytes, error: type[AgeError]
) -> None:
    output = io.BytesIO()

    with (
        pipe_fed_by(tmp_path, lambda writer: writer.write(sealed)) as pipe,
        pytest.raises(error),
    ):
        decrypt_file(pipe, output, [IDENTITY])

    assert not output.getvalue()


def test_an_output_that_exists_is_never_overwritten(source: Path, folder: Path) -> None:
    output = folder / "clip.mp4"
    output.write_text("somebody's")
    link = folder / "link"
    link.symlink_to(folder / "nowhere")
    # It is said at once, not after hours of reading up to the damage.
    source.write_bytes(SEALED[:-1])

    for taken in (output, link):
        with pytest.raises(UsageError, match="exists already") as caught:
            decrypt_file(source, taken, [IDENTITY])
        assert caught.value.hint

    assert output.read_text() == "somebody's"
    assert names_in(folder) == ["clip.mp4", "link"]


def test_an_output_that_comes_up_meanwhile_is_not_overwritten(tmp_path: Path, folder: Path) -> None:
    output = folder / "clip.mp4"

    def feed(writer: io.BufferedWriter) -> None:
        # More than a pipe holds: once it is written, decryption is under way.
        writer.write(SEALED[: 2 * CHUNK])
        writer.flush()
        output.write_text("somebody's")
        writer.write(SEALED[2 * CHUNK :])

    with pipe_fed_by(tmp_path, feed) as pipe, pytest.raises(UsageError, match="exists already"):
        decrypt_file(pipe, output, [IDENTITY])

    assert output.read_text() == "somebody's"
    assert names_in(folder) == ["clip.mp4"]


def test_a_disk_that_takes_no_more_leaves_nothing_behind(source: Path, folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            decrypt_file(source, folder / "clip.mp4", [IDENTITY])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not names_in(folder)


class FilesThatCannotPublish(Files):
    """Fails before the file has its name, or after."""

    def __init__(self, *, renamed: bool) -> None:
        self._renamed = renamed

    def publish(self, part: Path, final: Path) -> None:
        if self._renamed:
            super().publish(part, final)
        raise OSError(errno.EIO, "the folder can't be synced")


@pytest.mark.parametrize("renamed", [False, True])
def test_a_name_that_is_not_durable_leaves_nothing_behind(
    source: Path, folder: Path, renamed: bool
) -> None:
    files = FilesThatCannotPublish(renamed=renamed)

    with pytest.raises(OSError, match="synced"):
        decrypt_file(source, folder / "clip.mp4", [IDENTITY], files=files)

    assert not names_in(folder)


def test_a_folder_that_is_missing_is_an_os_error(source: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decrypt_file(source, folder / "missing" / "clip.mp4", [IDENTITY])
