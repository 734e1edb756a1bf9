"""One upload under way, as the event loop knows it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from dockd.manifest import Manifest
from dockd.receiver.body import Body
from dockd.receiver.incoming import Record


@dataclass
class Upload:
    """An upload under way."""

    record: Record
    manifest: Manifest
    offset: int
    touched: datetime
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    body: Body | None = None
    """The body that is being written, if any."""
    turn: int = 0
    """Counts the requests for it, so that the newest one wins."""
    failure: OSError | None = None
    """Why it could not be verified yet."""

    @property
    def id(self) -> str:
        """Its name in addresses and on disk."""
        return self.record.id

    @property
    def length(self) -> int:
        """Its bytes when it is complete."""
        return self.manifest.ciphertext.size

    @property
    def complete(self) -> bool:
        """Whether all of its bytes have arrived."""
        return self.offset == self.length

    @property
    def names(self) -> dict[str, str]:
        """What a log line calls it."""
        return {
            "upload": self.id,
            "clip_id": self.manifest.clip_id,
            "station": self.manifest.station.id,
        }
