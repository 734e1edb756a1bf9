"""The bandwidth limit: a token bucket for all uploads, its rate by time of day."""

from collections.abc import Callable, Sequence
from datetime import time

from dockd.base.clock import Clock
from dockd.station.config import BandwidthRule

BURST_SECONDS = 1.0
"""The maximum unused allowance that is kept."""
GRANTS_PER_SECOND = 8
"""How finely the rate is divided: even a slow link sends steadily, and a change of the rate
takes effect immediately."""


class Limiter:
    """Grants bytes to several uploads, first come first served.

    Each caller gets a small part and queues again, so that the uploads share the rate
    evenly whatever the size of their blocks.
    """

    def __init__(self, clock: Clock, rate: Callable[[], int]) -> None:
        """Make a limiter.

        Args:
            clock: the time.
            rate: returns the bytes per second that are allowed now; 0: no limit.
        """
        self._clock = clock
        self._rate = rate
        self._spent_until = float("-inf")
        """The time up to which the allowance is used up."""

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
    """Return the bytes per second that are allowed at a local time of day; 0: no limit.

    The first rule of the schedule that includes the time applies, else ``bandwidth``. A rule
    includes its start and not its end, and may span midnight.
    """
    return next((rule.limit for rule in schedule if _applies(rule, local)), bandwidth)


def _applies(rule: BandwidthRule, local: time) -> bool:
    if rule.since < rule.until:
        return rule.since <= local < rule.until
    return local >= rule.since or local < rule.until
