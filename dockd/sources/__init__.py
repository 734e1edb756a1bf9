"""Where cameras come from: what a docked camera offers the pipeline."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dockd.model import Camera, FoundFile


@dataclass(frozen=True)
class Look:
    """What one whole look at a camera saw."""

    files: Sequence[FoundFile]
    """The complete files that the profile selects."""
    left_alone: int
    """How many files it doesn't select."""
    again_in: float | None
    """Seconds after which files that are still being written may be complete, if any are."""


class Media(Protocol):
    """A docked camera's files."""

    camera: Camera
    place: str
    """Where it is docked, as people say it."""
    changed: asyncio.Event
    """Set when another look may see something new; cleared by whoever looks."""
    look_every: float
    """Seconds after which to look again whatever ``changed`` says."""

    @property
    def root(self) -> Path:
        """Where its files are read."""

    def look(self) -> Look:
        """Look through the camera; blocks.

        Raises:
            CameraLostError: it went away.
            OSError: it could not be read.
        """

    def is_there(self) -> bool:
        """Say whether it still is docked: tells a lost camera from a bad clip."""

    def wipe_window(self) -> AbstractAsyncContextManager[Path]:
        """Make the camera writable for as long as the context lasts; yields its root."""

    def fresh_view(self) -> AbstractAsyncContextManager[Path]:
        """Mount it anew, read-only, to read back what a wipe left; yields its root."""


Dock = Callable[[Media], Awaitable[None]]
"""What a source runs for each docked camera; it is cancelled when the camera goes."""


class Source(Protocol):
    """A way in which cameras arrive."""

    async def run(self, dock: Dock) -> None:
        """Call ``dock`` for each camera that arrives, until cancelled."""
