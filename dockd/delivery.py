"""What the uploading remembers in memory: each clip on its way, and how the target answers."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from dockd.model import Clip


@dataclass
class TargetHealth:
    """How the target answers."""

    reachable: bool | None = None
    """None: nothing was sent to it yet."""
    last_success: datetime | None = None


class Delivery:
    """One clip on its way, over all attempts."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.url = clip.upload_url
        self.sent = 0
        self.attempt: asyncio.Future[None] | None = None
        self.settled = False
        """Whether its receipt is kept."""
        self.refused: str | None = None
        """Why its last receipt was refused."""
        self._best = 0

    def break_off(self) -> None:
        """End the attempt under way, if there is one."""
        if self.attempt is not None:
            self.attempt.cancel()

    def progressed(self) -> bool:
        """Say whether the last attempt got further than those before it."""
        further = self.sent > self._best
        self._best = max(self.sent, self._best)
        return further
