"""A dock for tests: cameras that are folders, plugged in and mounted as if they were real."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from dockd.base.errors import CameraLostError, MountError, SourceError
from dockd.base.incidents import Incidents
from dockd.station.cameras import Media
from dockd.station.cameras.devices import Device, Volume
from dockd.station.cameras.usb import UsbSource
from dockd.station.config import BayConfig, ProfileConfig, UsbConfig
from dockd.station.reports import Reports
from tests.clocks import FakeClock

_numbers = itertools.count(1)


def make_volume(folder: Path, **changes: Any) -> Volume:
    """A FAT file system whose mount shows a folder; ``changes`` replace what is known of it."""
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {
        "node": f"/dev/sd{next(_numbers)}",
        "number": folder.stat().st_dev,
        "filesystem": "vfat",
        "uuid": "1A2B-3C4D",
        "label": "BODYCAM",
        "lun": 0,
        "partition": 1,
    }
    return Volume(**known | changes)


def make_device(**changes: Any) -> Device:
    """A camera without a file system that isn't plugged in; ``changes`` replace its facts."""
    known: dict[str, Any] = {
        "path": "/sys/devices/usb1/1-1",
        "plugged": 1,
        "port": "pci-0000:00:14.0-usb-0:1",
        "vendor": "1234",
        "product": "5678",
        "serial": "CAM-0001",
        "model": "Bodycam X",
        "volumes": (),
        "unusable": (),
    }
    return Device(**known | changes)


def make_profile(name: str = "bodycam", **usb: Any) -> ProfileConfig:
    """A profile of vendor 1234, whose clips are ``.mp4``; ``usb`` replaces its keys."""
    rules = [{"pattern": "**/*.mp4", "kind": "video"}]
    keys = {"name": name, "rules": rules, "usb": {"vendor": "1234"} | usb}
    return ProfileConfig.model_validate(keys)


class FakeUdev:
    """Devices that tests plug and unplug; sysfs is a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plugged: dict[str, Device] = {}
        self._follower: Callable[[], None] | None = None
        self._broken: asyncio.Future[None] | None = None
        self.listings = 0
        """How often the devices were listed."""
        self.followed = 0
        """How often somebody began to follow the events."""
        self.trouble: Exception | None = None
        """What listing the devices ends with, if anything."""

    def plug(self, port: str = "1", *, hint: bool = True, **facts: Any) -> Device:
        """Plug a device in."""
        path = self._folder / f"1-{port}"
        path.mkdir(parents=True)
        facts = {"port": f"pci-0000:00:14.0-usb-0:{port}"} | facts
        device = make_device(path=str(path), plugged=path.stat().st_ino, **facts)
        return self.show(port, device, hint=hint)

    def show(self, port: str, device: Device, *, hint: bool = True) -> Device:
        """Let a device look otherwise while it stays plugged in."""
        self._plugged[port] = device
        if hint:
            self.hint()
        return device

    def unplug(self, port: str = "1", *, hint: bool = True) -> None:
        """Take a device out."""
        path = Path(self._plugged.pop(port).path)
        # Not removed, so that its inode number is not given to the next one.
        path.rename(self._folder / f"gone-{next(_numbers)}")
        if hint:
            self.hint()

    def hint(self) -> None:
        """Send an event to whoever follows."""
        if self._follower is not None:
            self._follower()

    def break_off(self) -> None:
        """Let the events end as after an overrun."""
        assert self._broken is not None
        self._follower = None
        self._broken.set_exception(SourceError("udev's events were lost"))

    def devices(self) -> list[Device]:
        self.listings += 1
        if self.trouble is not None:
            raise self.trouble
        return list(self._plugged.values())

    async def follow(self, hint: Callable[[], None]) -> None:
        self.followed += 1
        self._follower = hint
        self._broken = asyncio.get_running_loop().create_future()
        hint()
        await self._broken


class FakeMounter:
    """Mounts folders; a test may hold a call up or let it fail."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        """What a mount of each node shows."""
        self.mounted: dict[str, bool] = {}
        """The nodes that are mounted, and whether they are writable."""
        self.calls: list[tuple[str, str]] = []
        self.fail: dict[tuple[str, str], MountError | CameraLostError] = {}
        """Calls and nodes, and what they end with."""
        self.gates: dict[str, asyncio.Event] = {}
        """Calls that wait for an event."""
        self.reached = asyncio.Event()
        """Set when a call waits."""

    def volume(self, folder: Path, **changes: Any) -> Volume:
        """A volume whose mount shows a folder."""
        volume = make_volume(folder, **changes)
        self.folders[volume.node] = folder
        return volume

    async def _called(self, call: str, volume: Volume) -> None:
        self.calls.append((call, volume.node))
        if call in self.gates:
            self.reached.set()
            await self.gates[call].wait()
        if (call, volume.node) in self.fail:
            raise self.fail[call, volume.node]

    async def mount(self, volume: Volume, *, writable: bool) -> Path:
        await self._called("mount", volume)
        assert volume.node not in self.mounted
        self.mounted[volume.node] = writable
        return self.folders[volume.node]

    async def unmount(self, volume: Volume) -> None:
        await self._called("unmount", volume)
        self.mounted.pop(volume.node, None)

    async def power_off(self, volume: Volume) -> None:
        await self._called("power_off", volume)


class Dock:
    """What a source docks."""

    def __init__(self, work: Callable[[Media], Any] | None = None) -> None:
        self._work = work
        self.now: dict[str, Media] = {}
        """The cameras that are docked now."""
        self.begun: list[str] = []
        """The cameras in the order in which they were docked."""

    async def __call__(self, media: Media) -> None:
        camera = media.camera.id
        assert camera not in self.now, "one camera is docked twice at once"
        self.now[camera] = media
        self.begun.append(camera)
        try:
            if self._work is not None:
                await self._work(media)
            await asyncio.Event().wait()
        finally:
            del self.now[camera]


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until something holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)


class Station:
    """A USB source with its seams."""

    def __init__(self, folder: Path) -> None:
        self.udev = FakeUdev(folder / "sys")
        self.mounter = FakeMounter()
        self.clock = FakeClock()
        self.profiles = [make_profile()]
        self.bays: list[BayConfig] = []
        self.beats = 0
        """How often the source gave a sign of work."""
        self.incidents = Incidents(self.clock)
        self._folder = folder

    def volume(self, **changes: Any) -> Volume:
        """A volume of its own, with nothing in it."""
        return self.mounter.volume(self._folder / f"volume-{next(_numbers)}", **changes)

    def folder(self, volume: Volume) -> Path:
        """What a mount of a volume shows."""
        return self.mounter.folders[volume.node]

    def plug(self, port: str = "1", **facts: Any) -> Device:
        """Plug a camera in that has a volume, unless ``facts`` have others."""
        return self.udev.plug(port, **{"volumes": (self.volume(),)} | facts)

    @contextlib.asynccontextmanager
    async def running(self, dock: Dock) -> AsyncIterator[None]:
        """Run the source; an error in it is raised."""
        source = UsbSource(
            UsbConfig(),
            self.profiles,
            self.bays,
            self.udev,
            self.mounter,
            self.clock,
            self.incidents,
            Reports(),
        )
        task = asyncio.create_task(source.run(dock, self._beat))
        try:
            yield
        finally:
            task.cancel()
            for gate in self.mounter.gates.values():
                gate.set()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _beat(self) -> None:
        self.beats += 1

    async def looked(self, times: int = 3) -> None:
        """Wait until the devices were listed anew, some times in full."""
        before = self.udev.listings
        await until(lambda: self.udev.listings > before + times)
