"""Cameras that are folders: found, watched and looked through."""

import asyncio
import contextlib
import errno
import math
import os
import stat
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from watchdog.events import FileSystemEvent
from watchdog.events import FileSystemEventHandler as EventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from dockd.base.clock import Clock
from dockd.base.concurrency import finished
from dockd.base.errors import CameraHangsError, CameraLostError, ClipUnsettledError, SourceError
from dockd.base.incidents import Incidents
from dockd.base.threads import Threads, in_thread, start
from dockd.host.files import has_writer
from dockd.station import events
from dockd.station.cameras import Dock, Look
from dockd.station.cameras.devices import FORGETFUL
from dockd.station.cameras.medium import CountErrors, count_errors, look_through
from dockd.station.cameras.mounting import Mount, mounts_of, read_mounts
from dockd.station.cameras.places import Places
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.settling import HasWriter, Reason, Settling
from dockd.station.cameras.tree import Root
from dockd.station.config import FolderConfig
from dockd.station.model import Camera, display_path
from dockd.station.reports import CameraGone, Reports

NETWORK_TYPES = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "fuseblk", "gfs2", "gpfs", "lustre"),
    *("ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3", "smbfs"),
    *("vboxsf", "virtiofs", "vmhgfs"),
}
"""File systems that others change as well, unseen by inotify and by this kernel's leases."""
_FORGETFUL = FORGETFUL | {"fuse", "fuseblk"}
"""File systems on which a folder may have another inode number at each look-up."""
_APPEARS_EVERY = 2.0
_LOOKED_AT_EVERY = 30.0
"""Seconds after which a docked folder is compared with what was docked, whatever a watch says."""
_POLL_EVERY = 2.0
_POLL_INSTEAD_EVERY = 10.0
"""Seconds between two looks for changes where inotify has no room: there may be many of them."""
_LONG_LOOK = 300.0
"""Seconds that it may take to go through all of a folder's folders."""
_NO_WATCH = (OSError, RuntimeError)
"""Too many watches or instances of this user's, too many descriptors or threads."""
_SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
_NO_ROOM = (
    'raise fs.inotify.max_user_instances and max_user_watches (sysctl), or set watch = "polling"'
)
_SHUT = "make sure that the user dockd may read all of its subfolders; see dockd check"
_AT_MOST_EVERY = 0.1
_READERS = 64
_LONG = 600.0
"""Seconds that a file may take to be complete, beside the time that it has to rest."""


Identity = tuple[int, int, frozenset[int]]
"""A folder's device and inode, and what it is on and what is mounted on and below it."""


@dataclass(frozen=True)
class FolderSeams:
    """What a test of folders replaces: a kernel that can't tell, a disk that fails."""

    has_writer: HasWriter = has_writer
    errors: CountErrors = count_errors


class FolderMedia:
    """One folder, as a docked camera."""

    def __init__(
        self,
        config: FolderConfig,
        profile: Profile,
        clock: Clock,
        incidents: Incidents | None = None,
        seams: FolderSeams | None = None,
        threads: Threads | None = None,
    ) -> None:
        seams = seams or FolderSeams()
        self.camera = Camera(config.profile, config.serial)
        self.place = config.bay or str(config.path)
        self.facts: Mapping[str, str] = {}
        self.changed = asyncio.Event()
        self.look_every = config.rescan_seconds
        self.readers = _READERS
        self.threads = threads or Threads(self.camera.id, clock=clock)
        self.ours_alone = False
        self.path = config.path
        self.settling = Settling(
            clock, config.settle_seconds, config.quiet_seconds, seams.has_writer
        )
        self._profile = profile
        self._clock = clock
        self._errors = seams.errors
        self._identity: Identity | None = None
        """What the folder that is docked is known by."""
        self._has_inodes = True
        self._waiting: dict[bytes, float] = {}
        """The files that are not complete, and since when."""
        incidents = incidents or Incidents(clock)
        self._late = incidents.scope("unsettled", self.camera.id)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Root]:
        """A folder is readable at all times."""
        yield await self.threads.run(self._root)

    @contextlib.asynccontextmanager
    async def writable(self) -> AsyncIterator[Root]:
        """A folder is writable at all times, and every removal is durable."""
        yield await self.threads.run(self._root)

    def _root(self) -> Root:
        kinds = filesystem_types(self.path)
        return Root(
            self.path,
            stable_inodes=kinds.isdisjoint(FORGETFUL),
            is_local=kinds.isdisjoint(NETWORK_TYPES),
        )

    def look(self, root: Root) -> Look:
        """Look through the folder for complete files; blocks.

        Raises:
            CameraLostError: the folder is gone.
            OSError: it could not be read.
        """
        try:
            sight = look_through(root, self._profile, self._errors)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CameraLostError(f"{self.path} is gone") from error
        unsettled = self.settling.unsettled(
            root,
            {path: stat for path, (_, stat) in sight.clips.items()},
            is_local=root.is_local and filesystem_types(self.path).isdisjoint(NETWORK_TYPES),
        )
        self._tell_of(unsettled)
        return Look(
            [file for path, (file, _) in sight.clips.items() if path not in unsettled],
            sight.left_alone,
            again_in=max(self.settling.again_in, 0.1) if unsettled else None,
            failures=sight.failures,
            unsettled=list(unsettled),
        )

    def _tell_of(self, unsettled: Mapping[bytes, Reason]) -> None:
        """Tell of files that take long to be complete: perhaps they never will be."""
        camera, now = self.camera.id, self._clock.monotonic()
        for path in self._waiting.keys() - unsettled.keys():
            self._late.within(display_path(path)).recovered(events.clip_unsettled)
        self._waiting = {path: self._waiting.get(path, now) for path in unsettled}
        for path, since in self._waiting.items():
            reason = unsettled[path]
            if now - since < reason.within + _LONG:
                continue
            shown = display_path(path)
            error = ClipUnsettledError(f"{camera}: {shown}: {reason.what}", hint=reason.hint)
            late = events.clip_unsettled(camera=camera, path=shown)
            self._late.within(shown).failed(late, error)

    def forget(self) -> None:
        """Show no file as late any longer: the folder is not docked any more."""
        self._late.close()

    def is_there(self) -> bool:
        """Say whether the folder still exists; blocks.

        Raises:
            SourceError: its disk or its network doesn't tell.
        """
        there = self._known_by(identity_of(self.path))
        return there is not None and self._identity in {None, there}

    def recognise(self) -> bool:
        """Count on the folder that is there now from now on; false if there is none. Blocks.

        Raises:
            SourceError: its disk or its network doesn't tell.
        """
        self._has_inodes = _holder(self.path, read_mounts()) not in _FORGETFUL
        self._identity = self._known_by(identity_of(self.path))
        return self._identity is not None

    def _known_by(self, identity: Identity | None) -> Identity | None:
        if identity is None or self._has_inodes:
            return identity
        device, _, mounts = identity
        return device, 0, mounts

    async def release(self) -> None:
        """A folder has nothing to switch off."""


class Unwatched:
    """The folders of a station that inotify has no room for, told once for all of them."""

    def __init__(self, incidents: Incidents) -> None:
        self._folders: set[str] = set()
        self._incidents = incidents.scope("unwatched")

    def add(self, camera: str, error: Exception) -> None:
        """Note that a folder is looked at often instead."""
        self._folders.add(camera)
        reason, hint = str(error), _NO_ROOM
        if isinstance(error, OSError):
            reason = error.strerror or reason
            hint = hint if error.errno in _SHORT_OF else _SHUT
        short = SourceError(f"{camera} is polled: {reason}", hint=hint)
        polled = events.folder_polled(camera=camera, folders=len(self._folders))
        self._incidents.failed(polled, short)

    def remove(self, camera: str) -> None:
        """Note that a folder is not docked any more."""
        if camera in self._folders:
            self._folders.remove(camera)
            if not self._folders:
                self._incidents.recovered(events.folder_polled)


class FolderSource:
    """A configured folder that comes and goes."""

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
        """When the folder may have become another one."""
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
        """Dock the folder whenever it exists, until cancelled."""
        while True:
            if await self._is_there():
                await self._docked(dock)
            else:
                camera = Camera(self._config.profile, self._config.serial)
                self._reports.put(CameraGone(camera, self._place))
            await self._clock.sleep(_APPEARS_EVERY)

    async def _is_there(self) -> bool:
        """Say whether the folder exists; that nobody can tell is told, and no reason to end."""
        try:
            is_there = await self._threads.run(identity_of, self._config.path) is not None
        except SourceError as error:
            self._tell(error, _APPEARS_EVERY)
            return False
        self._scope.recovered(events.camera_failed)
        return is_there

    def _tell(self, error: SourceError, retry_in: float) -> None:
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
            pass  # looked at again, and told
        finally:
            if unwatch is not None:
                await in_thread(unwatch)

    async def _while_it_is_there(self, media: FolderMedia, dock: Dock) -> None:
        """Let a docking go on while the folder is the one that it was begun with."""
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
                    await self._threads.run(_end, observer)
                except CameraHangsError:
                    # Its thread ends by itself once its folder answers; nobody waits for that.
                    start(observer.stop, "unwatch", daemon=True)
        if not stay.cancelled():
            stay.result()

    async def _until_replaced(self, media: FolderMedia) -> None:
        """Wait until another folder is seen at the path, or none, as after a mount."""
        while True:
            changed = self.places.changed
            try:
                if not await self._threads.run(media.is_there):
                    return
            except SourceError as error:
                # What works on it finds out as well, but may have more patience.
                self._tell(error, _LOOKED_AT_EVERY)
            else:
                self._scope.recovered(events.camera_failed)
            if await self._clock.wait(changed, _LOOKED_AT_EVERY):
                await self._clock.sleep(_AT_MOST_EVERY)

    def _watch(self, media: FolderMedia, loop: asyncio.AbstractEventLoop) -> BaseObserver | None:
        """Start a watch, by looking often where inotify has no room; blocks.

        Without any, the regular looks must do.
        """
        polls = self._config.watch == "polling" or (
            self._config.watch == "auto"
            and not filesystem_types(media.path).isdisjoint(NETWORK_TYPES)
        )
        if not polls:
            try:
                return _started(Observer(), _Hints(media, loop))
            except _NO_WATCH as error:
                loop.call_soon_threadsafe(self._unwatched.add, self._camera, error)
        every = _POLL_EVERY if polls else _POLL_INSTEAD_EVERY
        try:
            return _started(PollingObserver(timeout=every), _Hints(media, loop))
        except _NO_WATCH:
            return None


def _started(observer: BaseObserver, hints: "_Hints") -> BaseObserver:
    """Start to watch a folder; what was begun ends where that fails."""
    try:
        observer.schedule(hints, str(hints.path), recursive=True)
        observer.start()
    except BaseException:
        with contextlib.suppress(RuntimeError):  # its thread was not started
            _end(observer)
        raise
    return observer


class _Hints(EventHandler):
    """Turns the watch's events, on its thread, into a hint for the event loop."""

    def __init__(self, media: FolderMedia, loop: asyncio.AbstractEventLoop) -> None:
        self._media = media
        self._loop = loop
        self.path = media.path

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in {"opened", "closed_no_write"}:
            return
        with contextlib.suppress(RuntimeError):  # the loop has closed: the daemon is stopping
            self._loop.call_soon_threadsafe(self._media.changed.set)


def _end(observer: BaseObserver) -> None:
    observer.stop()
    observer.join()


def identity_of(path: Path) -> Identity | None:
    """Return what a folder is known by; None if there is none. Blocks.

    Raises:
        SourceError: that can't be told.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(
            f"{display_path(os.fsencode(path))}: {error.strerror}",
            hint="check the folder's disk or mount, and that the user dockd may read it;"
            " it is retried",
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        return None
    return status.st_dev, status.st_ino, mounts_of(path)


def filesystem_types(path: Path) -> frozenset[str]:
    """Return the types of the file systems that hold a path or are mounted below it."""
    place, mounts = path.resolve(), read_mounts()
    below = {
        _kind(mount)
        for mount in mounts
        if mount.point != place and mount.point.is_relative_to(place)
    }
    return frozenset({_holder(place, mounts), *below})


def _holder(path: Path, mounts: Sequence[Mount]) -> str:
    """Return the type of the file system that holds a path."""
    place = path.resolve()
    holders = [mount for mount in mounts if place.is_relative_to(mount.point)]
    # Of several at one place, the last one is seen.
    return _kind(max(reversed(holders), key=lambda mount: len(mount.point.parts)))


def _kind(mount: Mount) -> str:
    """Return a mount's type without a subtype."""
    return mount.filesystem.partition(".")[0]
