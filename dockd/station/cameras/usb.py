"""USB cameras, docked while they are plugged in."""

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
"""Seconds to wait for a burst of hints to end before the devices are listed."""
_SETTLE = 1.0
"""Seconds that a device must stay unchanged before it is docked: its LUNs appear one by one."""
_VOLUMES_WITHIN = 15.0
"""Seconds after which a camera without a file system is reported."""
_FOLLOW_AGAIN = 1.0
_DOCK_AGAIN = 5.0
_SILENCE = 120.0
"""Seconds by which a scan of the USB ports may be late."""


@dataclass(frozen=True)
class _PluggedIn:
    """A camera in its port, while its device is unchanged."""

    device: Device
    camera: Camera
    task: asyncio.Task[None]

    def is_in_the_way_of(self, device: Device, camera: Camera) -> bool:
        """Return whether another device would be the same camera or use the same mount."""
        nodes = {volume.node for volume in self.device.volumes}
        return camera == self.camera or any(volume.node in nodes for volume in device.volumes)


class UsbSource:
    """The source of USB cameras."""

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
            config: the interval of scans.
            profiles: which devices are cameras.
            bays: the names of ports.
            udev: lists devices.
            mounter: mounts cameras.
            clock: the time of scans.
            incidents: refused cameras, and failures.
            reports: receives cameras that are gone.
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
        """Since when each device is unchanged."""
        self._reported: set[tuple[str, int, str]] = set()
        """What was reported of devices that are still plugged in: path, plug number and text."""
        self._reports = reports
        self._incidents = incidents.scope("usb")
        self._refusals = self._incidents.within("refused")
        self._refused: dict[Device, str] = {}
        """The devices that were refused at the last scan, and why."""

    async def run(self, dock: Dock, beat: Callable[[], None] = lambda: None) -> None:
        """Dock each camera while it is plugged in, until cancelled."""
        # No dockings of an earlier, failed run remain.
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
        """Use udev's events as hints; without them, cameras are found at the next scan."""
        monitor = self._incidents.within("monitor")

        def hint() -> None:
            monitor.recovered(events.usb_monitor_failed)
            self._hinted.set()

        while True:
            try:
                await self._udev.follow(hint)
            except Exception as error:  # noqa: BLE001  # regular scans replace the events
                monitor.failed(events.usb_monitor_failed(), explained(error))
            await self._clock.sleep(_FOLLOW_AGAIN)

    async def _look(self, dock: Dock, group: asyncio.TaskGroup) -> None:
        """List the devices; dock new cameras, undock those that are gone.

        Raises:
            SourceError: they can't be listed; docked cameras stay docked.
        """
        devices = await in_thread(self._udev.devices)
        verdicts = recognise(devices, self._profiles)
        self._report(verdicts)
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

    def _report(self, verdicts: Mapping[Device, Verdict]) -> None:
        """Report devices that are not docked, once each time they are plugged in."""
        now = self._clock.monotonic()
        self._seen = {device: self._seen.get(device, now) for device in verdicts}
        plugs = {(device.path, device.plugged) for device in verdicts}
        self._reported = {report for report in self._reported if report[:2] in plugs}
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
        report = (device.path, device.plugged, what)
        is_news = report not in self._reported
        self._reported.add(report)
        return is_news
