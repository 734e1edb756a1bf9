"""What the clocks of station and receiver have to agree on before a receipt is signed."""

from datetime import datetime

from dockd.base.clock import timestamp
from dockd.base.errors import ClocksDifferError
from dockd.evidence.statements import Manifest, is_sealed_later


def check_clocks(manifest: Manifest, now: datetime) -> None:
    """Check that a receipt of now would not be older than its manifest, which no station takes.

    Raises:
        ClocksDifferError: it would.
    """
    if is_sealed_later(manifest, now):
        raise ClocksDifferError(
            f"it was sealed at {manifest.sealed_at}, and here it is {timestamp(now)}",
            hint="correct the clock of the station or of the receiver, and restart the station",
        )
