"""Cameras on USB: found when they are plugged in, docked for as long as they are."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dockd.base.clock import Clock
from dockd.base.errors import CameraRefusedError, explained
from dockd.base.incidents import Incidents
from dockd.base.log_events import Failed
from dockd.base.threads import DEVICES_PATIENCE, Threads, in_thread
from dockd.station import events
from dockd.station.cameras import Dock
from dockd.station.cameras.devices import Device, Udev
from dockd.station.cameras.identity import Verdict, match, place_of, recognise
from dockd.station.cameras.mounting import Mounter
from dockd.station.cameras.usb_media import UsbMedia
from dockd.station.config import BayConfig, ProfileConfig, UsbConfig
from dockd.station.model import Camera
from dockd.station.reports import CameraGone, Reports

_DEBOUNCE = 0.25
"""Seconds that a burst of hints is let pass before the devices are listed once."""
_SETTLE = 1.0
"""Seconds that a device must look the same before it counts: its LUNs turn up one by one."""
_VOLUMES_WITHIN = 15.0
"""Seconds that a camera may take to show a file system before that is told."""
_FOLLOW_AGAIN = 1.0
_DOCK_AGAIN = 5.0
_SILENCE = 120.0
"""Seconds by which a look at the USB ports may be late."""


@dataclass(frozen=True)
class _PluggedIn:
    """One camera's time in its port, for as long as its device looks the same."""

    device: Device
    camera: Camera
    task: asyncio.Task[None]

    def is_in_the_way_of(self, device: Device, camera: Camera) -> bool:
        """Say whether this camera and another one would share a camera or a mount."""
        nodes = {volume.node for volume in self.device.volumes}
        return camera == self.camera or any(volume.node in nodes for volume in device.volumes)


class UsbSource:
    """The uSB cameras."""

    def __init__(
        self,
        config: UsbConfig,
        profiles: Sequence[ProfileConfig],
        bays: Sequence[BayConfig],
        udev: Udev,
        mounter: Mounter,
        clock: Clock,
        incidents: Incidents,
        reports: Reports,
    ) -> None:
        """Find cameras of these profiles.

        Args:
            config: how often to look.
            profiles: what is a camera.
            bays: what people call the ports.
            udev: says what is plugged in.
            mounter: mounts it.
            clock: paces the looks.
            incidents: what is refused, and what fails.
            reports: hears of cameras that are gone.
        """
        self._rescan_seconds = config.rescan_seconds
        self._profiles = profiles
        self._bays = bays
        self._udev = udev
        self._mounter = mounter
        self._clock = clock
        self.name = "usb"
        self.silence = _SILENCE + config.rescan_seconds
        self._hinted = asyncio.Event()
        self._stays: dict[Device, _PluggedIn] = {}
        self._ending: list[_PluggedIn] = []
        self._seen: dict[Device, float] = {}
        """Since when each device has looked as it does."""
        self._told: set[tuple[str, int, str]] = set()
        """What was said of devices that still are plugged in, by path, plug and words."""
        self._reports = reports
        self._incidents = incidents.scope("usb")
        self._refusals = self._incidents.within("refused")
        self._refused: dict[Device, str] = {}
        """The devices that were refused at the last look, and why."""

    async def run(self, dock: Dock, beat: Callable[[], None] = lambda: None) -> None:
        """Dock each camera for as long as it is plugged in, until cancelled."""
        # Of an earlier run that has failed, no stay goes on.
        self._stays.clear()
        self._ending.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            while True:
                with self._incidents.within("list").fence(events.usb_monitor_failed()):
                    await self._look(dock, group)
                beat()
                if await self._clock.wait(self._hinted, self._rescan_seconds):
                    await self._clock.sleep(_DEBOUNCE)
                self._hinted.clear()

    async def _follow(self) -> None:
        """Take udev's events as hints; that they stop costs no more than the time to a look."""
        monitor = self._incidents.within("monitor")

        def hint() -> None:
            monitor.recovered(events.usb_monitor_failed)
            self._hinted.set()

        while True:
            try:
                await self._udev.follow(hint)
            except Exception as error:  # noqa: BLE001  # regular looks make up for it
                monitor.failed(events.usb_monitor_failed(), explained(error))
            await self._clock.sleep(_FOLLOW_AGAIN)

    async def _look(self, dock: Dock, group: asyncio.TaskGroup) -> None:
        """List the devices; begin the stays of new cameras, end those of others.

        Raises:
            SourceError: they can't be listed; what is docked stays so.
        """
        devices = await in_thread(self._udev.devices)
        verdicts = recognise(devices, self._profiles)
        self._tell(verdicts)
        cameras = {
            device: verdict for device, verdict in verdicts.items() if isinstance(verdict, Camera)
        }
        for device in self._stays.keys() - cameras.keys():
            stay = self._stays.pop(device)
            stay.task.cancel()
            self._ending.append(stay)
        self._ending = [stay for stay in self._ending if not stay.task.done()]
        for device, camera in cameras.items():
            if device not in self._stays:
                before = [
                    stay.task for stay in self._ending if stay.is_in_the_way_of(device, camera)
                ]
                task = group.create_task(self._stay(device, camera, before, dock))
                self._stays[device] = _PluggedIn(device, camera, task)

    async def _stay(
        self, device: Device, camera: Camera, before: Iterable[asyncio.Task[None]], dock: Dock
    ) -> None:
        if before:
            await asyncio.wait(before)
        await self._clock.sleep(_SETTLE)
        for node in device.unusable:
            if self._is_news(device, node):
                events.camera_volume_unusable(camera=camera.id, node=node)
        profile = match(device, self._profiles)
        assert profile is not None
        place = place_of(device, self._bays)
        threads = Threads(camera.id, DEVICES_PATIENCE, self._clock)
        try:
            while True:
                media = UsbMedia(device, camera, place, profile, self._mounter, threads=threads)
                await dock(media)
                await self._clock.sleep(_DOCK_AGAIN)
        finally:
            self._reports.put(CameraGone(camera, place))

    def _tell(self, verdicts: Mapping[Device, Verdict]) -> None:
        """Tell of devices that are not docked, once for each time they are plugged in."""
        now = self._clock.monotonic()
        self._seen = {device: self._seen.get(device, now) for device in verdicts}
        plugs = {(device.path, device.plugged) for device in verdicts}
        self._told = {told for told in self._told if told[:2] in plugs}
        refused: dict[Device, CameraRefusedError] = {}
        for device, verdict in verdicts.items():
            if now - self._seen[device] < (_SETTLE if device.volumes else _VOLUMES_WITHIN):
                continue
            if verdict is None and self._is_news(device, ""):
                events.device_ignored(
                    vendor=device.vendor,
                    product=device.product,
                    serial=device.serial,
                    model=device.model,
                    labels=device.labels,
                    port=device.port,
                    hint="if it is a camera: dockd profile suggest",
                )
            elif isinstance(verdict, CameraRefusedError):
                refused[device] = verdict
                if self._refused.get(device) != verdict.detail:
                    self._refusals.within(device.path).failed(self._refusal(device), verdict)
        self._refusals.keep({device.path for device in refused}, events.camera_refused)
        self._refused = {device: verdict.detail for device, verdict in refused.items()}

    def _refusal(self, device: Device) -> Failed:
        profile = match(device, self._profiles)
        return events.camera_refused(
            place=place_of(device, self._bays),
            profile=profile.name if profile else "",
            serial=device.serial,
        )

    def _is_news(self, device: Device, what: str) -> bool:
        told = (device.path, device.plugged, what)
        is_news = told not in self._told
        self._told.add(told)
        return is_news
