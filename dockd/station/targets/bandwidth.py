"""How fast uploads may go: a token bucket for all of them, its rate by time of day."""

from collections.abc import Callable, Sequence
from datetime import time

from dockd.base.clock import Clock
from dockd.station.config import BandwidthRule

BURST_SECONDS = 1.0
"""How much unused allowance is kept; a longer silence earns no more."""
GRANTS_PER_SECOND = 8
"""How finely the rate is dealt out: a slow link still shows the server a steady trickle,
and a change of the rate counts at once."""


class Limiter:
    """Deals out bytes to several uploads, first come first served.

    Each caller gets a small part and queues again, so that the uploads share the rate
    evenly whatever the size of their blocks.
    """

    def __init__(self, clock: Clock, rate: Callable[[], int]) -> None:
        """Make a limiter.

        Args:
            clock: tells and spends the time.
            rate: returns the bytes a second that are allowed now; 0 is no limit.
        """
        self._clock = clock
        self._rate = rate
        self._spent_until = float("-inf")
        """The moment up to which the allowance is used up."""

    async def take(self, wanted: int) -> int:
        """Wait for allowance and return how many bytes may be sent: 1 to ``wanted``."""
        rate = self._rate()
        if rate == 0:
            return wanted
        granted = min(wanted, max(rate // GRANTS_PER_SECOND, 1))
        now = self._clock.monotonic()
        start = max(self._spent_until, now - BURST_SECONDS)
        self._spent_until = start + granted / rate
        if start > now:
            await self._clock.sleep(start - now)
        return granted


def current_limit(bandwidth: int, schedule: Sequence[BandwidthRule], local: time) -> int:
    """Return the bytes a second that are allowed at a local time of day; 0 is no limit.

    The first rule of the schedule whose hours include the time counts, else
    ``bandwidth``. Hours include their beginning and not their end, and may span midnight.
    """
    return next((rule.limit for rule in schedule if _applies(rule, local)), bandwidth)


def _applies(rule: BandwidthRule, local: time) -> bool:
    if rule.since < rule.until:
        return rule.since <= local < rule.until
    return local >= rule.since or local < rule.until
