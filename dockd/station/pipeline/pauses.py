"""People's orders to hold uploads or wipes: kept in the ledger, over by themselves."""

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
"""Seconds after which an end is compared with the clock again, which may have been set."""


class Pauses:
    """What is held."""

    def __init__(
        self, ledger: Ledger, clock: Clock, incidents: Incidents, reports: Reports
    ) -> None:
        """Take up the orders that the ledger has, and tell of them; blocks.

        Args:
            ledger: keeps them.
            clock: says when they are over.
            incidents: expired pauses that can't be deleted.
            reports: hears when something is held or goes on.

        Raises:
            LedgerError: it can't be read.
        """
        self._ledger = ledger
        self._clock = clock
        self._incidents = incidents.scope("pauses")
        self._reports = reports
        self._pauses = {pause.what: _sound(pause) for pause in ledger.queries.pauses()}
        self._changing = asyncio.Lock()
        """Whoever changes what is held has it from before the ledger until after the memory."""
        self._new = asyncio.Event()
        for pause in self.current():
            _tell(pause)

    def current(self) -> list[Pause]:
        """Return the orders that are in force."""
        now = timestamp(self._clock.now())
        return [one for one in self._pauses.values() if one.until is None or one.until > now]

    def holds(self, what: Pausable) -> bool:
        """Say whether something is held."""
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
        """Hold something, until a moment or for as long as nobody resumes it.

        Raises:
            LedgerError: the order can't be kept; nothing is held.
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
        """Let something go on; what isn't held is no error.

        Raises:
            LedgerError: the order can't be kept; nothing goes on.
        """
        async with self._changing:
            held = [what for what in whats if what in self._pauses]
            await to_the_end(self._ledger.orders.resume, held, uid)
            for what in held:
                del self._pauses[what]
                events.order_resume(what=what, uid=uid)
        self._reports.put(HoldsChanged())

    async def run(self) -> None:
        """End what is over, until cancelled."""
        while True:
            with self._incidents.fence(events.pause_failed()):
                await self._expire()
            await self._clock.wait(self._new, self._seconds_left())
            self._new.clear()

    def _seconds_left(self) -> float:
        """Return the seconds until something is over, or may be."""
        now = self._clock.now()
        ends = [datetime.fromisoformat(one.until) for one in self.current() if one.until]
        left = [(end - now).total_seconds() for end in ends]
        return min(max(min(left, default=_LOOK_AGAIN), 0.001), _LOOK_AGAIN)

    async def _expire(self) -> None:
        """Forget what is over, which it is whether that succeeds or not.

        Raises:
            LedgerError: the ledger still has it.
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
    """Return a pause whose end can be compared; what is no moment ends nothing by itself."""
    if pause.until is None:
        return pause
    try:
        until = timestamp(datetime.fromisoformat(pause.until))
    except (ValueError, OverflowError):
        until = None
    return replace(pause, until=until)


def _tell(pause: Pause) -> None:
    events.order_pause(what=pause.what, reason=pause.reason, until=pause.until, uid=pause.uid)
