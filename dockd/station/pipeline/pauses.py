"""Operators' pauses of uploads or wipes: kept in the ledger, and expiring by themselves."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dockd.base.clock import Clock, timestamp
from dockd.base.concurrency import to_the_end
from dockd.base.incidents import Incidents
from dockd.station import events
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Pausable, Pause
from dockd.station.reports import HoldsChanged, Reports

_LOOK_AGAIN = 60.0
"""Seconds after which ends are compared with the clock again, which may have been set."""


class Pauses:
    """The pauses in force."""

    def __init__(
        self, ledger: Ledger, clock: Clock, incidents: Incidents, reports: Reports
    ) -> None:
        """Load the pauses from the ledger, and log them; blocks.

        Args:
            ledger: keeps them.
            clock: tells when they expire.
            incidents: takes expired pauses that can't be deleted.
            reports: takes changes of what is held.

        Raises:
            LedgerError: it can't be read.
        """
        self._ledger = ledger
        self._clock = clock
        self._incidents = incidents.scope("pauses")
        self._reports = reports
        self._pauses = {pause.what: _sound(pause) for pause in ledger.queries.pauses()}
        self._changing = asyncio.Lock()
        """Held while pauses change, from before the ledger's change until after memory's."""
        self._new = asyncio.Event()
        for pause in self.current():
            _tell(pause)

    def current(self) -> list[Pause]:
        """Return the pauses in force."""
        now = timestamp(self._clock.now())
        return [one for one in self._pauses.values() if one.until is None or one.until > now]

    def holds(self, what: Pausable) -> bool:
        """Return whether uploads or wipes are held."""
        return any(pause.what == what for pause in self.current())

    @property
    def holds_uploads(self) -> bool:
        """Whether uploads are held."""
        return self.holds("uploads")

    @property
    def holds_wipes(self) -> bool:
        """Whether wipes are held."""
        return self.holds("wipes")

    async def pause(
        self, whats: Sequence[Pausable], *, reason: str, until: str | None, uid: int
    ) -> None:
        """Hold uploads or wipes until a time, or until they are resumed.

        Raises:
            LedgerError: the pause can't be recorded; nothing is held.
        """
        async with self._changing:
            since = timestamp(self._clock.now())
            pauses = [Pause(what, reason, since, until, uid) for what in whats]
            await to_the_end(self._ledger.orders.pause, pauses)
            for pause in pauses:
                self._pauses[pause.what] = pause
                _tell(pause)
        self._new.set()
        self._reports.put(HoldsChanged())

    async def resume(self, whats: Sequence[Pausable], *, uid: int) -> None:
        """Resume uploads or wipes; those that are not held are ignored.

        Raises:
            LedgerError: it can't be recorded; nothing is resumed.
        """
        async with self._changing:
            held = [what for what in whats if what in self._pauses]
            await to_the_end(self._ledger.orders.resume, held, uid)
            for what in held:
                del self._pauses[what]
                events.order_resume(what=what, uid=uid)
        self._reports.put(HoldsChanged())

    async def run(self) -> None:
        """Delete expired pauses, until cancelled."""
        while True:
            with self._incidents.fence(events.pause_failed()):
                await self._expire()
            await self._clock.wait(self._new, self._seconds_left())
            self._new.clear()

    def _seconds_left(self) -> float:
        """Return the seconds until a pause expires, or may expire."""
        now = self._clock.now()
        ends = [datetime.fromisoformat(one.until) for one in self.current() if one.until]
        left = [(end - now).total_seconds() for end in ends]
        return min(max(min(left, default=_LOOK_AGAIN), 0.001), _LOOK_AGAIN)

    async def _expire(self) -> None:
        """Delete expired pauses; they hold nothing even if that fails.

        Raises:
            LedgerError: one could not be deleted.
        """
        async with self._changing:
            in_force = self.current()
            over = [one for one in self._pauses.values() if one not in in_force]
            if over:
                self._reports.put(HoldsChanged())
            for pause in over:
                await to_the_end(self._ledger.orders.forget_pause, pause)
                del self._pauses[pause.what]
                events.pause_expired(what=pause.what)


def _sound(pause: Pause) -> Pause:
    """Return a pause whose end can be compared; one with an invalid end does not expire."""
    if pause.until is None:
        return pause
    try:
        until = timestamp(datetime.fromisoformat(pause.until))
    except (ValueError, OverflowError):
        until = None
    return replace(pause, until=until)


def _tell(pause: Pause) -> None:
    events.order_pause(what=pause.what, reason=pause.reason, until=pause.until, uid=pause.uid)
