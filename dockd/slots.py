"""A semaphore that lets the most urgent in first."""

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator

Priority = tuple[bool, float, int]


class PrioritySlots:
    """So many at a time, in the order of their priority."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[tuple[Priority, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def slot(self, priority: Priority) -> AsyncIterator[None]:
        """Hold a slot for as long as the context lasts; the lowest priority goes first."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        heapq.heappush(self._waiting, (priority, turn))
        # Those who were woken together all ask before one of them is let in.
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
