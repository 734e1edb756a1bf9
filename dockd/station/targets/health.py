"""A target's health, as requests and deliveries record it and the status shows it."""

from datetime import datetime

from dockd.base.clock import Clock
from dockd.base.errors import TargetDownError
from dockd.base.incidents import Incidents
from dockd.station import events


class TargetHealth:
    """Whether a target is reachable, and what was delivered."""

    def __init__(self, url: str, clock: Clock, incidents: Incidents) -> None:
        self.reachable: bool | None = None
        """None: not contacted yet."""
        self.last_success: datetime | None = None
        self.successes = 0
        """Clips that were delivered."""
        self._url = url
        self._clock = clock
        self._incidents = incidents.scope("target", url)
        self._refused_all = False
        """Whether the target itself refused all uploads, when it was found down."""

    def answered(self, *, took_something: bool) -> None:
        """Record a response of the server itself.

        An outage that it disproves is no longer shown; the log waits for a delivery.

        Args:
            took_something: whether it accepted bytes, or sent an unverified receipt.
        """
        if self.reachable is not True and (took_something or not self._refused_all):
            self.reachable = True
            self._incidents.hide(events.target_down)

    def down(self, error: TargetDownError, *, retry_in: float) -> None:
        """Record that it accepts no clips at present."""
        self.reachable = False
        self._refused_all = error.answered
        down = events.target_down(target=self._url)
        self._incidents.failed(down, error, retry_in=retry_in)

    def up(self) -> bool:
        """Record that it accepts clips; return whether it was down."""
        self.reachable = True
        return self._incidents.recovered(events.target_down)

    def went_through(self) -> None:
        """Record that a clip was delivered."""
        self.last_success = self._clock.now()
        self.successes += 1
