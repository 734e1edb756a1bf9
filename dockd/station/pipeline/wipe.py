"""Removes acknowledged clips from a camera, and checks before and after.

A file is checked through one open descriptor right before its removal: it must be the file
that was hashed. Overwriting is not sanitisation: flash keeps old blocks out of reach.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Literal

from dockd.base.errors import WipeBusyError, WipeFailedError, WipeRefusedError
from dockd.evidence.statements import Content
from dockd.host.files import Files, has_writer, read_fd_from_disk
from dockd.station.cameras.tree import Root, exists, open_file, parent_of
from dockd.station.model import Clip, FileStat

Policy = Literal["delete", "overwrite", "dry-run", "keep"]

_BLOCK = bytes(1 << 20)


def check(root: Root, clip: Clip, docking: int) -> FileStat:
    """Check that a file on the camera is still the one that was hashed; blocks.

    A file that was read in this docking, and whose inode, size and times have not changed
    since, is. Any other is read again from the medium, and so is every file where inode
    numbers are not stable (FAT), since times there are too coarse.

    Args:
        root: the camera's root.
        clip: an acknowledged clip.
        docking: the current docking.

    Returns:
        What to compare the file with when it is removed.

    Raises:
        WipeRefusedError: it is another file.
        OSError: it is missing, or could not be read.
    """
    with open_file(root, clip.path) as fd:
        stat = root.stat(fd)
        if stat.size != clip.size:
            raise WipeRefusedError(f"the file has {stat.size} bytes instead of {clip.size}")
        if clip.docking != docking or stat != clip.stat:
            if _sha256(fd) != clip.plaintext_sha256:
                raise WipeRefusedError("the file has other content")
            if root.stat(fd) != stat:
                raise WipeRefusedError("the file changed while it was read again")
        return stat


def remove(
    root: Root, clip: Clip, checked: FileStat, files: Files, *, overwrite: bool, shared: bool
) -> None:
    """Remove a clip that ``check`` has passed, durably; blocks.

    Args:
        root: the camera's root.
        clip: the clip, as it is since its wipe was begun in the ledger.
        checked: what ``check`` returned.
        files: removes it.
        overwrite: whether its blocks are overwritten with zeros before.
        shared: whether other processes may change files there.

    Raises:
        WipeRefusedError: it is no longer the file that was checked.
        WipeBusyError: a process has it open for writing.
        OSError: it could not be removed.
    """
    with parent_of(root, clip.path) as (folder_fd, name), _opened(folder_fd, name) as fd:
        if root.stat(fd) != checked:
            raise WipeRefusedError("the file changed after it was checked")
        here = _hold(folder_fd, name, clip, fd, files) if shared else name
        # Not earlier: only now can no process open it by its name any more.
        if shared and _has_writer(fd, folder_fd, here, name, files):
            raise WipeBusyError(hint="find the process that writes to it; dockd retries")
        # A process may have written between the check and the hold, and closed it since.
        if shared and not _is_as_checked(fd, checked):
            _put_back(folder_fd, here, name, files)
            raise WipeRefusedError("the file changed after it was checked")
        # Another hard link to it may be anywhere, and must keep its content.
        if overwrite and os.fstat(fd).st_nlink == 1:
            # Under its own name, a crash would leave zeros that look like a new clip.
            aside = _aside(clip)
            files.rename_at(folder_fd, here, aside)
            try:
                with _opened(folder_fd, aside, os.O_WRONLY) as out:
                    _overwrite(out, clip.size, files)
            finally:
                files.unlink_at(folder_fd, aside)
        else:
            files.unlink_at(folder_fd, here)


@contextlib.contextmanager
def _opened(folder_fd: int, name: bytes, flags: int = os.O_RDONLY) -> Iterator[int]:
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def put_back(root: Root, clip: Clip, files: Files) -> None:
    """Give a file that an interrupted removal was holding its name again; blocks.

    Raises:
        OSError: it could not be renamed.
    """
    with contextlib.suppress(FileNotFoundError), parent_of(root, clip.path) as (folder_fd, name):
        held = _held(clip)
        there = os.stat(held, dir_fd=folder_fd, follow_symlinks=False)
        if clip.size and not there.st_size:
            files.unlink_at(folder_fd, held)  # only the name was taken, see rename_new
        else:
            _put_back(folder_fd, held, name, files)


def _hold(folder_fd: int, name: bytes, clip: Clip, fd: int, files: Files) -> bytes:
    """Rename a file out of reach, and check that it is the one that is open.

    A removal by name could remove what was put there since; a rename can be checked and undone.
    """
    held = _held(clip)
    files.rename_at(folder_fd, name, held, durably=False)
    there = os.stat(held, dir_fd=folder_fd, follow_symlinks=False)
    if not os.path.samestat(there, os.fstat(fd)):
        _put_back(folder_fd, held, name, files)
        raise WipeRefusedError("the file was replaced after it was checked")
    return held


def _has_writer(fd: int, folder_fd: int, held: bytes, name: bytes, files: Files) -> bool:
    """Return whether a held file is open for writing; it is put back then, and on errors."""
    is_open: bool | None = True
    try:
        is_open = has_writer(fd)
    finally:
        if is_open:
            _put_back(folder_fd, held, name, files)
    return bool(is_open)


def _is_as_checked(fd: int, checked: FileStat) -> bool:
    """Return whether a held file has the content that was checked, by its size and time."""
    now = FileStat.of(os.fstat(fd))  # the rename has changed the rest
    return (now.size, now.modified_ns) == (checked.size, checked.modified_ns)


def _put_back(folder_fd: int, held: bytes, name: bytes, files: Files) -> None:
    try:
        files.rename_at(folder_fd, held, name)
    except FileExistsError:
        stem, dot, suffix = name.rpartition(b".")
        free = stem + b"." + files.randomness.hex(4).encode() + dot + suffix
        files.rename_at(folder_fd, held, free)


def aside(clip: Clip) -> bytes:
    """Return the path at which an interrupted overwriting leaves a clip."""
    folder, slash, _ = clip.path.rpartition(b"/")
    return folder + slash + _aside(clip)


def finish(root: Root, clip: Clip, files: Files) -> None:
    """Remove what an interrupted overwriting has left of a clip, if anything; blocks."""
    with contextlib.suppress(FileNotFoundError), parent_of(root, clip.path) as (folder_fd, _):
        files.unlink_at(folder_fd, _aside(clip))


def verify_gone(root: Root, clip: Clip) -> None:
    """Check that a removed clip is no longer on the camera; blocks.

    Another file may have its name: on a damaged FAT, a clip can hide one.

    Raises:
        WipeFailedError: it still is.
        OSError: the camera is gone, or could not be read.
    """
    if exists(root, clip.path) and not _is_another(root, clip):
        raise WipeFailedError(hint="check the camera's file system; dockd retries")


def _is_another(root: Root, clip: Clip) -> bool:
    try:
        with open_file(root, clip.path) as fd:
            return os.fstat(fd).st_size != clip.size or _sha256(fd) != clip.plaintext_sha256
    except OSError:
        # What can't be read may be the clip.
        return False


def _sha256(fd: int) -> str:
    return Content.of(read_fd_from_disk(fd)).sha256


def _held(clip: Clip) -> bytes:
    return f".dockd-held-{_tag(clip)}".encode()


def _aside(clip: Clip) -> bytes:
    return f".dockd-wiped-{_tag(clip)}".encode()


def _tag(clip: Clip) -> str:
    """Return what makes the names of one wipe unique, so that no other program uses them."""
    assert clip.wipe_number, "a wipe begins in the ledger"
    if clip.wipe_number == 1:  # begun by a version of dockd that drew no numbers
        return str(clip.clip_id)
    return f"{str(clip.clip_id)[:16]}-{clip.wipe_number:016x}"


def _overwrite(fd: int, size: int, files: Files) -> None:
    offset = 0
    while offset < size:
        offset += files.write_at(fd, [memoryview(_BLOCK)[: size - offset]], offset)
    files.fsync(fd)
