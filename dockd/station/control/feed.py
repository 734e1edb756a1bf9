"""Keeps the station's status up to date, and hands it to whoever watches."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace

from dockd.base.errors import LedgerError
from dockd.station import events
from dockd.station.control.problems import ApiError
from dockd.station.control.reading import Facts, Reader
from dockd.station.control.snapshot import Parts, compose
from dockd.station.control.views import Status

_WATCHED = 0.25
"""Seconds between two statuses while somebody watches."""
_UNWATCHED = 5.0
_PATIENCE = 1.0
"""Seconds that ledger and disk get to answer before a status goes out without them."""
_SHARE = 4
"""Reading the ledger may take one part in so many of the time."""
_FREE_NEWS = 64 * 2**20
"""Bytes by which the free disk space has to change to be told by itself."""
_NOTHING = Facts(clips={}, cameras={}, stuck=[], oldest_unacknowledged=None)

Read = tuple[Facts, int]
"""What the ledger knows, and the free bytes of the spool's disk."""


class StatusFeed:
    """The status of a station, from when its parts are there."""

    def __init__(self) -> None:
        self._parts: Parts | None = None
        self._read: Read = (_NOTHING, 0)
        self._reading: asyncio.Future[Read] | None = None
        self._status: Status | None = None
        """The status as of the last look, once somebody watches."""
        self._watchers = 0
        self._wanted = asyncio.Event()
        self._begun = self._ended = 0
        """How many times the status was made anew."""
        self._refreshed = asyncio.Event()
        self._stopping = False

    def current(self) -> Status:
        """Return the status now; clips and totals are as they were a moment ago.

        Raises:
            ApiError: the work has not begun.
        """
        if self._parts is None or not self._ended:
            raise ApiError(503, "starting", "the work has not begun", hint="look again in a moment")
        return compose(self._parts, *self._read)

    async def fresh(self) -> Status:
        """Return the status now, clips and totals too, unless the ledger or the disk hangs.

        Raises:
            ApiError: the work has not begun.
        """
        wanted = self._begun + 1
        while self._parts is not None and self._ended < wanted and not self._stopping:
            self._wanted.set()
            await self._refreshed.wait()
        return self.current()

    async def changes(self) -> AsyncGenerator[Status, None]:
        """Yield the status now, then whenever it differs; a slow reader misses some."""
        seen: Status | None = None
        with self._watching():
            while not self._stopping:
                refreshed = self._refreshed
                if self._ended:
                    self._status = self._status or self.current()
                    if not _is_same(seen, self._status):
                        seen = self._status
                        yield seen
                await refreshed.wait()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._watchers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._watchers -= 1

    async def run(self, parts: Parts, reader: Reader) -> None:
        """Keep the status of a station up to date, until cancelled."""
        self._parts = parts
        incidents = parts.activity.incidents.scope("status")
        while True:
            self._begun += 1
            self._wanted.clear()
            began = parts.clock.monotonic()
            with incidents.fence(events.status_stale()):
                await self._look(parts, reader)
            self._ended = self._begun
            self._status = None
            self._tell()
            pause = _WATCHED if self._watchers else _UNWATCHED
            await parts.clock.wait(
                self._wanted, max(pause, _SHARE * (parts.clock.monotonic() - began))
            )

    def stop(self) -> None:
        """End what watches."""
        self._stopping = True
        self._tell()

    def _tell(self) -> None:
        self._refreshed.set()
        self._refreshed = asyncio.Event()

    async def _look(self, parts: Parts, reader: Reader) -> None:
        """Read ledger and disk.

        Raises:
            DockdError: they can't be read, or don't answer; the next look finds their answer.
        """
        if self._reading is None:
            docked = parts.docked()
            self._reading = asyncio.ensure_future(
                reader.run(lambda: (reader.facts(docked), parts.spool.free()))
            )
        await asyncio.wait({self._reading}, timeout=_PATIENCE)
        if not self._reading.done():
            raise LedgerError(
                "ledger or spool have not answered yet", hint="look at their disk; see dmesg"
            )
        reading, self._reading = self._reading, None
        self._read = reading.result()


def _is_same(one: Status | None, other: Status) -> bool:
    """Say whether nothing has changed; other people's use of the disk is not news at once."""
    if one is None or abs(one.spool.free - other.spool.free) > _FREE_NEWS:
        return False
    spool = replace(one.spool, free=other.spool.free)
    return replace(one, at=other.at, spool=spool) == other
