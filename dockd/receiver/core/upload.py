"""One upload under way, as the event loop knows it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from dockd.evidence.statements import Manifest, statement_sha256
from dockd.receiver.core.body import Body
from dockd.receiver.core.errors import OffsetError, Reason, RefusedError
from dockd.receiver.store.protocol import Record


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
    written: int = 0
    """Bytes of that body that are on the disk; ``offset`` counts them once it has ended."""
    turn: int = 0
    """Counts the requests for it, so that the newest one wins."""

    @property
    def id(self) -> str:
        """Its name in addresses and in the store."""
        return self.record.id

    @cached_property
    def manifest_sha256(self) -> str:
        """The name of its manifest."""
        return statement_sha256(self.record.manifest_token)

    @property
    def length(self) -> int:
        """Its size when it is complete."""
        return self.manifest.ciphertext.size

    @property
    def complete(self) -> bool:
        """Whether all of its bytes have arrived."""
        return self.offset == self.length

    @property
    def missing(self) -> int:
        """Bytes that are still to be written."""
        return self.length - self.offset - self.written

    @property
    def names(self) -> dict[str, str]:
        """What a log line calls it."""
        return {
            "upload": self.id,
            "clip_id": self.manifest.clip_id,
            "station": self.manifest.station.id,
        }

    @property
    def station(self) -> str:
        """The name of the station that sends it."""
        return self.manifest.station.id


@dataclass(frozen=True)
class Stored:
    """What is remembered of a stored upload: enough to answer requests for it."""

    id: str
    station: str
    length: int
    complete = True

    @property
    def offset(self) -> int:
        """Where it ends."""
        return self.length


def check_fits(upload: Upload | Stored, offset: int, size: int | None) -> None:
    """Check that a body belongs at an upload's end, and does not exceed its length.

    Raises:
        RefusedError: it does not, or does.
    """
    if offset != upload.offset:
        raise OffsetError(upload.offset, offset)
    if size is not None and offset + size > upload.length:
        raise too_long(upload)


def too_long(upload: Upload | Stored) -> RefusedError:
    """Return the refusal of a body that goes past an upload's length."""
    detail = f"the body goes past the upload's length of {upload.length} bytes"
    return RefusedError(Reason.TOO_LONG, detail)
