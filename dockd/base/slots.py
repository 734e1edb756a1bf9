"""Semaphores that serve the most urgent first, or the owner with the fewest slots."""

import asyncio
import contextlib
import heapq
from collections import Counter
from collections.abc import AsyncIterator

Priority = tuple[bool, float, int]


class PrioritySlots:
    """A number of slots, given out by priority."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[tuple[Priority, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def slot(self, priority: Priority) -> AsyncIterator[None]:
        """Hold a slot for as long as the context lasts; the lowest priority goes first."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        heapq.heappush(self._waiting, (priority, turn))
        # Tasks that were woken together all queue before one of them gets a slot.
        loop.call_soon(self._let_in)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._free += 1
        asyncio.get_running_loop().call_soon(self._let_in)

    def _let_in(self) -> None:
        while self._free and self._waiting:
            _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


class FairSlots:
    """A number of slots; the next free one goes to the owner with the fewest."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        # One slot is kept for other owners, even if all of an owner's slots hang.
        self._most = slots - 1 if slots > 2 else slots
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def slot(self, who: str) -> AsyncIterator[None]:
        """Hold a slot for as long as the context lasts."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((who, turn))
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(who)
            else:
                with contextlib.suppress(ValueError):  # skipped when a slot was freed just now
                    self._waiting.remove((who, turn))
            raise
        try:
            yield
        finally:
            self._leave(who)

    def _leave(self, who: str) -> None:
        self._free += 1
        self._held[who] -= 1
        self._held += Counter()  # forgets owners without a slot
        self._let_in()

    def _let_in(self) -> None:
        while self._free:
            allowed = [one for one in self._waiting if self._held[one[0]] < self._most]
            if not allowed:
                return
            who, turn = min(allowed, key=lambda one: self._held[one[0]])
            self._waiting.remove((who, turn))
            if not turn.done():
                self._free -= 1
                self._held[who] += 1
                turn.set_result(None)
