import errno
import hashlib
import mmap
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dockd.host.files import READ_BLOCK, Files, has_writer, read_fd_from_disk, read_from_disk
from tests.support import fill, open_descriptors, small_disk

FILES = Files()


class Recording(Files):
    """Notes the durable steps, and fails at one of them."""

    def __init__(self, fail_at: str = "") -> None:
        self.steps: list[str] = []
        self._fail_at = fail_at

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self._fail_at:
            raise OSError(errno.EIO, "Input/output error")

    def write(self, fd: int, data: bytes | memoryview) -> None:
        self._step("write")
        super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._step("fsync")
        super().fsync(fd)

    def fsync_folder(self, folder: Path) -> None:
        self._step(f"fsync {folder.name}")
        super().fsync_folder(folder)

    def publish(self, part: Path, final: Path) -> None:
        self._step("publish")
        super().publish(part, final)


def test_a_file_is_created_for_its_owner_alone_and_never_replaced(tmp_path: Path) -> None:
    fd = FILES.create(tmp_path / "part")
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(FileExistsError):
        FILES.create(tmp_path / "part")


def test_all_bytes_are_written_even_where_the_system_takes_a_few_at_a_time() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    data = os.urandom(1 << 20)
    with subprocess.Popen(["sha256sum"], stdin=reader, stdout=subprocess.PIPE) as sink:
        os.close(reader)
        FILES.write(writer, memoryview(data))
        os.close(writer)
        printed, _ = sink.communicate()
    assert printed.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_buffers_are_written_one_after_the_other_at_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("r+b") as file:
        assert FILES.write_at(file.fileno(), [b"ab", b"", memoryview(b"cd")], 3) == 4
    assert path.read_bytes() == b"012abcd789"


def test_folders_are_made_durable_one_by_one(tmp_path: Path) -> None:
    files = Recording()
    files.make_folder(tmp_path / "a" / "b" / "c")
    assert files.steps == [f"fsync {tmp_path.name}", "fsync a", "fsync b"]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    files.make_folder(tmp_path / "a" / "b")
    assert len(files.steps) == 3


def test_publishing_renames_and_makes_both_folders_durable(tmp_path: Path) -> None:
    files = Recording()
    (tmp_path / "staging").mkdir()
    (tmp_path / "final").mkdir()
    part = tmp_path / "staging" / "x.part"
    part.write_bytes(b"data")
    files.publish(part, tmp_path / "final" / "x")
    assert (tmp_path / "final" / "x").read_bytes() == b"data"
    assert not part.exists()
    assert files.steps == ["publish", "fsync final", "fsync staging"]


def test_a_small_file_is_durable_before_it_has_its_name(tmp_path: Path) -> None:
    files = Recording()
    files.publish_bytes(b"data", tmp_path / "x")
    assert files.steps == ["write", "fsync", "publish", f"fsync {tmp_path.name}"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("step", ["write", "fsync", "publish"])
def test_a_small_file_that_cannot_be_written_is_not_there_at_all(tmp_path: Path, step: str) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (tmp_path / "x").write_bytes(b"old")
    before = open_descriptors()
    with pytest.raises(OSError, match="Input/output"):
        Recording(step).publish_bytes(b"new", tmp_path / "x", staging=staging)
    assert (tmp_path / "x").read_bytes() == b"old"
    assert list(staging.iterdir()) == []
    assert open_descriptors() == before


def test_a_small_file_on_a_full_disk_is_not_there_at_all(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="64k") as disk:
        filler = fill(disk)
        with pytest.raises(OSError, match="No space"):
            FILES.publish_bytes(bytes(5000), disk / "x")
        assert list(disk.iterdir()) == [filler]


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    FILES.remove(tmp_path / "x")
    FILES.remove(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_free_bytes_are_those_of_the_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="1m") as disk:
        assert FILES.free_bytes(disk) == 1 << 20
        (disk / "x").write_bytes(bytes(1 << 19))
        assert FILES.free_bytes(disk) == 1 << 19


# Reading past the page cache


@pytest.mark.parametrize(
    "size", [0, 1, 511, 512, 4095, 4096, 4097, READ_BLOCK - 1, READ_BLOCK, 3 * READ_BLOCK + 77]
)
def test_all_bytes_are_read_from_the_disk(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    before = open_descriptors()
    assert b"".join(map(bytes, read_from_disk(path))) == data
    assert open_descriptors() == before
    with path.open("rb") as file:
        assert b"".join(map(bytes, read_fd_from_disk(file.fileno()))) == data


def test_a_file_in_memory_is_read_as_well(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="4m") as disk:
        data = os.urandom(READ_BLOCK + 5)
        (disk / "file").write_bytes(data)
        assert b"".join(map(bytes, read_from_disk(disk / "file"))) == data


def cached_pages(path: Path) -> int:
    """How many of a file's pages are in memory, as fincore(1) says."""
    command = ["fincore", "--bytes", "--noheadings", "--output", "PAGES", str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(shutil.which("fincore") is None, reason="fincore(1) is not installed")
def test_reading_from_the_disk_is_not_answered_by_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(4 * READ_BLOCK))
    os.sync()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached_pages(path):
        pytest.skip("this file system keeps its pages")
    for _ in read_from_disk(path):
        pass
    assert cached_pages(path) == 0


def test_writing_still_in_memory_is_seen_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(READ_BLOCK))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[10:14] = b"edit"
        assert b"edit" in b"".join(map(bytes, read_from_disk(path)))


def test_a_reading_that_is_given_up_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * READ_BLOCK))
    before = open_descriptors()
    reading = read_from_disk(tmp_path / "file")
    view = next(reading)
    del reading
    assert len(view) == READ_BLOCK
    assert open_descriptors() == before


def test_a_link_is_not_followed_to_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="symbolic links"):
        list(read_from_disk(tmp_path / "link"))


# Writers


def test_a_file_that_nobody_has_open_for_writing_has_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with path.open("rb") as other, path.open("rb") as file:
        assert has_writer(file.fileno()) is False
        assert not other.closed


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_file_that_somebody_has_open_for_writing_has_a_writer(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with path.open("rb") as file:
        with path.open(mode):
            assert has_writer(file.fileno()) is True
        assert has_writer(file.fileno()) is False


def test_where_there_are_no_leases_nobody_can_tell() -> None:
    reader, writer = os.pipe()
    assert has_writer(reader) is None
    os.close(reader)
    os.close(writer)


WRITER_COMES_MEANWHILE = """
import fcntl, os, signal, sys
from dockd.host import files

def asked(fd, command, argument=0, fcntl_itself=fcntl.fcntl):
    answer = fcntl_itself(fd, command, argument)
    if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
        try:
            os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
        except BlockingIOError:
            print("a writer came")
    return answer

fcntl.fcntl = asked
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO, signal.SIGURG})
files.has_writer(os.open(sys.argv[1], os.O_RDONLY))
print("alive")
"""


def test_a_writer_that_comes_while_it_is_asked_for_does_not_kill_the_process(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    run = subprocess.run(
        [sys.executable, "-c", WRITER_COMES_MEANWHILE, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.splitlines() == ["a writer came", "alive"], run.returncode


@pytest.mark.parametrize(
    "act",
    [
        lambda fd: FILES.unlink_at(fd, b"old"),
        lambda fd: FILES.rename_at(fd, b"old", b"new"),
    ],
)
def test_names_are_changed_in_the_open_folder_and_nowhere_else(
    tmp_path: Path, act: Callable[[int], None]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_bytes(b"inside")
    (tmp_path / "old").write_bytes(b"outside")
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    folder.rename(tmp_path / "moved")
    act(fd)
    os.close(fd)
    assert not (tmp_path / "moved" / "old").exists()
    assert (tmp_path / "old").read_bytes() == b"outside"
