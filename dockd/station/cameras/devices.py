"""USB storage devices that are plugged in, and how one hears of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FILESYSTEMS = frozenset({"vfat", "exfat", "ext2", "ext3", "ext4"})
"""What dockd reads, as the kernel names it."""
FORGETFUL = frozenset({"vfat", "exfat"})
"""Those of them that keep no inode numbers: the kernel makes them up at each mount."""


@dataclass(frozen=True)
class Volume:
    """A file system on a docked device."""

    node: str
    """Its block device, such as ``/dev/sdb1``."""
    number: int
    """The block device's number (``os.makedev``): what a mount's ``st_dev`` must be."""
    filesystem: str
    """One of :data:`FILESYSTEMS`."""
    uuid: str
    """Its UUID or volume id, empty where it has none."""
    label: str
    lun: int
    partition: int
    """The partition's number, 0 where there is no partition table."""

    @property
    def name(self) -> str:
        """What tells it from the device's others, whichever of them there are now.

        Empty for the main volume: LUN 0, the first partition or no partition table.
        """
        if (self.lun, self.partition) in {(0, 0), (0, 1)}:
            return ""
        lun = f"lun{self.lun}" if self.lun else ""
        return lun + (f"p{self.partition}" if self.partition else "")


@dataclass(frozen=True)
class Device:
    """A USB storage device that is plugged in."""

    path: str
    """The sysfs path of its usb_device."""
    plugged: int
    """The inode number of that path: the kernel gives each stay in a port another one."""
    port: str
    """The port that it is in, such as ``pci-0000:00:14.0-usb-0:1.3``."""
    vendor: str
    """Four lower-case hexadecimal digits, as is ``product``."""
    product: str
    serial: str
    r"""As the device says it, empty if it has none, unprintable bytes as ``\xNN``."""
    model: str
    volumes: tuple[Volume, ...]
    """Its supported file systems, by LUN and partition."""
    unusable: tuple[str, ...]
    """The block devices of partitions and disks without a supported file system."""

    @property
    def labels(self) -> list[str]:
        """The labels of its file systems."""
        return [volume.label for volume in self.volumes if volume.label]

    def is_plugged(self) -> bool:
        """Say whether it still is in the port, and was not taken out meanwhile."""
        try:
            return Path(self.path).stat().st_ino == self.plugged
        except OSError:
            return False


class Udev(Protocol):
    """Who knows what is plugged in; a test replaces it by one that plugs and unplugs."""

    def devices(self) -> list[Device]:
        """Return the USB storage devices that udev is done with, by port; blocks.

        Raises:
            SourceError: they can't be listed.
        """

    async def follow(self, hint: Callable[[], None]) -> None:
        """Call ``hint`` once it listens, then whenever something was plugged or changed.

        Raises:
            SourceError: events were lost or can't be followed; whoever calls this looks for
                himself, and calls it again.
        """
