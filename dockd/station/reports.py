"""Reports of the station's parts: one queue, which only the station reads."""

import asyncio
from dataclasses import dataclass

from dockd.station.model import Camera


@dataclass(frozen=True)
class ClipSpooled:
    """A clip was spooled: there may be more to upload."""


@dataclass(frozen=True)
class ClipConcluded:
    """A clip's delivery has finished or been given up for now; its camera may be wipeable."""

    camera: Camera


@dataclass(frozen=True)
class HoldsChanged:
    """Uploads or wipes were paused or resumed, or the journal no longer holds wipes."""


@dataclass(frozen=True)
class JournalDoubted:
    """The receiver reports that this station's journal has forked."""


@dataclass(frozen=True)
class CameraGone:
    """A camera is gone from a place, and with it its incidents there."""

    camera: Camera
    place: str


Report = ClipSpooled | ClipConcluded | HoldsChanged | JournalDoubted | CameraGone


class Reports:
    """The queue; for the event loop only."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Report] = asyncio.Queue()

    def put(self, report: Report) -> None:
        """Add a report, without waiting."""
        self._queue.put_nowait(report)

    async def next(self) -> Report:
        """Wait for the next report."""
        return await self._queue.get()
