"""Where cameras come from: what a docked camera offers the pipeline."""

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
    """What one whole look at a camera saw."""

    files: Sequence[FoundFile]
    """The complete files that the profile selects."""
    left_alone: Mapping[bytes, int]
    """The files, and their sizes, that none of its rules selects or ignores."""
    again_in: float | None = None
    """Seconds after which files that are still being written may be complete, if any are."""
    failures: Failures = field(default_factory=dict)
    """Files and folders that could not be looked at, and why."""
    unsettled: Sequence[bytes] = ()
    """Files that it selects, and that are not complete yet."""


class Media(Protocol):
    """A docked camera's files."""

    camera: Camera
    place: str
    """Where it is docked, as people say it."""
    facts: Mapping[str, str]
    """What is known of the device, for the manifest."""
    changed: asyncio.Event
    """Set when another look may see something new; cleared by whoever looks."""
    look_every: float
    """Seconds after which to look again whatever ``changed`` says."""
    readers: int
    """How many of its clips are read at once, at most."""
    threads: Threads
    """Where calls are made that ask the camera for something."""
    ours_alone: bool
    """Whether nobody but dockd changes its files while it is docked."""

    def opened(self) -> AbstractAsyncContextManager[Root]:
        """Make its files readable for as long as the context lasts; yields their root.

        Where that is a mount, it is a fresh, read-only one.

        Raises:
            CameraLostError, MountError: it can't be.
        """

    def writable(self) -> AbstractAsyncContextManager[Root]:
        """Make its files removable for as long as the context lasts; never inside ``opened``.

        What was done to them is on the medium when the context ends.

        Raises:
            CameraLostError, MountError: it can't be, or they aren't.
        """

    def look(self, root: Root) -> Look:
        """Look through the camera; blocks.

        Raises:
            CameraLostError: it went away.
            OSError: it could not be read.
        """

    def is_there(self) -> bool:
        """Say whether it still is docked: tells a lost camera from a bad clip; blocks.

        Raises:
            SourceError: that can't be told, as the camera doesn't answer.
        """

    async def release(self) -> None:
        """Leave the camera: nothing on it waits for anything.

        Raises:
            MountError: it could not be switched off, though its profile says so.
        """


Dock = Callable[[Media], Awaitable[None]]
"""What a source runs for each docked camera; it is cancelled when the camera goes."""


class Source(Protocol):
    """A way in which cameras arrive."""

    name: str
    """What the log calls it."""
    silence: float
    """Seconds without a sign of life after which it is stuck; infinite if it gives none."""

    async def run(self, dock: Dock, beat: Callable[[], None] = ...) -> None:
        """Call ``dock`` for each camera that arrives, until cancelled; may be begun again.

        Args:
            dock: works on a camera.
            beat: is called as a sign of life.
        """
