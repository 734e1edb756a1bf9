"""How a target answers: what its requests and the deliveries to it note, and the status shows."""

from datetime import datetime

from dockd.base.clock import Clock
from dockd.base.errors import TargetDownError
from dockd.base.incidents import Incidents
from dockd.station import events


class TargetHealth:
    """Whether a target is reachable, and what has gone through."""

    def __init__(self, url: str, clock: Clock, incidents: Incidents) -> None:
        self.reachable: bool | None = None
        """None: not contacted yet."""
        self.last_success: datetime | None = None
        self.successes = 0
        """Clips that have gone through."""
        self._url = url
        self._clock = clock
        self._incidents = incidents.scope("target", url)
        self._said_no = False
        """Whether the target itself said that it takes nothing, when it was found down."""

    def answered(self, *, took_something: bool) -> None:
        """Note an answer of the server itself.

        An outage that it disproves is shown no longer; the log waits for what goes through.

        Args:
            took_something: whether it took bytes, or gave what claims to be a receipt.
        """
        if self.reachable is not True and (took_something or not self._said_no):
            self.reachable = True
            self._incidents.hide(events.target_down)

    def down(self, error: TargetDownError, *, retry_in: float) -> None:
        """Note that it takes no clips at present."""
        self.reachable = False
        self._said_no = error.answered
        down = events.target_down(target=self._url)
        self._incidents.failed(down, error, retry_in=retry_in)

    def up(self) -> bool:
        """Note that it takes clips; return whether it was down."""
        self.reachable = True
        return self._incidents.recovered(events.target_down)

    def went_through(self) -> None:
        """Note that a clip was delivered."""
        self.last_success = self._clock.now()
        self.successes += 1
