"""The interfaces of docked cameras and of their sources."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from dockd.base.threads import Threads
from dockd.station.cameras.tree import Failures, Root
from dockd.station.model import Camera, FoundFile


@dataclass(frozen=True)
class Look:
    """The result of one scan of a camera."""

    files: Sequence[FoundFile]
    """The complete files that the profile selects."""
    left_alone: Mapping[bytes, int]
    """The files that none of its rules selects or ignores, and their sizes."""
    again_in: float | None = None
    """Seconds after which files that are still being written may be complete, if any are."""
    failures: Failures = field(default_factory=dict)
    """Files and folders that could not be read, and why."""
    unsettled: Sequence[bytes] = ()
    """Selected files that are not complete yet."""


class Media(Protocol):
    """A docked camera's files."""

    camera: Camera
    place: str
    """Where it is docked: its bay, port or folder."""
    facts: Mapping[str, str]
    """What is known of the device, for the manifest."""
    changed: asyncio.Event
    """Set when another scan may find changes; cleared by the scan."""
    look_every: float
    """Seconds after which to scan again regardless of ``changed``."""
    readers: int
    """The maximum number of its clips read concurrently."""
    threads: Threads
    """The threads of calls that access the camera."""
    ours_alone: bool
    """Whether only dockd changes its files while it is docked."""

    def opened(self) -> AbstractAsyncContextManager[Root]:
        """Make its files readable for the duration of the context; yields their root.

        A mount is a new, read-only one.

        Raises:
            CameraLostError, MountError: they can't be read.
        """

    def writable(self) -> AbstractAsyncContextManager[Root]:
        """Make its files removable for the duration of the context; never inside ``opened``.

        Changes are durable when the context ends.

        Raises:
            CameraLostError, MountError: they can't be removed, or changes are not durable.
        """

    def look(self, root: Root) -> Look:
        """Scan the camera; blocks.

        Raises:
            CameraLostError: it was undocked.
            OSError: it could not be read.
        """

    def is_there(self) -> bool:
        """Return whether it is still docked: distinguishes a lost camera from a bad clip; blocks.

        Raises:
            SourceError: unknown, as the camera does not respond.
        """

    async def release(self) -> None:
        """Release the camera: all work on it is done.

        Raises:
            MountError: it could not be switched off as its profile requires.
        """


Dock = Callable[[Media], Awaitable[None]]
"""Called by a source for each docked camera; cancelled when the camera is undocked."""


class Source(Protocol):
    """A way to dock cameras."""

    name: str
    """Its name in the log."""
    silence: float
    """Seconds without a heartbeat after which it is stuck; infinite if it sends none."""

    async def run(self, dock: Dock, beat: Callable[[], None] = ...) -> None:
        """Call ``dock`` for each camera that is docked, until cancelled; may be restarted.

        Args:
            dock: works on a camera.
            beat: called as a heartbeat.
        """
