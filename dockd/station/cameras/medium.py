"""Scans a medium that may have read errors, which FAT does not report."""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dockd.station.cameras.profile import Profile
from dockd.station.cameras.tree import MAIN, Failures, Root, walk
from dockd.station.model import FileStat, FoundFile

_SYSFS = Path("/sys")

CountErrors = Callable[[int], int | None]
"""Returns a block device's number of errors, by its device number; a test replaces it."""


def count_errors(device: int, sysfs: Path = _SYSFS) -> int | None:
    """Return the number of failed commands of a block device's disk; None if not counted.

    The SCSI layer counts every command that ends with an error, and the retries of it
    (Linux, drivers/scsi/scsi_lib.c: ``scsi_complete``); USB storage is SCSI.

    Args:
        device: the number (``os.makedev``) of the disk or of a partition of it.
        sysfs: where sysfs is.

    Raises:
        OSError: the disk is gone, or no longer responds.
    """
    devices = sysfs / "dev/block"
    # Major 0: file systems without a block device, on a network or in memory.
    if os.major(device) == 0 or not devices.is_dir():
        return None
    block = (devices / f"{os.major(device)}:{os.minor(device)}").resolve(strict=True)
    disk = (block.parent if (block / "partition").exists() else block) / "device"
    if not (disk / "ioerr_cnt").exists():
        return None
    if (disk / "state").read_text() != "running\n":
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return int((disk / "ioerr_cnt").read_text(), base=16)


@dataclass(frozen=True)
class Scan:
    """The files below a root."""

    clips: Mapping[bytes, tuple[FoundFile, FileStat]]
    """The files that a profile selects, by path."""
    left_alone: Mapping[bytes, int]
    """The sizes of the files that none of its rules selects or ignores, by path."""
    failures: Failures
    """Files, folders and volumes that could not be read, and why."""


def scan(root: Root, profile: Profile, errors: CountErrors) -> Scan:
    """Scan a root; blocks.

    On FAT, the kernel silently omits directory entries that it can't read (Linux,
    fs/fat/dir.c: ``fat__get_entry``). So a scan during which a disk had errors is discarded and
    repeated once, as the error may be transient; if that has errors as well, the whole volume
    is among the failures.

    Raises:
        OSError: a volume could not be read, or its disk is gone.
    """
    first = _count(root, errors)
    scanned = _scan(root, profile)
    second = _count(root, errors)
    if second == first:
        return scanned
    scanned = _scan(root, profile)
    third = _count(root, errors)
    for place, count in third.items():
        counted_no_more = count is None and first[place] is not None
        if count != second[place] or counted_no_more:
            scanned.failures[place] = OSError(
                errno.EIO, "the medium has read errors, and may hold more than is listed"
            )
    return scanned


def _scan(root: Root, profile: Profile) -> Scan:
    clips, left_alone = {}, {}
    failures: Failures = {}
    for listed in walk(root, failures):
        rule = profile.find(listed.path)
        stat = FileStat.of(listed.status)
        if rule is None:
            left_alone[listed.path] = stat.size
            continue
        if (match := rule.match) is None:
            continue
        found = FoundFile(listed.path, stat.size, stat.modified_ns, match, root.known_by(stat))
        clips[listed.path] = (found, stat)
    return Scan(clips, left_alone, failures)


def _count(root: Root, errors: CountErrors) -> dict[bytes, int | None]:
    return {
        prefix.rstrip(b"/") or MAIN: errors(folder.stat().st_dev)
        for prefix, folder in root.folders()
    }
