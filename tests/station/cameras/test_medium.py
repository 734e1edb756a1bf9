"""What the kernel counts of a disk's errors, and what a look makes of it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockd.station.cameras.medium import count_errors, scan
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.tree import MAIN, Root
from tests.usb import make_profile

DISK, PARTITION = os.makedev(8, 16), os.makedev(8, 17)


class Sysfs:
    """What sysfs shows of one USB disk with a partition."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.scsi = folder / "devices/usb1/1-1/host0/0:0:0:0"
        partition = self.scsi / "block/sdb/sdb1"
        partition.mkdir(parents=True)
        (partition / "partition").write_text("1\n")
        (partition.parent / "device").symlink_to("../../../0:0:0:0")
        numbers = folder / "dev/block"
        numbers.mkdir(parents=True)
        (numbers / "8:16").symlink_to(partition.parent)
        (numbers / "8:17").symlink_to(partition)
        self.count(0)
        self.state("running")

    def count(self, errors: int) -> None:
        (self.scsi / "ioerr_cnt").write_text(f"{errors:#x}\n")

    def state(self, state: str) -> None:
        (self.scsi / "state").write_text(f"{state}\n")


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path / "sys")


@pytest.mark.parametrize("device", [DISK, PARTITION])
def test_errors_are_those_of_the_disk(sysfs: Sysfs, device: int) -> None:
    assert count_errors(device, sysfs.path) == 0
    sysfs.count(26)
    assert count_errors(device, sysfs.path) == 26


@pytest.mark.parametrize("state", ["offline", "cancel", "deleted", "blocked"])
def test_a_disk_that_does_not_work_is_an_error_as_it_counts_none(sysfs: Sysfs, state: str) -> None:
    sysfs.state(state)
    with pytest.raises(OSError, match="No such device"):
        count_errors(PARTITION, sysfs.path)


def test_a_disk_that_is_gone_is_an_error(sysfs: Sysfs) -> None:
    (sysfs.path / "dev/block/8:17").unlink()
    with pytest.raises(FileNotFoundError):
        count_errors(PARTITION, sysfs.path)


def test_nobody_counts_where_there_is_no_scsi(sysfs: Sysfs, tmp_path: Path) -> None:
    (sysfs.scsi / "ioerr_cnt").unlink()
    assert count_errors(PARTITION, sysfs.path) is None
    assert count_errors(os.makedev(0, 45), sysfs.path) is None
    assert count_errors(PARTITION, tmp_path / "nowhere") is None


def test_this_machines_own_disk_can_be_asked(tmp_path: Path) -> None:
    errors = count_errors(tmp_path.stat().st_dev)
    assert errors is None or errors >= 0


class Medium:
    """A camera of two volumes, whose clips and errors a test rules."""

    def __init__(self, folder: Path) -> None:
        self.main, self.second = folder / "main", folder / "second"
        for volume in (self.main, self.second):
            volume.mkdir()
            (volume / "1.mp4").write_bytes(b"clip")
        self.root = Root(self.main, {b"p2": self.second})
        self.profile = Profile(make_profile())

    def look(self, errors: Callable[[], int | None]) -> tuple[set[bytes], set[bytes]]:
        """Look through it; returns the clips, and what could not be looked at."""
        scanned = scan(self.root, self.profile, lambda _: errors())
        return set(scanned.clips), set(scanned.failures)


@pytest.fixture
def medium(tmp_path: Path) -> Medium:
    return Medium(tmp_path)


BOTH = {b"1.mp4", b"/p2/1.mp4"}


def counts(*counts: int | None) -> Callable[[], int | None]:
    """The count before a look, after it, and after another one, of each of two volumes."""
    following = iter(counts)
    return lambda: next(following)


@pytest.mark.parametrize("count", [None, 7])
def test_a_medium_that_does_not_fail_is_looked_through_once(
    medium: Medium, count: int | None
) -> None:
    assert medium.look(counts(count, count, count, count)) == (BOTH, set())


def test_a_failure_that_passes_has_a_second_look_that_counts(medium: Medium) -> None:
    hidden = medium.main / "2.mp4"

    def failing() -> Iterator[int]:
        yield from (0, 0)
        hidden.write_bytes(b"what the first look could not read")
        yield from (1, 0, 1, 0)

    following = failing()
    assert medium.look(lambda: next(following)) == ({*BOTH, b"2.mp4"}, set())


@pytest.mark.parametrize(
    ("errors", "places"),
    [
        (counts(0, 0, 1, 0, 2, 0), {MAIN}),
        (counts(0, 0, 0, 4, 0, 8), {b"/p2"}),
        (counts(0, 0, 1, 1, 2, 2), {MAIN, b"/p2"}),
        (counts(0, 0, None, 0, None, 0), {MAIN}),
    ],
)
def test_a_volume_whose_medium_fails_again_was_not_seen_in_full(
    medium: Medium, errors: Callable[[], int | None], places: set[bytes]
) -> None:
    assert medium.look(errors) == (BOTH, places)
