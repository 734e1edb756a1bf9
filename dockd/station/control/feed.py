"""Keeps the station's status up to date, and publishes it to clients."""

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
"""Seconds between two statuses while a client follows."""
_UNWATCHED = 5.0
_PATIENCE = 1.0
"""Seconds to wait for ledger and disk before a status is sent without them."""
_SHARE = 4
"""Reading the ledger may take 1/4 of the time."""
_FREE_NEWS = 64 * 2**20
"""The change of free disk space, in bytes, that counts as a change by itself."""
_NOTHING = Facts(clips={}, cameras={}, stuck=[], oldest_unacknowledged=None)

Read = tuple[Facts, int]
"""The ledger's facts, and the free bytes of the spool's disk."""


class StatusFeed:
    """The status of a station, once its parts exist."""

    def __init__(self) -> None:
        self._parts: Parts | None = None
        self._read: Read = (_NOTHING, 0)
        self._reading: asyncio.Future[Read] | None = None
        self._status: Status | None = None
        """The latest status, once a client follows."""
        self._watchers = 0
        self._wanted = asyncio.Event()
        self._begun = self._ended = 0
        """How often the status was refreshed."""
        self._refreshed = asyncio.Event()
        self._stopping = False

    def current(self) -> Status:
        """Return the current status; clips and totals may be a moment old.

        Raises:
            ApiError: the work has not begun.
        """
        if self._parts is None or not self._ended:
            raise ApiError(503, "starting", "the work has not begun", hint="retry in a moment")
        return compose(self._parts, *self._read)

    async def fresh(self) -> Status:
        """Return the current status, including clips and totals, unless ledger or disk hang.

        Raises:
            ApiError: the work has not begun.
        """
        wanted = self._begun + 1
        while self._parts is not None and self._ended < wanted and not self._stopping:
            self._wanted.set()
            await self._refreshed.wait()
        return self.current()

    async def changes(self) -> AsyncGenerator[Status, None]:
        """Yield the current status, then each change; a slow reader misses some."""
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
            self._publish()
            pause = _WATCHED if self._watchers else _UNWATCHED
            await parts.clock.wait(
                self._wanted, max(pause, _SHARE * (parts.clock.monotonic() - began))
            )

    def stop(self) -> None:
        """End all streams."""
        self._stopping = True
        self._publish()

    def _publish(self) -> None:
        self._refreshed.set()
        self._refreshed = asyncio.Event()

    async def _look(self, parts: Parts, reader: Reader) -> None:
        """Read ledger and disk.

        Raises:
            DockdError: they can't be read, or don't respond; the next refresh uses their response.
        """
        if self._reading is None:
            docked = parts.docked()
            self._reading = asyncio.ensure_future(
                reader.run(lambda: (reader.facts(docked), parts.spool.free()))
            )
        await asyncio.wait({self._reading}, timeout=_PATIENCE)
        if not self._reading.done():
            raise LedgerError(
                "ledger or spool have not responded yet", hint="check their disk; see dmesg"
            )
        reading, self._reading = self._reading, None
        self._read = reading.result()


def _is_same(one: Status | None, other: Status) -> bool:
    """Return whether nothing has changed; small changes of free disk space don't count."""
    if one is None or abs(one.spool.free - other.spool.free) > _FREE_NEWS:
        return False
    spool = replace(one.spool, free=other.spool.free)
    return replace(one, at=other.at, spool=spool) == other
