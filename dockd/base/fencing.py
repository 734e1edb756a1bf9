"""Fences around a station's long-running parts: failures are reported, and parts restarted."""

import asyncio
from collections.abc import Awaitable, Callable

from dockd.base import events
from dockd.base.clock import Clock
from dockd.base.errors import explained
from dockd.base.incidents import Incidents, Scope

_FIRST_PAUSE = 1.0
_PAUSE_CAP = 60.0
"""Seconds before a part that has failed is restarted; they double."""
_STEADY = 60.0
"""Seconds without a failure after which a part counts as recovered."""


class Fence:
    """Keeps the parts of a station from ending each other, or the station."""

    def __init__(self, clock: Clock, incidents: Incidents) -> None:
        self._clock = clock
        self._incidents = incidents

    async def keep(
        self,
        part: str,
        run: Callable[[], Awaitable[None]],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a part, and restart it whenever it fails, until it ends or is cancelled.

        Args:
            part: its name in the log.
            run: starts it from scratch.
            alive: called at each failure: a part that fails is reported, but is not hung.
        """
        scope = self._incidents.scope("part", part)
        pause = _FIRST_PAUSE
        while True:
            began = self._clock.monotonic()
            steady = asyncio.create_task(self._recovers(scope))
            try:
                await run()
            except Exception as error:  # noqa: BLE001  # the boundary of one part
                if self._clock.monotonic() - began > _STEADY:
                    pause = _FIRST_PAUSE
                scope.failed(events.daemon_part_failed(part=part), explained(error), retry_in=pause)
            else:
                scope.recovered(events.daemon_part_failed)
                return
            finally:
                steady.cancel()
            alive()
            await self._clock.sleep(pause)
            pause = min(2 * pause, _PAUSE_CAP)

    async def _recovers(self, scope: Scope) -> None:
        await self._clock.sleep(_STEADY)
        scope.recovered(events.daemon_part_failed)
