"""The interface for mounting cameras, and the checks of every mount."""

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dockd.base.errors import MountError
from dockd.station.cameras.devices import Volume
from dockd.station.cameras.tree import NOT_PERMITTED
from dockd.station.model import display_path

_MOUNTINFO = Path("/proc/self/mountinfo")
_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_AT_NO_AUTOMOUNT = 0x800
_AT_STATX_DONT_SYNC = 0x4000
_STATX_MNT_ID_UNIQUE = 0x4000
_STATX_WORDS = 32
"""The size of ``struct statx``, in words of 64 bits."""
_STATX_MNT_ID = 18
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_SAFE = {"nosuid", "nodev", "noexec"}

NOT_ALONE = "unmount it there, and keep automounters away from cameras"
"""The hint for a volume that is also mounted elsewhere."""
WRITE_PROTECTED = "look for a lock switch on the card, and check its file system"
"""The hint for a volume that can't be mounted writable."""
_NOT_SEEN = "dockd.service must see what the host mounts: docs/install.md"
_NOT_AS_ASKED = "check which mount options /etc/udisks2/mount_options.conf or udev rules change"


class Mounter(Protocol):
    """Mounts cameras' file systems; a test replaces it."""

    async def mount(self, volume: Volume, *, writable: bool) -> Path:
        """Mount a volume, and return where.

        Raises:
            MountError: it can't be mounted, or not as required.
            CameraLostError: it was unplugged.
        """

    async def unmount(self, volume: Volume) -> None:
        """Write cached data and unmount; nothing to do if it is not mounted, or gone.

        Raises:
            MountError: it is still mounted, by dockd or anything else.
        """

    async def power_off(self, volume: Volume) -> None:
        """Switch the whole device off, with all its volumes; nothing to do if it is gone.

        Raises:
            MountError: it is still on.
        """


@dataclass(frozen=True)
class Mount:
    """A mount in this process's mount namespace."""

    id: int
    device: int
    """The ``st_dev`` of what is mounted."""
    point: Path
    filesystem: str
    options: frozenset[str]
    """Those of this mount: ``ro``, ``nosuid``."""
    super_options: frozenset[str]
    """Those of the file system, common to all its mounts."""


def read_mounts() -> list[Mount]:
    """Return all mounts in this process's mount namespace."""
    return parse_mountinfo(_MOUNTINFO.read_bytes())


def mounts_of(folder: Path) -> frozenset[int]:
    """Return the ids of the mounts that a folder is on, and that are on it or below it.

    Fast, as it is called often. The ids in mountinfo are reused: a card that replaces another
    one between two calls may get its device, inode and id.
    """
    place = os.path.realpath(os.fsencode(folder))
    found = {_unique_id(place)}
    for line in _MOUNTINFO.read_bytes().split(b"\n"):
        fields = line.split(b" ", 5)
        if len(fields) > 5:
            point = _unescape(fields[4])
            if point == place or point.startswith(place.rstrip(b"/") + b"/"):
                found |= {int(fields[0]), _unique_id(point)}
    return frozenset(found - {0})


def _unique_id(path: bytes) -> int:
    """Return the id that no other mount ever has, see statx(2); 0 before Linux 6.8."""
    answer = (ctypes.c_uint64 * _STATX_WORDS)()
    flags = _AT_NO_AUTOMOUNT | _AT_STATX_DONT_SYNC
    if _libc.statx(_AT_FDCWD, path, flags, _STATX_MNT_ID_UNIQUE, ctypes.byref(answer)):
        return 0
    mask = ctypes.c_uint32.from_buffer(answer).value
    return int(answer[_STATX_MNT_ID]) if mask & _STATX_MNT_ID_UNIQUE else 0


def parse_mountinfo(text: bytes) -> list[Mount]:
    """Read the lines of /proc/<pid>/mountinfo, see proc_pid_mountinfo(5)."""
    return [_parse_line(line) for line in text.split(b"\n") if line]


def _parse_line(line: bytes) -> Mount:
    fields = line.split(b" ")
    # The number of optional fields varies; they end with a hyphen.
    rest = fields.index(b"-", 6)
    major, _, minor = fields[2].partition(b":")
    return Mount(
        id=int(fields[0]),
        device=os.makedev(int(major), int(minor)),
        point=Path(os.fsdecode(_unescape(fields[4]))),
        filesystem=os.fsdecode(_unescape(fields[rest + 1])),
        options=frozenset(os.fsdecode(fields[5]).split(",")),
        super_options=frozenset(os.fsdecode(fields[rest + 3]).split(",")),
    )


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)


def check_mount(point: Path, volume: Volume, *, writable: bool) -> None:
    """Check that a volume is visible at a mount point, with the required options.

    udisks2 is not trusted: the mount must be of that very block device, visible to this
    process, the only one, ``nosuid``, ``nodev`` and ``noexec``. Unless ``writable`` is wanted,
    the file system itself must be read-only, not only this mount.

    Raises:
        MountError: it is not.
    """
    try:
        mount = _mount_at(point)
    except OSError as error:
        what = f"can't be reached at {shown(point)}: {error.strerror}"
        raise _wrong(volume, what, hint=_NOT_SEEN) from error
    if mount is None or mount.device != volume.number:
        raise _wrong(volume, f"is not what is seen at {shown(point)}", hint=_NOT_SEEN)
    if elsewhere := sorted(
        shown(other.point)
        for other in read_mounts()
        if other.device == volume.number and other.point != mount.point
    ):
        raise _wrong(volume, f"is mounted at {', '.join(elsewhere)} as well", hint=NOT_ALONE)
    access = "rw" if writable else "ro"
    if missing := (_SAFE | {access}) - mount.options | {access} - mount.super_options:
        raise _wrong(
            volume,
            f"is mounted without {', '.join(sorted(missing))}",
            hint=WRITE_PROTECTED if missing == {"rw"} else _NOT_AS_ASKED,
        )
    if not os.access(point, os.R_OK | os.X_OK):
        raise _wrong(volume, f"lets user {os.geteuid()} read nothing", hint=NOT_PERMITTED)


def _mount_at(point: Path) -> Mount | None:
    """Return the mount that is visible at a path; None if it was just unmounted."""
    fd = os.open(point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        facts = Path(f"/proc/self/fdinfo/{fd}").read_text().split()
    finally:
        os.close(fd)
    number = int(facts[facts.index("mnt_id:") + 1])
    return next((mount for mount in read_mounts() if mount.id == number), None)


def shown(point: Path) -> str:
    """Return a path as printable text, whatever bytes it has."""
    return display_path(os.fsencode(point))


def _wrong(volume: Volume, what: str, *, hint: str) -> MountError:
    return MountError(f"{volume.node} {what}", hint=hint)
