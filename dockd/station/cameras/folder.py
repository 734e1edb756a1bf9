"""Configured folders as cameras, docked while they exist."""

import asyncio
import math
from collections.abc import Callable
from functools import partial

from watchdog.observers.api import BaseObserver

from dockd.base.clock import Clock
from dockd.base.concurrency import finished
from dockd.base.errors import CameraHangsError, SourceError
from dockd.base.incidents import Incidents
from dockd.base.threads import Threads, in_thread, start
from dockd.station import events
from dockd.station.cameras import Dock
from dockd.station.cameras.filesystems import NETWORK_TYPES, filesystem_types, identity_of
from dockd.station.cameras.folder_media import FolderMedia, FolderSeams
from dockd.station.cameras.folder_watch import Unwatched, end_watch, start_watch
from dockd.station.cameras.places import Places
from dockd.station.cameras.profile import Profile
from dockd.station.config import FolderConfig
from dockd.station.model import Camera
from dockd.station.reports import CameraGone, Reports

_APPEARS_EVERY = 2.0
_LOOKED_AT_EVERY = 30.0
"""Seconds between checks of a docked folder's identity, regardless of watches."""
_LONG_LOOK = 300.0
"""Seconds that watching all of a folder's subfolders may take."""
_AT_MOST_EVERY = 0.1


class FolderSource:
    """The source of a configured folder."""

    def __init__(
        self,
        config: FolderConfig,
        profile: Profile,
        clock: Clock,
        incidents: Incidents | None = None,
        seams: FolderSeams | None = None,
        unwatched: Unwatched | None = None,
        *,
        reports: Reports | None = None,
        places: Places | None = None,
    ) -> None:
        self._reports = reports or Reports()
        self.places = places or Places()
        """Signals that the folder may have been replaced."""
        incidents = incidents or Incidents(clock)
        self._unwatched = unwatched or Unwatched(incidents)
        self._config = config
        self._profile = profile
        self._clock = clock
        self._incidents = incidents
        self._seams = seams
        self._camera = Camera(config.profile, config.serial).id
        self._threads = Threads(self._camera, clock=clock)
        self._place = config.bay or str(config.path)
        self.name = f"folder {self._camera}"
        self.silence = math.inf  # its disk may be slow
        self._scope = incidents.scope("folder", self._camera)

    async def run(self, dock: Dock, beat: Callable[[], None] = lambda: None) -> None:  # noqa: ARG002
        """Dock the folder while it exists, until cancelled."""
        while True:
            if await self._is_there():
                await self._docked(dock)
            else:
                camera = Camera(self._config.profile, self._config.serial)
                self._reports.put(CameraGone(camera, self._place))
            await self._clock.sleep(_APPEARS_EVERY)

    async def _is_there(self) -> bool:
        """Return whether the folder exists; an error is reported and counts as missing."""
        try:
            is_there = await self._threads.run(identity_of, self._config.path) is not None
        except SourceError as error:
            self._report(error, _APPEARS_EVERY)
            return False
        self._scope.recovered(events.camera_failed)
        return is_there

    def _report(self, error: SourceError, retry_in: float) -> None:
        failed = events.camera_failed(camera=self._camera)
        self._scope.failed(failed, error, retry_in=retry_in)

    async def _docked(self, dock: Dock) -> None:
        media = FolderMedia(
            self._config, self._profile, self._clock, self._incidents, self._seams, self._threads
        )
        unwatch = None
        try:
            unwatch = await self._threads.run(self.places.watch, media.path)
            if await self._threads.run(media.recognise):
                await self._while_it_is_there(media, dock)
        except SourceError:
            pass  # retried and reported by _is_there
        finally:
            if unwatch is not None:
                await in_thread(unwatch)

    async def _while_it_is_there(self, media: FolderMedia, dock: Dock) -> None:
        """Dock the folder while it is the same one."""
        loop = asyncio.get_running_loop()
        observer = await self._threads.patiently(partial(self._watch, media, loop), more=_LONG_LOOK)
        stay = asyncio.ensure_future(dock(media))
        replaced = asyncio.ensure_future(self._until_replaced(media))
        try:
            await asyncio.wait({stay, replaced}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            replaced.cancel()
            if not stay.done():
                stay.cancel()
                await finished(asyncio.wait({stay}))
            media.forget()
            self._unwatched.remove(self._camera)
            if observer is not None:
                try:
                    await self._threads.run(end_watch, observer)
                except CameraHangsError:
                    # Its thread ends by itself once its folder responds; do not wait for it.
                    start(observer.stop, "unwatch", daemon=True)
        if not stay.cancelled():
            stay.result()

    async def _until_replaced(self, media: FolderMedia) -> None:
        """Wait until the folder is replaced or gone, as after a mount."""
        while True:
            changed = self.places.changed
            try:
                if not await self._threads.run(media.is_there):
                    return
            except SourceError as error:
                # The docking fails as well, but perhaps later.
                self._report(error, _LOOKED_AT_EVERY)
            else:
                self._scope.recovered(events.camera_failed)
            if await self._clock.wait(changed, _LOOKED_AT_EVERY):
                await self._clock.sleep(_AT_MOST_EVERY)

    def _watch(self, media: FolderMedia, loop: asyncio.AbstractEventLoop) -> BaseObserver | None:
        polls = self._config.watch == "polling" or (
            self._config.watch == "auto"
            and not filesystem_types(media.path).isdisjoint(NETWORK_TYPES)
        )
        no_room = partial(self._unwatched.add, self._camera)
        return start_watch(media.path, media.changed, loop, no_room, polls=polls)
