"""The room on the store's disk: promised to uploads when they begin, and never the reserve."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping

from dockd.base.clock import Clock
from dockd.base.errors import StoreFullError
from dockd.base.incidents import Incidents
from dockd.receiver import events
from dockd.receiver.core.upload import Upload
from dockd.receiver.core.workers import Workers
from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError
from dockd.receiver.store.disk import Store

KEPT_SECONDS = 3600.0
"""How long an upload's room is kept after its last byte."""
SHARE = 0.5
"""How much of the room that is free one of several stations may be promised."""
STATEMENTS = 256 * 1024
"""Bytes that an upload's record, manifest and receipt take at most."""
LOOK_AGAIN_SECONDS = 5.0
"""How often the disk is asked what is free."""
_GLANCE_SECONDS = 1.0
SILENT_SECONDS = 30.0
"""How long the disk may take to say what is free before it counts as hanging."""


class Room:
    """What is free, less what ``uploads`` have still to write and what stays in reserve."""

    def __init__(
        self,
        store: Store,
        uploads: Mapping[str, Upload],
        reserve: int,
        share: float,
        workers: Workers,
        clock: Clock,
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._reserve = reserve
        self._share = share
        self._workers = workers
        self._clock = clock
        self._beginning: dict[str, int] = {}
        self._incidents = Incidents(clock).scope("room")
        self._free = 0
        self._asked_at: float | None = None
        """When the disk was asked for what is free, if it has not answered since."""

    @property
    def free(self) -> int:
        """Bytes that were free when the disk was asked last."""
        return self._free

    @property
    def promised(self) -> int:
        """Bytes that uploads have still to write."""
        return sum(upload.missing for upload in self._kept()) + sum(self._beginning.values())

    @property
    def full(self) -> bool:
        """Whether there is no room that could be promised."""
        return self._free - self.promised <= self._reserve

    @property
    def hangs(self) -> bool:
        """Whether the disk has not answered for long."""
        return (
            self._asked_at is not None and self._clock.monotonic() - self._asked_at > SILENT_SECONDS
        )

    async def watch(self) -> None:
        """Ask the disk what is free, and tell where that is not enough."""
        await self._fenced_look()
        self._tell()

    def _tell(self) -> None:
        if not self.full:
            self._incidents.recovered(events.receiver_room_short)
            return
        error = StoreFullError(
            f"{self.free} bytes are free, {self.promised} of them promised, and {self._reserve}"
            " stay in reserve",
            hint="make room on the store's disk, or lower store.reserve",
        )
        self._incidents.failed(events.receiver_room_short(), error)

    async def glance(self) -> None:
        """Ask the disk what is free, and wait for its answer no longer than a moment."""
        if self._asked_at is None:
            asking = asyncio.ensure_future(self._fenced_look())
            await asyncio.wait({asking}, timeout=_GLANCE_SECONDS)

    async def _fenced_look(self) -> None:
        with contextlib.suppress(OSError):  # uploads tell of it
            await self.look()

    async def look(self) -> int:
        """Ask the disk what is free.

        Raises:
            OSError: it failed.
        """
        if self._asked_at is None:
            self._asked_at = self._clock.monotonic()
        try:
            self._free = await self._workers.probe(self._store.free_bytes)
        finally:
            self._asked_at = None
        return self._free

    @contextlib.asynccontextmanager
    async def promise(self, station: str, size: int) -> AsyncIterator[None]:
        """Keep room for an upload until it is one of the uploads.

        Raises:
            RequestError: there is none, or its station has its share.
        """
        size += STATEMENTS
        self._beginning[station] = self._beginning.get(station, 0) + size
        try:
            await self._check(station)
            yield
        finally:
            self._beginning[station] -= size
            if not self._beginning[station]:
                del self._beginning[station]

    async def check_written(self) -> None:
        """Check that the uploads which are being written find what they were promised.

        Raises:
            RequestError: others have used up the disk since.
        """
        written = [upload for upload in self._uploads.values() if upload.body is not None]
        needed = _missing(written)
        free = await self.look()
        if free - needed < self._reserve:
            raise self._too_full(free, needed)

    async def _check(self, station: str) -> None:
        # Before the disk is asked: what is written meanwhile counts twice rather than never.
        needed = self.promised
        own = _missing(one for one in self._kept() if one.manifest.station.id == station)
        own += self._beginning[station]
        free = await self.look()
        if free - needed < self._reserve:
            raise self._too_full(free, needed)
        share = int((free - self._reserve) * self._share)
        if own > share:
            raise RequestError(
                problems.SHARE_FULL,
                f"{station} wants {own} bytes for its unfinished uploads, and one station's share"
                f" of what is free is {share}",
                hint="make room on the receiver's disk, or let the station finish its uploads",
                headers={"Retry-After": "30"},
            )

    def _kept(self) -> list[Upload]:
        """Return the uploads whose room is kept: those that got on lately."""
        now = self._clock.now()
        return [
            upload
            for upload in self._uploads.values()
            if upload.body is not None or (now - upload.touched).total_seconds() < KEPT_SECONDS
        ]

    def _too_full(self, free: int, needed: int) -> RequestError:
        return RequestError(
            problems.STORE_FULL,
            f"{free} bytes are free, this and other uploads need {needed}, "
            f"and {self._reserve} stay in reserve",
            hint="make room on the receiver's disk",
            headers={"Retry-After": "30"},
        )


def _missing(uploads: Iterable[Upload]) -> int:
    return sum(upload.missing for upload in uploads)
