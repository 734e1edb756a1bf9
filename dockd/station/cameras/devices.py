"""USB storage devices that are plugged in, and the interface to udev."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FILESYSTEMS = frozenset({"vfat", "exfat", "ext2", "ext3", "ext4"})
"""The supported file systems, by the kernel's names."""
UNSTABLE_INODES = frozenset({"vfat", "exfat"})
"""Those without persistent inode numbers: the kernel assigns them at each mount."""


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
    """Its UUID or volume id, empty if it has none."""
    label: str
    lun: int
    partition: int
    """The partition's number, 0 without a partition table."""

    @property
    def name(self) -> str:
        """Its name among the device's volumes, whichever of them exist now.

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
    """The inode number of that path: the kernel assigns a new one each time it is plugged in."""
    port: str
    """The port that it is in, such as ``pci-0000:00:14.0-usb-0:1.3``."""
    vendor: str
    """Four lower-case hexadecimal digits, as is ``product``."""
    product: str
    serial: str
    r"""As reported by the device, empty if it has none, unprintable bytes as ``\xNN``."""
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
        """Return whether it is still plugged in, and was not unplugged in between."""
        try:
            return Path(self.path).stat().st_ino == self.plugged
        except OSError:
            return False


class Udev(Protocol):
    """Lists what is plugged in; a test replaces it by one that plugs and unplugs."""

    def devices(self) -> list[Device]:
        """Return the USB storage devices that udev has finished processing, by port; blocks.

        Raises:
            SourceError: they can't be listed.
        """

    async def follow(self, hint: Callable[[], None]) -> None:
        """Call ``hint`` once it listens, then whenever a device was plugged in or changed.

        Raises:
            SourceError: events were lost or can't be received; the caller lists the devices
                itself, and calls this again.
        """
