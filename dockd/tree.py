"""A camera's files, reached from its root without ever following a link out of it."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO put in a clip's place must not make the open hang.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Listed:
    """A regular file below a root."""

    path: bytes
    status: os.stat_result


def walk(root: Path) -> Iterator[Listed]:
    """Yield every regular file below a root; links and special files are passed by.

    However deep the folders are, only two of them are open at a time.

    Raises:
        OSError: a folder could not be read.
    """
    with _opened(os.open(root, _FOLDER)) as root_fd:
        folders: list[tuple[bytes, ...]] = [()]
        while folders:
            folder = folders.pop()
            try:
                with _descend(root_fd, folder) as fd:
                    files, below = _list(fd)
            except (FileNotFoundError, NotADirectoryError):
                if not folder:
                    raise
                # It went away, or became something else, since it was listed.
                continue
            yield from (Listed(b"/".join((*folder, name)), status) for name, status in files)
            folders += [(*folder, name) for name in reversed(below)]


def _list(folder_fd: int) -> tuple[list[tuple[bytes, os.stat_result]], list[bytes]]:
    """Return a folder's regular files and its folders, by name."""
    with os.scandir(folder_fd) as entries:
        names = sorted(os.fsencode(entry.name) for entry in entries)
    files, folders = [], []
    for name in names:
        try:
            status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            files.append((name, status))
        elif stat.S_ISDIR(status.st_mode):
            folders.append(name)
    return files, folders


@contextlib.contextmanager
def parent_of(root: Path, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Open the folder that holds a path; yields its descriptor and the last name.

    Raises:
        OSError: a part of the path is missing, is a link, or is no folder.
    """
    *folders, name = _names(path)
    with _opened(os.open(root, _FOLDER)) as root_fd, _descend(root_fd, folders) as fd:
        yield fd, name


@contextlib.contextmanager
def open_file(root: Path, path: bytes) -> Iterator[int]:
    """Open a regular file below a root for reading; yields its descriptor.

    Raises:
        OSError: it is missing, is a link, or can't be opened.
    """
    with parent_of(root, path) as (folder_fd, name):
        fd = os.open(name, _FILE, dir_fd=folder_fd)
    with _opened(fd):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no regular file", os.fsdecode(path))
        yield fd


def exists(root: Path, path: bytes) -> bool:
    """Say whether anything at all is at a path below a root.

    Raises:
        OSError: the root is missing, or the path could not be looked up.
    """
    *folders, name = _names(path)
    with _opened(os.open(root, _FOLDER)) as root_fd:
        try:
            with _descend(root_fd, folders) as fd:
                os.stat(name, dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _names(path: bytes) -> list[bytes]:
    names = path.split(b"/")
    if not {b"", b".", b".."}.isdisjoint(names):
        raise FileNotFoundError(errno.ENOENT, "not a path below a root", os.fsdecode(path))
    return names


@contextlib.contextmanager
def _descend(root_fd: int, folders: Sequence[bytes]) -> Iterator[int]:
    fd = os.dup(root_fd)
    try:
        for name in folders:
            child_fd = os.open(name, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = child_fd
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
