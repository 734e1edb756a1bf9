"""A folder as a docked camera."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from dockd.base.clock import Clock
from dockd.base.errors import CameraLostError, ClipUnsettledError
from dockd.base.incidents import Incidents
from dockd.base.threads import Threads
from dockd.host.files import has_writer
from dockd.station import events
from dockd.station.cameras import Look
from dockd.station.cameras.devices import UNSTABLE_INODES
from dockd.station.cameras.filesystems import (
    NETWORK_TYPES,
    Identity,
    filesystem_type,
    filesystem_types,
    identity_of,
)
from dockd.station.cameras.medium import CountErrors, count_errors, scan
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.settling import HasWriter, Reason, Settling
from dockd.station.cameras.tree import Root
from dockd.station.config import FolderConfig
from dockd.station.model import Camera, display_path

_UNSTABLE_INODES = UNSTABLE_INODES | {"fuse", "fuseblk"}
"""File systems on which a folder's inode number may change at each look-up."""
_READERS = 64
_LONG = 600.0
"""Seconds that a file may take to be complete, in addition to the time it must stay unchanged."""


@dataclass(frozen=True)
class FolderSeams:
    """What tests of folders replace: detection of open files, and of disk errors."""

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
        """The docked folder's identity."""
        self._has_inodes = True
        self._waiting: dict[bytes, float] = {}
        """The incomplete files, and since when."""
        incidents = incidents or Incidents(clock)
        self._late = incidents.scope("unsettled", self.camera.id)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Root]:
        """Yield the root: a folder is always readable."""
        yield await self.threads.run(self._root)

    @contextlib.asynccontextmanager
    async def writable(self) -> AsyncIterator[Root]:
        """Yield the root: a folder is always writable, and every removal is durable."""
        yield await self.threads.run(self._root)

    def _root(self) -> Root:
        kinds = filesystem_types(self.path)
        return Root(
            self.path,
            stable_inodes=kinds.isdisjoint(UNSTABLE_INODES),
            is_local=kinds.isdisjoint(NETWORK_TYPES),
        )

    def look(self, root: Root) -> Look:
        """Scan the folder for complete files; blocks.

        Raises:
            CameraLostError: the folder is gone.
            OSError: it could not be read.
        """
        try:
            scanned = scan(root, self._profile, self._errors)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CameraLostError(f"{self.path} is gone") from error
        unsettled = self.settling.unsettled(
            root,
            {path: stat for path, (_, stat) in scanned.clips.items()},
            is_local=root.is_local and filesystem_types(self.path).isdisjoint(NETWORK_TYPES),
        )
        self._report(unsettled)
        return Look(
            [file for path, (file, _) in scanned.clips.items() if path not in unsettled],
            scanned.left_alone,
            again_in=max(self.settling.again_in, 0.1) if unsettled else None,
            failures=scanned.failures,
            unsettled=list(unsettled),
        )

    def _report(self, unsettled: Mapping[bytes, Reason]) -> None:
        """Report files that stay incomplete for long."""
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
        """Close all reports of incomplete files: the folder is no longer docked."""
        self._late.close()

    def is_there(self) -> bool:
        """Return whether the docked folder still exists; blocks.

        Raises:
            SourceError: its disk or network does not respond correctly.
        """
        there = self._known_by(identity_of(self.path))
        return there is not None and self._identity in {None, there}

    def recognise(self) -> bool:
        """Record the current folder's identity as the docked one; false if there is none. Blocks.

        Raises:
            SourceError: its disk or network does not respond correctly.
        """
        self._has_inodes = filesystem_type(self.path) not in _UNSTABLE_INODES
        self._identity = self._known_by(identity_of(self.path))
        return self._identity is not None

    def _known_by(self, identity: Identity | None) -> Identity | None:
        if identity is None or self._has_inodes:
            return identity
        device, _, mounts = identity
        return device, 0, mounts

    async def release(self) -> None:
        """Do nothing: a folder can't be switched off."""
