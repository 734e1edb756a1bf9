"""What the station's parts report: one queue, which the station alone reads and acts on."""

import asyncio
from dataclasses import dataclass

from dockd.station.model import Camera


@dataclass(frozen=True)
class ClipSpooled:
    """A clip was spooled: there may be more to upload."""


@dataclass(frozen=True)
class ClipConcluded:
    """A clip's delivery has ended, for good or for now: perhaps its camera can be wiped."""

    camera: Camera


@dataclass(frozen=True)
class HoldsChanged:
    """Uploads or wipes were paused or resumed, or wipes need not wait any more."""


@dataclass(frozen=True)
class JournalDoubted:
    """The receiver says that this station's journal contradicts itself."""


@dataclass(frozen=True)
class CameraGone:
    """A camera is gone from a place: nothing can be wrong with it there."""

    camera: Camera
    place: str


Report = ClipSpooled | ClipConcluded | HoldsChanged | JournalDoubted | CameraGone


class Reports:
    """The queue; for the event loop only."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Report] = asyncio.Queue()

    def put(self, report: Report) -> None:
        """Report something; whoever reports it goes on."""
        self._queue.put_nowait(report)

    async def next(self) -> Report:
        """Wait for the next report."""
        return await self._queue.get()
