"""File operations that survive power loss, as a seam where tests inject faults."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from dockd.base.randomness import Randomness

_libc = ctypes.CDLL(None, use_errno=True)
_RENAME_NOREPLACE = 1
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC

OWN_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK})
"""Errors that are not the file's: this process or machine lacks a resource."""
READ_BLOCK = 1 << 20
"""Bytes read at a time past the page cache; a multiple of any device's sector."""


class Files:
    """The disk operations of spool, receiver and wipe; every durable step is one method."""

    randomness = Randomness()
    """Where temporary names come from."""

    def __init__(self, randomness: Randomness | None = None) -> None:
        if randomness is not None:
            self.randomness = randomness

    def create(self, path: Path) -> int:
        """Create a file that must not exist, mode 0600, and return its descriptor."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        """Open an existing file for writing, no link, and return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def close(self, fd: int) -> None:
        """Close a file; network file systems and quotas may report an earlier failure here."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """Return a file's size in bytes."""
        return os.fstat(fd).st_size

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """Write all of the bytes at the descriptor's position."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def write_at(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        """Write all of the buffers at an offset and return how many bytes that was."""
        start = offset
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                written = os.pwrite(fd, view, offset)
                offset += written
                view = view[written:]
        return offset - start

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to a size."""
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        """Make a file's bytes and size durable."""
        os.fsync(fd)

    def fsync_folder(self, folder: Path) -> None:
        """Make a folder's names durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_folder(self, folder: Path) -> None:
        """Create a folder and its parents durably, where they are missing."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        self.fsync_folder(folder.parent)

    def publish(self, part: Path, final: Path) -> None:
        """Give a finished, fsynced part its final name, durably."""
        part.rename(final)
        self.fsync_folder(final.parent)
        if part.parent != final.parent:
            self.fsync_folder(part.parent)

    def publish_bytes(self, data: bytes, final: Path, *, staging: Path | None = None) -> None:
        """Write a small file durably, completely or not at all.

        A crash may leave a ``.part`` behind: in ``staging``, a folder of the same file
        system, or beside the file.
        """
        folder = staging or final.parent
        part = folder / f"{final.name}.{self.randomness.hex(4)}.part"
        fd = self.create(part)
        try:
            try:
                self.write(fd, data)
                self.fsync(fd)
            finally:
                self.close(fd)
            self.publish(part, final)
        except OSError:
            self.drop(part)
            raise

    def remove(self, path: Path) -> None:
        """Remove a file durably; a missing file is no error."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            self.fsync_folder(path.parent)

    def drop(self, path: Path) -> None:
        """Remove a file that a crash may bring back; one that is gone already is no error."""
        path.unlink(missing_ok=True)

    def unlink_at(self, folder_fd: int, name: bytes) -> None:
        """Remove a name from an open folder, durably."""
        os.unlink(name, dir_fd=folder_fd)
        os.fsync(folder_fd)

    def rename_at(
        self, folder_fd: int, name: bytes, new_name: bytes, *, durably: bool = True
    ) -> None:
        """Rename within an open folder, and replace nothing.

        Raises:
            FileExistsError: the new name is taken.
        """
        rename_new(folder_fd, name, new_name)
        if durably:
            os.fsync(folder_fd)

    def total_bytes(self, folder: Path) -> int:
        """Return the size of a folder's disk."""
        status = os.statvfs(folder)
        return status.f_blocks * status.f_frsize

    def free_bytes(self, folder: Path) -> int:
        """Return the free space for an unprivileged process, in bytes."""
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize


def rename_new(folder_fd: int, name: bytes, new_name: bytes) -> None:
    """Rename within an open folder, and replace nothing.

    vfat, exfat, ext4 and the other local file systems do that in one step. Where it is not
    supported (NFS, 9p, some FUSE ones, which return EINVAL), an empty file takes the new name
    first, which fails if the name is taken, and is then replaced.

    Raises:
        FileExistsError: the new name is taken.
        OSError: it could not be renamed.
    """
    if not _libc.renameat2(folder_fd, name, folder_fd, new_name, _RENAME_NOREPLACE):
        return
    number = ctypes.get_errno()
    if number not in {errno.EINVAL, errno.ENOSYS}:
        raise OSError(number, os.strerror(number), os.fsdecode(new_name))
    os.close(os.open(new_name, _NEW, 0o600, dir_fd=folder_fd))
    try:
        os.rename(name, new_name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except OSError:
        os.unlink(new_name, dir_fd=folder_fd)
        raise


def read_from_disk(path: Path) -> Iterator[memoryview]:
    """Yield a regular file's bytes as ``read_fd_from_disk`` does; a link is not followed.

    Raises:
        OSError: the disk's error.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield from read_fd_from_disk(fd)
    finally:
        os.close(fd)


def read_fd_from_disk(fd: int) -> Iterator[memoryview]:
    """Yield an open file's bytes from the disk, not from the page cache.

    Reads with ``O_DIRECT``; where the file system does not support it (tmpfs on older
    kernels, some FUSE ones) the cached pages are written back and dropped first. A view
    is valid until the next one is requested.

    Args:
        fd: open for reading, at the file's start.

    Raises:
        OSError: the disk's error.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    # An anonymous mapping is aligned to a page, as O_DIRECT asks of its buffers. It is not
    # closed by hand: the caller may still hold the last view of it.
    view = memoryview(mmap.mmap(-1, READ_BLOCK))
    while count := os.readv(fd, [view]):
        yield view[:count]


def has_writer(fd: int) -> bool | None:
    """Return whether any process has this file open for writing; None if Linux can't tell.

    A read lease is granted only while none does (fcntl(2), "Leases"), and only to the file's
    owner. On a network file system the result is meaningless: the server may refuse a lease
    though nothing writes, and writers elsewhere are unknown here.

    Raises:
        OSError: the process or machine lacks a resource.
    """
    try:
        # A writer that arrives in between makes the kernel send a signal; SIGIO would kill.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno in OWN_SHORTAGES:
            raise
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
