"""The room on the store's disk: promised to uploads when they begin, never the reserve."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping

from dockd.base.clock import Clock
from dockd.base.errors import StoreFullError
from dockd.base.incidents import Incidents
from dockd.receiver import events
from dockd.receiver.core.errors import Reason, RefusedError
from dockd.receiver.core.upload import Upload
from dockd.receiver.core.workers import Workers
from dockd.receiver.store.protocol import Store

KEPT_SECONDS = 3600.0
"""How long an upload's room is reserved after its last byte."""
SHARE = 0.5
"""The share of the free room that one of several stations may be promised."""
STATEMENTS = 256 * 1024
"""Bytes that an upload's record, manifest and receipt take at most."""
LOOK_AGAIN_SECONDS = 5.0
"""How often the free room is read."""
_GLANCE_SECONDS = 1.0
_RETRY_AFTER = 30
SILENT_SECONDS = 30.0
"""How long reading the free room may take before the disk counts as hanging."""


class Room:
    """The free room, less what ``uploads`` still have to write and what stays in reserve."""

    def __init__(
        self,
        store: Store,
        uploads: Mapping[str, Upload],
        reserve: int,
        share: float,
        workers: Workers,
        clock: Clock,
        incidents: Incidents,
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._reserve = reserve
        self._share = share
        self._workers = workers
        self._clock = clock
        self._beginning: dict[str, int] = {}
        self._incidents = incidents.scope("room")
        self._free = 0
        self._asked_at: float | None = None
        """When the free room was asked for, if the disk has not answered since."""

    @property
    def free(self) -> int:
        """Bytes that were free at the last reading."""
        return self._free

    @property
    def promised(self) -> int:
        """Bytes that uploads still have to write."""
        return sum(upload.missing for upload in self._kept()) + sum(self._beginning.values())

    @property
    def full(self) -> bool:
        """Whether no room is left to promise."""
        return self._free - self.promised <= self._reserve

    @property
    def hangs(self) -> bool:
        """Whether the disk has not answered for a long time."""
        return (
            self._asked_at is not None and self._clock.monotonic() - self._asked_at > SILENT_SECONDS
        )

    async def watch(self) -> None:
        """Read the free room, and log if it is insufficient."""
        await self._fenced_look()
        self._log()

    def _log(self) -> None:
        if not self.full:
            self._incidents.recovered(events.receiver_room_short)
            return
        error = StoreFullError(
            f"{self.free} bytes are free, {self.promised} of them promised, and {self._reserve}"
            " stay in reserve",
            hint="free up space on the store's disk, or lower store.reserve",
        )
        self._incidents.failed(events.receiver_room_short(), error)

    async def glance(self) -> None:
        """Read the free room, waiting only briefly for the answer."""
        if self._asked_at is None:
            asking = asyncio.ensure_future(self._fenced_look())
            await asyncio.wait({asking}, timeout=_GLANCE_SECONDS)

    async def _fenced_look(self) -> None:
        with contextlib.suppress(OSError):  # uploads report it
            await self.look()

    async def look(self) -> int:
        """Read the free room in bytes.

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
        """Reserve room for an upload until it is one of the uploads.

        Raises:
            RefusedError: there is none, or its station has used its share.
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
        """Check that the uploads being written still have the room they were promised.

        Raises:
            RefusedError: something else has used up the disk since.
        """
        written = [upload for upload in self._uploads.values() if upload.body is not None]
        needed = _missing(written)
        free = await self.look()
        if free - needed < self._reserve:
            raise self._too_full(free, needed)

    async def _check(self, station: str) -> None:
        # Before reading the disk: what is written meanwhile counts twice rather than never.
        needed = self.promised
        own = _missing(one for one in self._kept() if one.manifest.station.id == station)
        own += self._beginning[station]
        free = await self.look()
        if free - needed < self._reserve:
            raise self._too_full(free, needed)
        share = int((free - self._reserve) * self._share)
        if own > share:
            raise RefusedError(
                Reason.SHARE_FULL,
                f"{station} needs {own} bytes for its unfinished uploads, and one station's share"
                f" of the free space is {share}",
                hint="free up space on the receiver's disk, or let the station finish its uploads",
                retry_after=_RETRY_AFTER,
            )

    def _kept(self) -> list[Upload]:
        """Return the uploads whose room is reserved: those with recent progress."""
        now = self._clock.now()
        return [
            upload
            for upload in self._uploads.values()
            if upload.body is not None or (now - upload.touched).total_seconds() < KEPT_SECONDS
        ]

    def _too_full(self, free: int, needed: int) -> RefusedError:
        return RefusedError(
            Reason.NO_ROOM,
            f"{free} bytes are free, this and other uploads need {needed}, "
            f"and {self._reserve} stay in reserve",
            hint="free up space on the receiver's disk",
            retry_after=_RETRY_AFTER,
        )


def _missing(uploads: Iterable[Upload]) -> int:
    return sum(upload.missing for upload in uploads)
