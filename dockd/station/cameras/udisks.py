"""Mounts volumes through udisks2, as an unprivileged user that polkit authorises.

The interfaces are those of the udisks2 D-Bus API reference, as udisks 2.9.4 (Debian 12)
and newer ones have them.
"""

import asyncio
import contextlib
import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbus_fast import DBusError, ErrorType, Variant

from dockd.base.clock import Clock
from dockd.base.errors import CameraLostError, MountError
from dockd.base.threads import in_thread
from dockd.host.dbus import Connection, connected
from dockd.station.cameras.devices import Volume
from dockd.station.cameras.mounting import (
    NOT_ALONE,
    WRITE_PROTECTED,
    check_mount,
    read_mounts,
    shown,
)
from dockd.station.model import display_path

_SERVICE = "org.freedesktop.UDisks2"
_MANAGER = "/org/freedesktop/UDisks2/Manager"
_BLOCK = f"{_SERVICE}.Block"
_FILESYSTEM = f"{_SERVICE}.Filesystem"
_DRIVE = f"{_SERVICE}.Drive"

_MOUNT_FOLDERS = [Path("/media"), Path("/run/media")]
"""The folders of udisks's mounts by user: on Debian, and elsewhere."""
_OPTIONS = "nosuid,nodev,noexec"

_ASK_SECONDS = 10.0
_WORK_SECONDS = 120.0
"""For calls that read or write the device: flushing a slow card takes a while."""
_KNOWN_SECONDS = 10.0
"""For udisks to process a device that udev has just announced."""
_KNOWN_EVERY = 0.25
_UNMOUNT_SECONDS = 30.0
_UNMOUNT_FIRST = 0.1
_UNMOUNT_CAP = 2.0

_NOT_THERE = {
    ErrorType.UNKNOWN_OBJECT.value,
    ErrorType.UNKNOWN_INTERFACE.value,
    ErrorType.UNKNOWN_METHOD.value,  # GDBus's error for a missing object
    ErrorType.INVALID_ARGS.value,  # and for a missing interface
}
_HINTS = [
    (
        re.compile(r"^org\.freedesktop\.UDisks2\.Error\.NotAuthorized"),
        "check that dockd's udev and polkit rules are installed and loaded, then reconnect the"
        " camera: docs/install.md",
    ),
    (
        re.compile(r"^org\.freedesktop\.UDisks2\.Error\.(AlreadyMounted|MountedByOtherUser)"),
        NOT_ALONE,
    ),
    (
        re.compile(r"^org\.freedesktop\.UDisks2\.Error\.OptionNotPermitted"),
        "check what /etc/udisks2/mount_options.conf and udev rules allow",
    ),
    (
        re.compile(r"^org\.freedesktop\.UDisks2\.Error\.DeviceBusy"),
        "check which process has a file on it open: fuser --verbose --mount",
    ),
    (
        re.compile(
            r"^org\.freedesktop\.(systemd1|DBus\.Error\.(ServiceUnknown|NameHasNoOwner|Spawn))"
        ),
        "install and start udisks2: systemctl status udisks2",
    ),
    (
        re.compile(r"^org\.freedesktop\.DBus\.Error\.(NoServer|Disconnected|AccessDenied)"),
        "check whether D-Bus is running and accepts dockd: systemctl status dbus",
    ),
    (
        re.compile(r"^org\.freedesktop\.DBus\.Error\.NoReply"),
        "reconnect the camera; then systemctl status udisks2",
    ),
    (re.compile(r"write-protected"), WRITE_PROTECTED),
    (
        re.compile(r"unknown filesystem type"),
        "the kernel lacks a module for this file system",
    ),
    (
        re.compile(r"bad superblock|can't read superblock|[Ss]tructure needs cleaning"),
        "its file system is damaged: keep the camera, and have it read by a specialist",
    ),
]
"""Hints, by an error's name and text."""


@dataclass(frozen=True)
class _Block:
    """A volume's properties in udisks."""

    path: str
    """Its object."""
    drive: str
    """Its drive's object."""
    in_fstab: bool
    points: frozenset[Path]
    """Its mount points, according to udisks."""


class UdisksMounter:
    """Mounts volumes through udisks2, below ``/media/<user>``.

    Mounts left by a killed daemon of the same user are unmounted first, so that a mount has
    the requested options and no old cache. Volumes mounted by others are refused and not
    touched.

    A read-only mount of ext4 replays the journal after a power failure, which writes to the
    camera: otherwise its newest clips could be missing or wrong. On vfat and exfat all files
    belong to this user. ext4 has owners and modes, so such a camera must let everyone read its
    files, and write its folders for a wipe; otherwise the volume can't be mounted, or reading
    or wiping a clip fails with EACCES.
    """

    def __init__(self, clock: Clock, *, bus_address: str | None = None) -> None:
        self._clock = clock
        self._bus_address = bus_address
        user = pwd.getpwuid(os.geteuid()).pw_name
        self._folders = {folder / user for folder in _MOUNT_FOLDERS}

    async def mount(self, volume: Volume, *, writable: bool) -> Path:
        """Mount a volume, and return where; see ``Mounter``."""
        options = f"{'rw' if writable else 'ro'},{_OPTIONS}"
        with _failing(volume, "mount"):
            async with connected(self._bus_address) as bus:
                block = await self._known(bus, volume)
                self._refuse_what_is_not_ours(block, volume)
                if block.points:
                    await self.unmount(volume)
                mounting = asyncio.ensure_future(_mount(bus, block, volume, options))
                try:
                    point = await asyncio.shield(mounting)
                except asyncio.CancelledError:
                    # udisks completes the call regardless.
                    await asyncio.gather(mounting, return_exceptions=True)
                    await self._undo(volume)
                    raise
        try:
            await in_thread(check_mount, point, volume, writable=writable)
        except (MountError, asyncio.CancelledError):
            await self._undo(volume)
            raise
        return point

    async def _undo(self, volume: Volume) -> None:
        """Unmount a volume that is not used; if that fails, the next mount does it."""
        with contextlib.suppress(MountError):
            await self.unmount(volume)

    async def _known(self, bus: Connection, volume: Volume) -> _Block:
        """Wait for udisks to process a volume, and return its properties."""
        give_up = self._clock.monotonic() + _KNOWN_SECONDS
        while (block := await _find(bus, volume)) is None:
            if self._clock.monotonic() >= give_up:
                raise MountError(
                    f"udisks2 does not know {volume.node}",
                    hint="reconnect the camera; then systemctl status udisks2",
                )
            await self._clock.sleep(_KNOWN_EVERY)
        return block

    def _refuse_what_is_not_ours(self, block: _Block, volume: Volume) -> None:
        if foreign := block.points - self._ours(block.points):
            where = ", ".join(sorted(map(shown, foreign)))
            raise MountError(f"{volume.node} is mounted at {where} elsewhere", hint=NOT_ALONE)
        if block.in_fstab:
            raise MountError(
                f"{volume.node} is in /etc/fstab", hint="remove its line from /etc/fstab"
            )

    def _ours(self, points: frozenset[Path]) -> frozenset[Path]:
        """Return those mount points that udisks created for this user."""
        return frozenset(point for point in points if point.parent in self._folders)

    async def unmount(self, volume: Volume) -> None:
        """Unmount a volume; see ``Mounter``.

        Never lazily or forced, which would hide write errors. udisks itself unmounts a camera
        that was unplugged.
        """
        give_up = self._clock.monotonic() + _UNMOUNT_SECONDS
        pause = _UNMOUNT_FIRST
        while True:
            try:
                return await self._unmount(volume)
            except MountError:
                if self._clock.monotonic() >= give_up:
                    raise
            await self._clock.sleep(pause)
            pause = min(2 * pause, _UNMOUNT_CAP)

    async def _unmount(self, volume: Volume) -> None:
        foreign: frozenset[Path] = frozenset()
        with _failing(volume, "unmount"):
            async with connected(self._bus_address) as bus:
                block = await _find(bus, volume)
                if block is not None:
                    foreign = block.points - self._ours(block.points)
                    if block.points != foreign:
                        await _call(bus, block.path, f"{_FILESYSTEM}.Unmount")
        mounts = await in_thread(read_mounts)
        left = foreign | {mount.point for mount in mounts if mount.device == volume.number}
        if left:
            where = ", ".join(sorted(map(shown, left)))
            raise MountError(f"{volume.node} is still mounted at {where}", hint=NOT_ALONE)

    async def power_off(self, volume: Volume) -> None:
        """Switch a volume's device off; see ``Mounter``."""
        with _failing(volume, "switch off"):
            async with connected(self._bus_address) as bus:
                block = await _find(bus, volume)
                if block is None:
                    return
                try:
                    await _call(bus, block.drive, f"{_DRIVE}.PowerOff")
                except DBusError:
                    if await _find(bus, volume) is not None:
                        raise


async def _find(bus: Connection, volume: Volume) -> _Block | None:
    """Return a volume's properties in udisks; None if its file system is unknown."""
    method = f"{_SERVICE}.Manager.ResolveDevice"
    device = {"path": Variant("s", volume.node)}
    paths = await bus.call(
        _SERVICE, _MANAGER, method, "a{sv}a{sv}", device, {}, seconds=_ASK_SECONDS
    )
    for path in paths:
        try:
            block = await bus.properties(_SERVICE, path, _BLOCK, seconds=_ASK_SECONDS)
            filesystem = await bus.properties(_SERVICE, path, _FILESYSTEM, seconds=_ASK_SECONDS)
        except DBusError as error:
            if error.type in _NOT_THERE:
                continue
            raise
        # Names and numbers are reused for other devices.
        if (block["DeviceNumber"], block["IdUUID"]) == (volume.number, volume.uuid):
            return _Block(
                path=path,
                drive=block["Drive"],
                in_fstab=any(kind == "fstab" for kind, _ in block["Configuration"]),
                points=frozenset(
                    Path(os.fsdecode(bytes(point).rstrip(b"\0")))
                    for point in filesystem["MountPoints"]
                ),
            )
    return None


async def _mount(bus: Connection, block: _Block, volume: Volume, options: str) -> Path:
    try:
        point = await _call(bus, block.path, f"{_FILESYSTEM}.Mount", options=Variant("s", options))
    except DBusError as error:
        if await _find(bus, volume) is None:
            raise CameraLostError(f"{volume.node} was unplugged") from error
        raise
    return Path(point)


async def _call(bus: Connection, path: str, method: str, **options: Variant) -> Any:
    """Call a method that accesses a device and may need polkit's authorisation."""
    options["auth.no_user_interaction"] = Variant("b", value=True)
    return await bus.call(_SERVICE, path, method, "a{sv}", options, seconds=_WORK_SECONDS)


@contextlib.contextmanager
def _failing(volume: Volume, work: str) -> Iterator[None]:
    """Convert a D-Bus error to a MountError."""
    try:
        yield
    except DBusError as error:
        named = f"{error.type}: {error.text}"
        hint = next((hint for pattern, hint in _HINTS if pattern.search(named)), "")
        # The text may contain a mount point, and so the camera's label.
        detail = f"udisks2 can't {work} {volume.node}: {display_path(error.text.encode())}"
        raise MountError(detail, hint=hint) from error
