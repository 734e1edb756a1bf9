"""Fair turns between stations; docs/protocol.md has the table of limits."""

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator


class StationSlots:
    """A number of slots, in turns between stations; one of several never gets all of them."""

    def __init__(self, slots: int, *, several: bool) -> None:
        self._free = slots
        self._most_each = max(slots - 1, 1) if several else slots
        self._taken = Counter[str]()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def waiting(self, station: str) -> int:
        """Return how many of a station wait for a slot."""
        return len(self._waiting.get(station, ()))

    @contextlib.asynccontextmanager
    async def slot(self, station: str) -> AsyncIterator[None]:
        """Hold a slot for as long as the context lasts."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(station, deque()).append(turn)
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(station)
            raise
        try:
            yield
        finally:
            self._leave(station)

    def _leave(self, station: str) -> None:
        self._free += 1
        self._taken[station] -= 1
        if not self._taken[station]:
            del self._taken[station]
        self._let_in()

    def _let_in(self) -> None:
        while self._free and (station := self._next()) is not None:
            turns = self._waiting[station]
            turn = turns.popleft()
            if turns:
                self._waiting.move_to_end(station)
            else:
                del self._waiting[station]
            if not turn.done():
                self._free -= 1
                self._taken[station] += 1
                turn.set_result(None)

    def _next(self) -> str | None:
        return next((who for who in self._waiting if self._taken[who] < self._most_each), None)
