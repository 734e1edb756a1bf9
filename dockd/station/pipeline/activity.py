"""The work under way: the part of the station's state that is not needed after a restart."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from dockd.base.clock import Clock
from dockd.base.incidents import Incidents, Scope
from dockd.station.model import Camera, Clip

WorkStage = Literal["ingest", "upload"]

RATE_SECONDS = 5.0
"""Seconds over which a rate is measured."""
_GRAIN = 0.25
"""Seconds whose bytes are counted together."""


class Counting(Protocol):
    """Counts what happens; called from any thread."""

    def ingested(self, size: int, seconds: float) -> None:
        """Count a clip that was read and spooled, and its bytes."""

    def uploaded(self, size: int, seconds: float) -> None:
        """Count a clip whose upload is complete, and the bytes that its last attempt sent."""

    def acknowledged(self) -> None:
        """Count a clip whose receipt is durable in the ledger."""

    def wiped(self, clips: int) -> None:
        """Count clips that were wiped from a camera."""

    def retried(self, cause: str) -> None:
        """Count a failure that is retried; ``cause`` is the error's event name."""

    def receipt_refused(self, reason: str) -> None:
        """Count a receipt that was refused; ``reason`` is the error's."""


class Meter:
    """Recent throughput in bytes per second; safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock.monotonic()
        self._counted: deque[tuple[float, int]] = deque()

    def add(self, size: int) -> None:
        """Count bytes that were just processed."""
        now = self._clock.monotonic()
        with self._lock:
            if self._counted and now - self._counted[-1][0] < _GRAIN:
                began, counted = self._counted.pop()
                self._counted.append((began, counted + size))
            else:
                self._counted.append((now, size))
            self._drop(now)

    def rate(self) -> float:
        """Return bytes per second."""
        now = self._clock.monotonic()
        with self._lock:
            self._drop(now)
            total = sum(size for _, size in self._counted)
        return total / min(max(now - self._began, _GRAIN), RATE_SECONDS)

    def _drop(self, now: float) -> None:
        while self._counted and now - self._counted[0][0] > RATE_SECONDS:
            self._counted.popleft()


@dataclass
class ClipProgress:
    """One clip in one stage."""

    clip: Clip
    stage: WorkStage
    total: int
    """Bytes that the stage has to process."""
    meter: Meter
    over_all: Meter
    """The meter of the same stage over all clips."""
    done: int = 0

    def at(self, done: int) -> None:
        """Note the bytes done; called from any thread."""
        advanced, self.done = done - self.done, done
        if advanced > 0:
            self.meter.add(advanced)
            self.over_all.add(advanced)

    def begin_at(self, done: int) -> None:
        """Note the bytes that were done before; they do not count as throughput."""
        self.done = done


class Activity:
    """The work under way, its incidents, and its counts."""

    def __init__(self, clock: Clock, counting: Counting) -> None:
        self.incidents = Incidents(clock)
        self.counting = counting
        self._clock = clock
        self._works: dict[tuple[int, WorkStage], ClipProgress] = {}
        self._meters: dict[WorkStage, Meter] = {"ingest": Meter(clock), "upload": Meter(clock)}

    def camera(self, camera: Camera) -> Scope:
        """Return the scope of a camera, which lasts until it is gone, beyond one docking."""
        return self.incidents.scope("camera", camera.id)

    def docking(self, camera: Camera) -> Scope:
        """Return the scope of a camera's docking, which ends with it."""
        return self.incidents.scope("docking", camera.id)

    def docked_clip(self, clip: Clip) -> Scope:
        """Return the scope of a clip on a docked camera, which ends with the docking."""
        return self.docking(clip.camera).within("clip", str(clip.id))

    @contextmanager
    def working(self, clip: Clip, stage: WorkStage, total: int) -> Iterator[ClipProgress]:
        """Show a clip in a stage for as long as the context lasts."""
        work = ClipProgress(clip, stage, total, Meter(self._clock), self._meters[stage])
        self._works[clip.id, stage] = work
        try:
            yield work
        finally:
            del self._works[clip.id, stage]

    def current(self) -> list[ClipProgress]:
        """Return all work under way."""
        return list(self._works.values())

    def rates(self) -> dict[WorkStage, float]:
        """Return the recent throughput in bytes per second by stage, over all clips."""
        return {stage: meter.rate() for stage, meter in self._meters.items()}
