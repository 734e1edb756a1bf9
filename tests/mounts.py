"""Real mounts for tests, skipped where they are not permitted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dockd.station.cameras.devices import Volume


def volume(number: int) -> Volume:
    """The volume that a device number belongs to."""
    return Volume("/dev/sdb1", number, "vfat", "1234-ABCD", "CAMERA", lun=0, partition=1)


@contextmanager
def mounted(point: Path, *arguments: str) -> Iterator[Path]:
    """Mount what ``mount`` is told to; yields the mount point."""
    point.mkdir(exist_ok=True)
    command = ["mount", *arguments, str(point)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


@contextmanager
def mounted_tmpfs(point: Path, options: str) -> Iterator[Volume]:
    """Mount a file system in memory; yields it as a volume."""
    with mounted(point, "-t", "tmpfs", "-o", f"size=64k,{options}", "tmpfs"):
        yield volume(point.stat().st_dev)
