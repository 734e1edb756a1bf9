"""Long-running parts of a station, fenced: what ends one is told, and it is started again."""

import asyncio
from collections.abc import Awaitable, Callable

from dockd.base import events
from dockd.base.board import Board
from dockd.base.clock import Clock
from dockd.base.errors import DockdError, UnforeseenError
from dockd.base.logs import Repeats

_FIRST_PAUSE = 1.0
_PAUSE_CAP = 60.0
"""Seconds before a part that has ended is started again; they double."""
_STEADY = 60.0
"""Seconds without an end after which a part counts as recovered."""


class Fence:
    """Keeps the parts of a station from ending each other, and it."""

    def __init__(self, clock: Clock, board: Board) -> None:
        self._clock = clock
        self._trouble = Repeats(clock, events.PART_FAILED, events.PART_RECOVERED, board)

    async def keep(
        self,
        part: str,
        run: Callable[[], Awaitable[None]],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a part, and start it again whenever it fails, until it ends or is cancelled.

        Args:
            part: what the log calls it.
            run: begins it from scratch.
            alive: is called at each failure: that a part fails is told, and no standstill.
        """
        pause = _FIRST_PAUSE
        while True:
            began = self._clock.monotonic()
            steady = asyncio.create_task(self._recovers(part))
            try:
                await run()
            except Exception as error:  # noqa: BLE001  # the boundary of one part
                if self._clock.monotonic() - began > _STEADY:
                    pause = _FIRST_PAUSE
                self._trouble.failure(part, error=explained(error), retry_in=pause, part=part)
            else:
                self._trouble.success(part, part=part)
                return
            finally:
                steady.cancel()
            alive()
            await self._clock.sleep(pause)
            pause = min(2 * pause, _PAUSE_CAP)

    async def _recovers(self, part: str) -> None:
        await self._clock.sleep(_STEADY)
        self._trouble.success(part, part=part)


def explained(error: Exception) -> DockdError:
    """Return what is told of an error, which one of several tasks may have raised."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error if isinstance(error, DockdError) else UnforeseenError.of(error)
