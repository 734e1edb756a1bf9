"""A folder's file systems, and its identity."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from dockd.base.errors import SourceError
from dockd.station.cameras.mounting import Mount, mounts_of, read_mounts
from dockd.station.model import display_path

NETWORK_TYPES = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "fuseblk", "gfs2", "gpfs", "lustre"),
    *("ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs"),
    *("vboxsf", "virtiofs", "vmhgfs"),
}
"""File systems with changes by other machines, unseen by inotify and by leases."""
Identity = tuple[int, int, frozenset[int]]
"""A folder's device and inode, and the mounts it is on and that are on or below it."""


def identity_of(path: Path) -> Identity | None:
    """Return a folder's identity; None if there is no folder. Blocks.

    Raises:
        SourceError: its disk or network does not respond correctly.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(
            f"{display_path(os.fsencode(path))}: {error.strerror}",
            hint="check the folder's disk or mount, and that the user dockd may read it;"
            " it is retried",
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        return None
    return status.st_dev, status.st_ino, mounts_of(path)


def filesystem_types(path: Path) -> frozenset[str]:
    """Return the types of the file systems that hold a path or are mounted below it."""
    place, mounts = path.resolve(), read_mounts()
    below = {
        _kind(mount)
        for mount in mounts
        if mount.point != place and mount.point.is_relative_to(place)
    }
    return frozenset({_holder(place, mounts), *below})


def filesystem_type(path: Path) -> str:
    """Return the type of the file system that holds a path."""
    return _holder(path.resolve(), read_mounts())


def _holder(place: Path, mounts: Sequence[Mount]) -> str:
    """Return the type of the file system that holds a resolved path."""
    holders = [mount for mount in mounts if place.is_relative_to(mount.point)]
    # Of several at one mount point, the last one is visible.
    return _kind(max(reversed(holders), key=lambda mount: len(mount.point.parts)))


def _kind(mount: Mount) -> str:
    """Return a mount's type without a subtype."""
    return mount.filesystem.partition(".")[0]
