"""What a failing disk means to a request, and to the log."""

import errno
from typing import Literal

from dockd.base.clock import Clock
from dockd.base.errors import StoreError, StoreFullError
from dockd.base.incidents import Incidents
from dockd.receiver import events
from dockd.receiver.core.errors import Reason, RefusedError

QUIET_SECONDS = 60.0
"""How long a disk must work without error before its errors count as over."""
_RETRY_AFTER = 30

Kind = Literal["read", "write"]
"""What a disk was used for."""


class Faults:
    """The disk's errors, until they are over."""

    def __init__(self, clock: Clock, incidents: Incidents) -> None:
        self._incidents = incidents.scope("store")
        self._clock = clock
        self._failing: set[Kind] = set()
        self._failed_at: float | None = None
        """When it failed last, until the errors are over."""

    def note(self, error: Exception, kind: Kind) -> None:
        """Note a disk error."""
        self._failing.add(kind)
        self._failed_at = self._clock.monotonic()
        failure = StoreError(str(error), hint="check the store's disk and its mount")
        if _is_full(error):
            failure = StoreFullError(str(error), hint="free up space on the store's disk")
        self._incidents.failed(events.receiver_store_failed(), failure)

    def refused(self, error: Exception) -> RefusedError:
        """Return how a client hears of an error that was noted."""
        reason, detail = Reason.DISK_FAILED, "the disk returned an error"
        if _is_full(error):
            reason, detail = Reason.DISK_FULL, "the disk is full"
        return RefusedError(reason, detail, retry_after=_RETRY_AFTER)

    @property
    def last(self) -> bool:
        """Whether the disk's latest result was an error, for reads or for writes."""
        return bool(self._failing)

    @property
    def is_old(self) -> bool:
        """Whether the disk has failed, but not recently: it is to be tried."""
        at = self._failed_at
        return at is not None and self._clock.monotonic() - at >= QUIET_SECONDS

    def works(self, *kinds: Kind) -> None:
        """Note that the disk does this now; the errors are not over yet."""
        self._failing.difference_update(kinds)

    def none(self) -> None:
        """Note that the disk works again, some time after its last error."""
        self._failing.clear()
        self._failed_at = None
        self._incidents.recovered(events.receiver_store_failed)


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
