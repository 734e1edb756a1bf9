"""Lists USB storage devices, from udev's database and sysfs.

No device node is ever opened: dockd must not read other devices' data.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pyudev

from dockd.base.errors import SourceError
from dockd.station.cameras.devices import FILESYSTEMS, Device, Volume
from dockd.station.model import display_path

RECEIVE_BUFFER = 128 * 2**20
"""The socket buffer for events, in bytes, as of systemd's own tools."""
_ERRORS = (OSError, ValueError, OverflowError, ImportError)
"""pyudev's exceptions for an errno, for invalid UTF-8, and for a missing libudev."""
_PROPERTIES = (
    "ID_FS_LABEL_ENC",
    "ID_FS_TYPE",
    "ID_FS_USAGE",
    "ID_FS_UUID",
    "ID_PART_ENTRY_SCHEME",
    "ID_PART_ENTRY_TYPE",
    "ID_PATH",
)
_EXTENDED = {"0x5", "0xf", "0x85"}
"""MBR types of extended partitions."""
_PORT = re.compile(r".*-usb-\d+:[0-9.]+")
"""The port's part of an ID_PATH such as ``pci-0000:00:14.0-usb-0:1.3:1.0-scsi-0:0:0:0``."""


@dataclass(frozen=True)
class Block:
    """A disk or partition of a USB device, from udev's database and sysfs."""

    usb: str
    """The sysfs path of the usb_device that it is part of."""
    node: str
    number: int
    lun: int
    partition: int
    """0 for a disk."""
    size: int
    """In sectors; 0 for a slot without a medium."""
    is_ready: bool
    """Whether udev has finished processing it."""
    properties: Mapping[str, str]


class SystemUdev:
    """This machine's udev."""

    def __init__(self, receive_buffer: int = RECEIVE_BUFFER) -> None:
        self._receive_buffer = receive_buffer

    def devices(self) -> list[Device]:
        """Return the USB storage devices that udev has finished processing, by port; blocks.

        Raises:
            SourceError: they can't be listed.
        """
        try:
            # libudev's objects must stay on one thread, so this call has its own.
            blocks = sorted(_blocks(pyudev.Context()), key=attrgetter("usb", "lun", "partition"))
        except _ERRORS as error:
            raise SourceError(
                f"the USB devices can't be listed: {error}", hint="check that udev runs"
            ) from error
        found = []
        for usb, parts in groupby(blocks, key=attrgetter("usb")):
            # A device may be unplugged meanwhile.
            with contextlib.suppress(OSError):
                device = read_device(Path(usb), list(parts))
                found += [device] if device else []
        return sorted(found, key=attrgetter("port"))

    async def follow(self, hint: Callable[[], None]) -> None:
        """Call ``hint`` once it listens, then whenever a device was plugged in or changed.

        Raises:
            SourceError: events were lost or can't be received.
        """
        try:
            monitor = _listen(pyudev.Context(), self._receive_buffer)
        except _ERRORS as error:
            raise SourceError(f"udev's events can't be received: {error}") from error
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[str] = loop.create_future()

        def receive() -> None:
            try:
                while monitor.poll(timeout=0) is not None:
                    hint()
            except _ERRORS as error:
                # Its text only: the traceback would keep the monitor and its full buffer.
                loop.remove_reader(monitor)
                lost.set_result(str(error))

        loop.add_reader(monitor, receive)
        try:
            hint()
            raise SourceError(f"udev's events were lost: {await lost}")
        finally:
            loop.remove_reader(monitor)


def _listen(context: pyudev.Context, receive_buffer: int) -> pyudev.Monitor:
    monitor = pyudev.Monitor.from_netlink(context)
    monitor.filter_by("block")
    monitor.filter_by("usb", "usb_device")
    with contextlib.suppress(PermissionError):
        # Without CAP_NET_ADMIN, it has been set to net.core.rmem_max before this is raised.
        monitor.set_receive_buffer_size(receive_buffer)
    monitor.start()
    return monitor


def _blocks(context: pyudev.Context) -> Iterator[Block]:
    for entry in context.list_devices(subsystem="block"):
        try:
            block = _block(entry)
        except (*_ERRORS, KeyError):
            # It was unplugged meanwhile; an event follows.
            continue
        if block is not None:
            yield block


def _block(entry: pyudev.Device) -> Block | None:
    usb = entry.find_parent("usb", "usb_device")
    if usb is None:
        return None
    scsi = entry.find_parent("scsi", "scsi_device")
    return Block(
        usb=usb.sys_path,
        node=entry.device_node,
        number=entry.device_number,
        # Its name is host:channel:target:lun.
        lun=int(scsi.sys_name.rpartition(":")[2]) if scsi else 0,
        partition=entry.attributes.asint("partition") if entry.device_type == "partition" else 0,
        size=entry.attributes.asint("size"),
        is_ready=entry.is_initialized,
        properties={
            name: entry.properties[name] for name in _PROPERTIES if name in entry.properties
        },
    )


def read_device(usb: Path, blocks: Sequence[Block]) -> Device | None:
    """Return a device; None while udev processes a part of it.

    Args:
        usb: the sysfs path of its usb_device.
        blocks: its disks and partitions, by LUN and partition.

    Raises:
        OSError: it was unplugged.
    """
    if not all(block.is_ready for block in blocks):
        return None
    plugged = usb.stat().st_ino
    partitioned = {block.lun for block in blocks if block.partition}
    volumes, unusable = [], []
    for block in blocks:
        is_table = not block.partition and block.lun in partitioned
        if is_table or not block.size or _is_extended(block):
            continue
        if block.properties.get("ID_FS_TYPE") in FILESYSTEMS:
            volumes.append(_volume(block))
        else:
            unusable.append(block.node)
    path_id = _PORT.match(blocks[0].properties.get("ID_PATH", ""))
    return Device(
        path=str(usb),
        plugged=plugged,
        port=path_id[0] if path_id else usb.name,
        vendor=_attribute(usb, "idVendor"),
        product=_attribute(usb, "idProduct"),
        # Unmodified: udev's ID_SERIAL_SHORT has some characters replaced, so that two serials
        # may become the same.
        serial=_attribute(usb, "serial"),
        model=_attribute(usb, "product"),
        volumes=tuple(volumes),
        unusable=tuple(unusable),
    )


def _is_extended(block: Block) -> bool:
    properties = block.properties
    return (
        properties.get("ID_PART_ENTRY_SCHEME") == "dos"
        and properties.get("ID_PART_ENTRY_TYPE") in _EXTENDED
    )


def _volume(block: Block) -> Volume:
    label = block.properties.get("ID_FS_LABEL_ENC", "")
    return Volume(
        node=block.node,
        number=block.number,
        filesystem=block.properties["ID_FS_TYPE"],
        uuid=block.properties.get("ID_FS_UUID", ""),
        label=display_path(_decoded(label)),
        lun=block.lun,
        partition=block.partition,
    )


def _decoded(text: str) -> bytes:
    r"""Return the bytes of a text in which udev wrote some as ``\xNN``."""
    return re.sub(
        rb"\\x([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode()
    )


def _attribute(usb: Path, name: str) -> str:
    """Return a descriptor of a USB device, empty if it has none or only blanks."""
    try:
        raw = (usb / name).read_bytes()
    except FileNotFoundError:
        return ""
    text = display_path(raw.removesuffix(b"\n"))
    return text if text.strip() else ""
