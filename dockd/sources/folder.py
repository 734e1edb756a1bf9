"""Cameras that are folders: found, watched and looked through."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from watchdog.events import FileClosedEvent, FileModifiedEvent, FileSystemEvent
from watchdog.events import FileSystemEventHandler as EventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from dockd.clock import Clock
from dockd.config import FolderConfig
from dockd.errors import CameraLostError
from dockd.files import has_writer
from dockd.model import Camera, FileStat, FoundFile
from dockd.sources import Dock, Look
from dockd.sources.mounting import read_mounts
from dockd.sources.profile import Profile
from dockd.tree import Failures, Listed, Root, open_file, walk

_NETWORK_TYPES = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse", "fuseblk", "virtiofs"}
_APPEARS_EVERY = 2.0
_POLL_EVERY = 2.0
_READERS = 64


class FolderMedia:
    """One folder, as a docked camera."""

    def __init__(self, config: FolderConfig, profile: Profile, clock: Clock) -> None:
        self.camera = Camera(config.profile, config.serial)
        self.place = str(config.path)
        self.facts: Mapping[str, str] = {}
        self.changed = asyncio.Event()
        self.look_every = config.rescan_seconds
        self.readers = _READERS
        self.ours_alone = False
        self._settle = config.settle_seconds
        self._profile = profile
        self._clock = clock
        self.path = config.path
        self._seen: dict[bytes, tuple[FileStat, float]] = {}
        self.writing: set[bytes] = set()
        """Paths that were written to and not closed since, as far as a watch has said."""

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Root]:
        """A folder is readable at all times."""
        yield Root(self.path)

    @contextlib.asynccontextmanager
    async def writable(self) -> AsyncIterator[Root]:
        """A folder is writable at all times, and every removal is durable."""
        yield Root(self.path)

    def look(self, root: Root) -> Look:
        """Look through the folder for complete files; blocks.

        Raises:
            CameraLostError: the folder is gone.
            OSError: it could not be read.
        """
        files, unsettled, left_alone = [], 0, 0
        failures: Failures = {}
        seen: dict[bytes, tuple[FileStat, float]] = {}
        try:
            for listed in walk(root, failures):
                match = self._profile.match(listed.path)
                if match is None:
                    left_alone += 1
                    continue
                stat = FileStat.of(listed.status)
                before, since = self._seen.get(listed.path, (None, 0.0))
                since = since if before == stat else self._clock.monotonic()
                seen[listed.path] = (stat, since)
                if self._is_complete(root, listed, since):
                    files.append(FoundFile(listed.path, stat.size, stat.modified_ns, match))
                else:
                    unsettled += 1
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CameraLostError(f"{self.path} is gone") from error
        self._seen = seen
        self.writing &= seen.keys()
        again_in = max(self._settle, 0.1) if unsettled else None
        return Look(files, left_alone, again_in, failures)

    def _is_complete(self, root: Root, listed: Listed, since: float) -> bool:
        newest = max(listed.status.st_mtime, listed.status.st_ctime)
        idle = self._clock.now().timestamp() - newest
        unchanged = max(self._clock.monotonic() - since, idle)
        if unchanged < self._settle:
            return False
        try:
            with open_file(root, listed.path) as fd:
                written_to = has_writer(fd)
        except OSError:
            # Reading it will fail as well, and tell what is wrong.
            return True
        if written_to is None:
            return listed.path not in self.writing
        return not written_to

    def is_there(self) -> bool:
        """Say whether the folder still exists."""
        return self.path.is_dir()

    async def release(self) -> None:
        """A folder has nothing to switch off."""


class FolderSource:
    """A configured folder that comes and goes."""

    def __init__(self, config: FolderConfig, profile: Profile, clock: Clock) -> None:
        self._config = config
        self._profile = profile
        self._clock = clock

    async def run(self, dock: Dock) -> None:
        """Dock the folder whenever it exists, until cancelled."""
        while True:
            if await asyncio.to_thread(self._config.path.is_dir):
                await self._docked(dock)
            await self._clock.sleep(_APPEARS_EVERY)

    async def _docked(self, dock: Dock) -> None:
        media = FolderMedia(self._config, self._profile, self._clock)
        observer = await asyncio.to_thread(self._watch, media, asyncio.get_running_loop())
        try:
            await dock(media)
        finally:
            if observer is not None:
                observer.stop()
                await asyncio.to_thread(observer.join)

    def _watch(self, media: FolderMedia, loop: asyncio.AbstractEventLoop) -> BaseObserver | None:
        """Start a watch; without one (too many watches, say) the regular looks must do."""
        polls = self._config.watch == "polling" or (
            self._config.watch == "auto" and filesystem_type(media.path) in _NETWORK_TYPES
        )
        observer: BaseObserver = PollingObserver(timeout=_POLL_EVERY) if polls else Observer()
        try:
            observer.schedule(_Hints(media, loop), str(media.path), recursive=True)
            observer.start()
        except OSError:
            return None
        return observer


class _Hints(EventHandler):
    """Turns the watch's events, on its thread, into a hint for the event loop."""

    def __init__(self, media: FolderMedia, loop: asyncio.AbstractEventLoop) -> None:
        self._media = media
        self._loop = loop

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in {"opened", "closed_no_write"}:
            return
        with contextlib.suppress(RuntimeError):  # the loop has closed: the daemon is stopping
            self._loop.call_soon_threadsafe(self._note, event)

    def _note(self, event: FileSystemEvent) -> None:
        path = os.path.relpath(os.fsencode(event.src_path), os.fsencode(self._media.path))
        match event:
            case FileModifiedEvent():
                self._media.writing.add(path)
            case FileClosedEvent():
                self._media.writing.discard(path)
        self._media.changed.set()


def filesystem_type(path: Path) -> str:
    """Return the type of the file system that holds a path, without a subtype."""
    resolved = path.resolve()
    mounts = [mount for mount in read_mounts() if resolved.is_relative_to(mount.point)]
    # Of several at one place, the last one is seen.
    holder = max(reversed(mounts), key=lambda mount: len(mount.point.parts))
    return holder.filesystem.partition(".")[0]
