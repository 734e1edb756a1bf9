"""People's orders to hold uploads or wipes: kept in the ledger, over by themselves."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime

from dockd import events
from dockd.clock import Clock, timestamp
from dockd.concurrency import to_the_end
from dockd.errors import LedgerError
from dockd.ledger import Ledger
from dockd.logs import emit
from dockd.model import Pausable, Pause

_LOOK_AGAIN = 60.0
"""Seconds after which an end is compared with the clock again, which may have been set."""


class Pauses:
    """What is held."""

    def __init__(self, ledger: Ledger, clock: Clock, changed: Callable[[], None]) -> None:
        """Take up the orders that the ledger has, and tell of them; blocks.

        Args:
            ledger: keeps them.
            clock: says when they are over.
            changed: is called when something is held or goes on.

        Raises:
            LedgerError: it can't be read.
        """
        self._ledger = ledger
        self._clock = clock
        self._changed = changed
        self._pauses = {pause.what: pause for pause in ledger.pauses()}
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

    async def pause(
        self, whats: Sequence[Pausable], *, reason: str, until: str | None, uid: int
    ) -> None:
        """Hold something, until a moment or for as long as nobody resumes it.

        Raises:
            LedgerError: the order can't be kept; nothing is held.
        """
        since = timestamp(self._clock.now())
        pauses = [Pause(what, reason, since, until, uid) for what in whats]
        await to_the_end(self._ledger.pause, pauses)
        for pause in pauses:
            self._pauses[pause.what] = pause
            _tell(pause)
        self._new.set()
        self._changed()

    async def resume(self, whats: Sequence[Pausable], *, uid: int) -> None:
        """Let something go on; what isn't held is no error.

        Raises:
            LedgerError: the order can't be kept; nothing goes on.
        """
        held = [what for what in whats if what in self._pauses]
        await to_the_end(self._ledger.resume, held, uid)
        for what in held:
            del self._pauses[what]
            emit(events.RESUMED, what=what, uid=uid)
        self._changed()

    async def run(self) -> None:
        """End what is over, until cancelled."""
        while True:
            await self._expire()
            ends = [pause.until for pause in self._pauses.values() if pause.until is not None]
            seconds = _LOOK_AGAIN
            if ends:
                left = datetime.fromisoformat(min(ends)) - self._clock.now()
                seconds = min(max(left.total_seconds(), 0.001), _LOOK_AGAIN)
            await self._clock.wait(self._new, seconds)
            self._new.clear()

    async def _expire(self) -> None:
        in_force = self.current()
        for pause in [one for one in self._pauses.values() if one not in in_force]:
            del self._pauses[pause.what]
            emit(events.PAUSE_EXPIRED, what=pause.what)
            # What stays behind is over all the same, and replaced by the next order.
            with contextlib.suppress(LedgerError):
                await to_the_end(self._ledger.forget_pause, pause)
            self._changed()


def _tell(pause: Pause) -> None:
    emit(events.PAUSED, what=pause.what, reason=pause.reason, until=pause.until, uid=pause.uid)
