"""A plugged-in camera, mounted only while it is read or wiped."""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path

from dockd.base.concurrency import finished
from dockd.base.errors import CameraLostError, MountError
from dockd.base.threads import DEVICES_PATIENCE, Threads, in_thread
from dockd.station.cameras import Look
from dockd.station.cameras.devices import UNSTABLE_INODES, Device, Volume
from dockd.station.cameras.medium import CountErrors, count_errors, scan
from dockd.station.cameras.mounting import Mounter
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.tree import Root
from dockd.station.config import ProfileConfig
from dockd.station.model import Camera

_LOOK_EVERY = 3600.0
"""Seconds between two scans: only the station changes a USB camera's files."""

_libc = ctypes.CDLL(None, use_errno=True)


class UsbMedia:
    """One plugged-in camera."""

    def __init__(
        self,
        device: Device,
        camera: Camera,
        place: str,
        profile: ProfileConfig,
        mounter: Mounter,
        errors: CountErrors = count_errors,
        threads: Threads | None = None,
    ) -> None:
        assert profile.usb is not None
        self.camera = camera
        self.place = place
        self.facts: Mapping[str, str] = _facts(device)
        self.changed = asyncio.Event()
        self.look_every = _LOOK_EVERY
        self.readers = 1
        self.threads = threads or Threads(camera.id, DEVICES_PATIENCE)
        self.ours_alone = True
        self._device = device
        self._profile = Profile(profile)
        self._powers_off = profile.usb.when_done == "power-off"
        self._mounter = mounter
        self._errors = errors

    def opened(self) -> contextlib.AbstractAsyncContextManager[Root]:
        """Mount all of its file systems read-only for the duration of the context.

        Raises:
            CameraLostError: it was unplugged, raised at the end of the context at the latest.
            MountError: one of them can't be mounted, so none is, or unmounted.
        """
        return self._mounted(writable=False)

    def writable(self) -> contextlib.AbstractAsyncContextManager[Root]:
        """Mount all of its file systems read-write; when the context ends, they are synced.

        Raises:
            CameraLostError, MountError: as above, or writes may be lost.
        """
        return self._mounted(writable=True)

    @contextlib.asynccontextmanager
    async def _mounted(self, *, writable: bool) -> AsyncIterator[Root]:
        folders: dict[Volume, Path] = {}
        try:
            await finished(self._mount(folders, writable=writable))
            await self.threads.run(self._check, folders)
            yield _root(folders)
            await self.threads.run(self._check, folders)
            if writable:
                await self.threads.run(_sync, list(folders.values()))
        except BaseException as error:
            with contextlib.suppress(MountError):  # the first error is the cause
                await finished(self._unmount(folders))
            if isinstance(error, OSError | MountError):
                await self._raise_if_lost(error)
            raise
        await finished(self._unmount(folders))

    async def _raise_if_lost(self, error: Exception) -> None:
        if not await in_thread(self.is_there):
            raise self._lost() from error

    async def _mount(self, folders: dict[Volume, Path], *, writable: bool) -> None:
        for volume in self._device.volumes:
            folders[volume] = await self._mounter.mount(volume, writable=writable)

    async def _unmount(self, folders: Collection[Volume]) -> None:
        failure: MountError | None = None
        for volume in folders:
            try:
                await self._mounter.unmount(volume)
            except MountError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _check(self, folders: Mapping[Volume, Path]) -> None:
        """Check that the mounts are still the camera's: a lost mount leaves an empty folder.

        Raises:
            CameraLostError: they may not be.
        """
        try:
            seen = all(folder.stat().st_dev == volume.number for volume, folder in folders.items())
        except OSError as error:
            raise self._lost() from error
        if not (seen and self.is_there()):
            raise self._lost()

    def _lost(self) -> CameraLostError:
        return CameraLostError(f"{self.camera.id} is gone from {self.place}")

    def look(self, root: Root) -> Look:
        """Scan all of its file systems; blocks.

        Raises:
            CameraLostError: it was unplugged.
            OSError: it could not be read.
        """
        try:
            scanned = scan(root, self._profile, self._errors)
        except OSError as error:
            if not self.is_there():
                raise self._lost() from error
            raise
        self._check(self._folders_of(root))
        files = [file for file, _ in scanned.clips.values()]
        return Look(files, scanned.left_alone, failures=scanned.failures)

    def _folders_of(self, root: Root) -> dict[Volume, Path]:
        folders = {name.strip(b"/").decode(): folder for name, folder in root.folders()}
        return {volume: folders[volume.name] for volume in self._device.volumes}

    def is_there(self) -> bool:
        """Return whether it is still plugged in, and was not unplugged in between."""
        return self._device.is_plugged()

    async def release(self) -> None:
        """Switch the camera off if its profile requires it; otherwise it charges in its dock.

        Raises:
            MountError: it is still on.
        """
        if self._powers_off:
            await self._mounter.power_off(self._device.volumes[0])


def _root(folders: Mapping[Volume, Path]) -> Root:
    by_name = {volume.name.encode(): folder for volume, folder in folders.items()}
    return Root(
        main=by_name.pop(b"", None),
        volumes=by_name,
        stable_inodes=all(volume.filesystem not in UNSTABLE_INODES for volume in folders),
    )


def _sync(folders: Sequence[Path]) -> None:
    """Sync file systems to their media; an unmount would not report write errors.

    Raises:
        MountError: one of them could not be synced.
    """
    for folder in folders:
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if _libc.syncfs(fd):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(fd)
        except OSError as error:
            raise MountError(f"{folder} could not be synced: {error.strerror}") from error


def _facts(device: Device) -> dict[str, str]:
    facts = {
        "usb_vendor": device.vendor,
        "usb_product": device.product,
        "usb_serial": device.serial,
        "model": device.model,
        "port": device.port,
    }
    for volume in device.volumes:
        suffix = f"_{volume.name}" if volume.name else ""
        facts[f"filesystem{suffix}"] = volume.filesystem
        facts[f"filesystem_uuid{suffix}"] = volume.uuid
    return facts
