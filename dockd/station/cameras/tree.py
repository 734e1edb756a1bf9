"""A camera's files, accessed from its root without following links.

A path is relative to the camera's main volume (``DCIM/1.mp4``), or begins with a slash and
the name of another of its volumes (``/p2/DCIM/1.mp4``), as no file name does.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dockd.station.model import FileStat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO put in a clip's place must not make the open hang.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

MAIN = b"."
"""The main volume's root; another volume's is ``/p2``. Neither is a file's path."""

_LOST_AND_FOUND = (b"lost+found",)
"""Created by mkfs on every ext4 for fsck, readable by root only."""

NOT_PERMITTED = (
    "its file system keeps owners and modes (ext4 does): the camera must let everyone read, "
    "and write its folders for a wipe"
)
"""The hint for files that another user owns."""


def advice(error: OSError, otherwise: str) -> str:
    """Return a hint for an error of a camera's file system."""
    return NOT_PERMITTED if isinstance(error, PermissionError) else otherwise


@dataclass(frozen=True)
class Root:
    """The folders of a camera's volumes."""

    main: Path | None
    """The folder of its main volume; None without one."""
    volumes: Mapping[bytes, Path] = field(default_factory=dict)
    """The folders of its other volumes, by name."""
    stable_inodes: bool = True
    """Whether inode numbers are persistent; on FAT they are assigned at each look-up."""
    is_local: bool = True
    """Whether this machine's clock set the times of change, and not a network server's."""

    def folders(self) -> Iterator[tuple[bytes, Path]]:
        """Yield each folder, and the prefix of its files' paths."""
        if self.main is not None:
            yield b"", self.main
        for name, folder in self.volumes.items():
            yield b"/" + name + b"/", folder

    def resolve(self, path: bytes) -> tuple[Path, list[bytes]]:
        """Return the folder of a path's volume, and the names below it.

        Raises:
            FileNotFoundError: it is no path below this root.
        """
        folder, rest = self.main, path
        if path.startswith(b"/"):
            volume, _, rest = path[1:].partition(b"/")
            folder = self.volumes.get(volume)
        names = rest.split(b"/")
        if folder is None or not {b"", b".", b".."}.isdisjoint(names):
            raise FileNotFoundError(errno.ENOENT, "not a path below a root", os.fsdecode(path))
        return folder, names

    def can_hold(self, path: bytes, size: int) -> bool:
        """Return whether a file can be as large as its entry says: FAT has no sparse files."""
        folder, _ = self.resolve(path)
        system = os.statvfs(folder)
        return self.stable_inodes or size <= system.f_blocks * system.f_frsize

    def stat(self, fd: int) -> FileStat:
        """Return what identifies an open file of this root."""
        return self.known_by(FileStat.of(os.fstat(fd)))

    def known_by(self, stat: FileStat) -> FileStat:
        """Return the part of a file's status that identifies it."""
        return stat if self.stable_inodes else replace(stat, inode=0)


def is_below(path: bytes, places: Container[bytes]) -> bool:
    """Return whether a path is one of some places, or below one of them.

    Args:
        path: a camera's file or folder.
        places: files, folders and roots of volumes; a set or a dict, as it is searched for
            each folder of the path.
    """
    while path not in places:
        path, slash, _ = path.rpartition(b"/")
        if not path:
            return not slash and MAIN in places
    return True


@dataclass(frozen=True)
class Listed:
    """A regular file below a root."""

    path: bytes
    status: os.stat_result


Failures = dict[bytes, OSError]
"""Files and folders that could not be read, and why."""


def walk(root: Root, failures: Failures | None = None) -> Iterator[Listed]:
    """Yield every regular file below a root; links and special files are skipped.

    However deep the folders are, only two of them are open at a time.

    Args:
        root: the root.
        failures: collects what could not be read, so that the rest still is.

    Raises:
        OSError: a volume, or without ``failures`` anything below it, could not be read.
    """
    for prefix, folder in root.folders():
        below: Failures = {}
        for listed in _walk(folder, below, None if root.stable_inodes else set()):
            yield Listed(prefix + listed.path, listed.status)
        if below and failures is None:
            raise next(iter(below.values()))
        if failures is not None:
            failures |= {prefix + path: error for path, error in below.items()}


def _walk(root: Path, failures: Failures, seen: set[int] | None) -> Iterator[Listed]:
    with _opened(os.open(root, _FOLDER)) as root_fd:
        folders: list[tuple[bytes, ...]] = [()]
        while folders:
            folder = folders.pop()
            try:
                with _descend(root_fd, folder) as fd:
                    files, below, failed = _list(fd, seen)
            except (FileNotFoundError, NotADirectoryError):
                if not folder:
                    raise
                # It was removed or replaced since it was listed.
                continue
            except OSError as error:
                if not folder:
                    raise
                if folder != _LOST_AND_FOUND or not isinstance(error, PermissionError):
                    failures[b"/".join(folder)] = error
                continue
            failures |= {b"/".join((*folder, name)): error for name, error in failed.items()}
            yield from (Listed(b"/".join((*folder, name)), status) for name, status in files)
            folders += [(*folder, name) for name in reversed(below)]


def _list(
    folder_fd: int, seen: set[int] | None
) -> tuple[list[tuple[bytes, os.stat_result]], list[bytes], Failures]:
    """Return a folder's regular files, its folders, and what could not be read, by name.

    Args:
        folder_fd: the folder.
        seen: on a file system without hard links, the inode numbers seen so far, to which
            this folder's are added. A second name of one is damage: it hides a file that can't
            be accessed while the other exists, or a folder in two places.
    """
    with os.scandir(folder_fd) as entries:
        listed = [os.fsencode(entry.name) for entry in entries]
    # While names change, one may be listed twice; a damaged FAT may have two files of one name.
    names = sorted(listed if seen is not None else set(listed))
    files, folders, failed, missing = [], [], Failures(), Failures()
    for name in names:
        try:
            status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        except FileNotFoundError as error:
            missing[name] = error
            continue
        except OSError as error:
            failed[name] = error
            continue
        if seen is not None:
            if status.st_ino in seen:
                failed[name] = OSError(errno.EUCLEAN, "another name leads to the same file")
                continue
            seen.add(status.st_ino)
        if stat.S_ISREG(status.st_mode):
            files.append((name, status))
        elif stat.S_ISDIR(status.st_mode):
            folders.append(name)
    if missing:
        # A removed file is no longer listed; a name that a damaged folder can't look up is.
        with os.scandir(folder_fd) as entries:
            still = {os.fsencode(entry.name) for entry in entries}
        failed |= {name: error for name, error in missing.items() if name in still}
    return files, folders, failed


@contextlib.contextmanager
def parent_of(root: Root, path: bytes) -> Iterator[tuple[int, bytes]]:
    """Open the folder that holds a path; yields its descriptor and the last name.

    Raises:
        OSError: a part of the path is missing, is a link, or is no folder.
    """
    folder, (*folders, name) = root.resolve(path)
    with _opened(os.open(folder, _FOLDER)) as root_fd, _descend(root_fd, folders) as fd:
        yield fd, name


@contextlib.contextmanager
def open_file(root: Root, path: bytes) -> Iterator[int]:
    """Open a regular file below a root for reading; yields its descriptor.

    Raises:
        OSError: it is missing, a link, or can't be opened.
    """
    with parent_of(root, path) as (folder_fd, name):
        fd = os.open(name, _FILE, dir_fd=folder_fd)
    with _opened(fd):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no regular file", os.fsdecode(path))
        yield fd


def exists(root: Root, path: bytes) -> bool:
    """Return whether anything exists at a path below a root.

    Raises:
        OSError: the root is missing, or the path could not be looked up.
    """
    folder, (*folders, name) = root.resolve(path)
    with _opened(os.open(folder, _FOLDER)) as root_fd:
        try:
            with _descend(root_fd, folders) as fd:
                os.stat(name, dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


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
