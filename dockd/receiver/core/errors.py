"""Why the receiver refuses what was asked of it; ``http/`` translates these."""

import enum


class Reason(enum.Enum):
    """Why something was refused."""

    MANIFEST_IMPLAUSIBLE = enum.auto()
    """No age file can be what the manifest says."""
    ALREADY_STORED = enum.auto()
    NOT_STORED = enum.auto()
    """The clip has to be uploaded."""
    UPLOAD_UNKNOWN = enum.auto()
    UPLOAD_LOCKED = enum.auto()
    """Another request has the upload."""
    OFFSET = enum.auto()
    """The upload ends elsewhere; see :class:`OffsetError`."""
    TOO_LONG = enum.auto()
    """The body goes past the upload's length."""
    NOT_SEALED = enum.auto()
    """The bytes are not an age file."""
    DAMAGED = enum.auto()
    """The bytes do not match their checksum."""
    INCOMPLETE = enum.auto()
    """The body did not arrive whole; what arrived was kept."""
    TOO_MANY_UPLOADS = enum.auto()
    NO_ROOM = enum.auto()
    SHARE_FULL = enum.auto()
    """The station has been promised its share of the room."""
    DISK_FULL = enum.auto()
    DISK_FAILED = enum.auto()
    STOPPING = enum.auto()


class RefusedError(Exception):
    """Something was not done."""

    def __init__(
        self, reason: Reason, detail: str, *, hint: str = "", retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.hint = hint
        self.retry_after = retry_after
        """Seconds after which to try again; None: at the client's discretion."""


class OffsetError(RefusedError):
    """Bytes were sent for another place than the upload's end."""

    def __init__(self, offset: int, sent: int) -> None:
        super().__init__(Reason.OFFSET, f"it ends at {offset}, not at {sent}")
        self.offset = offset
        """Where the upload ends."""


class BodyBrokenError(Exception):
    """A body stopped arriving before its end; raised by the iterator that yields it."""
