"""How far the clocks of station and receiver must agree before a receipt is signed."""

from datetime import datetime

from dockd.base.clock import timestamp
from dockd.base.errors import ClocksDifferError
from dockd.evidence.statements import Manifest, is_sealed_later


def check_clocks(manifest: Manifest, now: datetime) -> None:
    """Check that a receipt signed now is not older than its manifest, as stations reject those.

    Raises:
        ClocksDifferError: it would be.
    """
    if is_sealed_later(manifest, now):
        raise ClocksDifferError(
            f"it was sealed at {manifest.sealed_at}, and the receiver's time is {timestamp(now)}",
            hint="correct the clock of the station or of the receiver, and restart the station",
        )
