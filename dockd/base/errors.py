"""All errors of dockd, in one tree.

DockdError
├── UnforeseenError           a contained bug
├── UsageError                invalid command line
├── ConfigError               invalid configuration file
├── KeyFileError              a key file is missing, unreadable or not a key
├── ListenError               an address is in use, or not available yet
├── CrowdedError              connection limit reached
├── AgeError                  unusable age file or key
│   ├── AgeKeyError           invalid recipient or identity
│   ├── AgeHeaderError        the header isn't a valid age v1 header
│   ├── AgeHmacError          the header's MAC doesn't match
│   ├── AgeNoMatchError       no identity matches the file
│   └── AgePayloadError       the payload is damaged, truncated or extended
├── SourceError               a camera or its file can't be used now
│   ├── ClipChangedError      a clip changed while it was read
│   ├── ClipUnsettledError    a clip stays incomplete for very long
│   ├── ClipUnreadableError   the camera returned I/O errors for a clip
│   │   └── ClipTooLargeError larger than the station can hold
│   ├── CameraLostError       the camera was disconnected
│   ├── CameraHangsError      it doesn't respond
│   ├── CameraRefusedError    not distinguishable from another camera, or nothing to read
│   ├── FilesLeftError        it has files that match no rule
│   └── MountError            its file system can't be mounted or unmounted
├── SpoolError                the station's spool can't be used
│   ├── SpoolFullError        budget or disk leaves no room
│   │   └── SpoolDiskFullError    full of other files
│   ├── SpoolDamagedError     a spooled ciphertext is corrupted
│   └── SpoolUnknownError     it holds ciphertext unknown to the ledger
├── LedgerError               the station's database can't be used
│   ├── LedgerBusyError       another dockd holds it
│   ├── LedgerVersionError    it was written by a newer dockd
│   ├── JournalBrokenError    the journal's hash chain is broken
│   └── JournalForkedError    the receiver's anchor contradicts the journal
├── TransitionError           not allowed in the clip's state
├── NotFoundError             the ledger has no such clip
├── TargetError               an upload failed
│   ├── TransientError        it is retried
│   │   └── TargetDownError       and affects every clip
│   └── RejectedError         permanently rejected by the server
├── StatementError            invalid signed statement
│   ├── ManifestRefusedError  a manifest
│   └── ReceiptRefusedError   a receipt
├── StatementLogError         a log of statements doesn't verify
├── WipeError                 a clip could not be wiped
│   ├── WipeRefusedError      a check before the wipe did not hold
│   ├── WipeBusyError         another process has the file open for writing
│   ├── WipeUnconfirmedError  the server has not confirmed a receipt yet
│   ├── WipeFailedError       the file is still there
│   └── WipeDamageError       other files are missing or changed
├── StoreError                the receiver can't accept or store something
│   ├── StoreBusyError        another receiver holds the store
│   ├── StoreFullError        its disk has no room
│   ├── RequestRefusedError   a client's request is refused
│   ├── HistoryForkedError    a station's journal has forked
│   ├── ClocksDifferError     a receipt would be older than its manifest
│   └── UploadDamagedError    the upload does not match its manifest
│       └── UploadUnreadableError it can't be read back
└── ControlError              the daemon can't answer
    ├── OrderHeldError        a command is pending, waiting for the ledger
    ├── DaemonDownError       it isn't running, or doesn't respond
    ├── ControlDeniedError    access to its socket is denied
    ├── ControlVersionError   incompatible version
    └── OrderRefusedError     it refuses the request

``summary`` is a class's message, and serves as its docstring too (``python -OO`` strips
those); the details of one case are the exception's argument. ``exit_code`` follows
sysexits(3), ``event`` is the name in the log (see docs/events.md).
"""

from typing import ClassVar, Self


class DockdError(Exception):
    summary: ClassVar[str] = "Something went wrong"
    exit_code: ClassVar[int] = 70
    event: ClassVar[str] = "error"

    def __init__(self, detail: str = "", *, hint: str = "") -> None:
        self.detail = detail
        self.hint = hint
        super().__init__(detail)

    @property
    def message(self) -> str:
        """What happened, in one line."""
        return f"{self.summary}: {self.detail}" if self.detail else self.summary

    def __str__(self) -> str:
        return self.message


class UnforeseenError(DockdError):
    summary = "Internal error"
    event = "unforeseen"

    @classmethod
    def of(cls, cause: Exception) -> Self:
        """Return it for an exception caught at the boundary of a camera or a clip."""
        error = cls(
            f"{type(cause).__name__}: {cause}",
            hint="report it with the surrounding log; it is retried, and other work continues",
        )
        error.__cause__ = cause
        return error


class UsageError(DockdError):
    summary = "Invalid command line"
    exit_code = 64
    event = "usage.invalid"


class ConfigError(DockdError):
    summary = "Invalid configuration"
    exit_code = 78
    event = "config.invalid"


class KeyFileError(DockdError):
    summary = "A key can't be used"
    exit_code = 78
    event = "key.unusable"


class ListenError(DockdError):
    summary = "Can't listen on the address"
    exit_code = 75
    event = "listen.failed"


class CrowdedError(DockdError):
    summary = "Connection limit reached"
    exit_code = 75
    event = "connections.refused"


class AgeError(DockdError):
    summary = "The age file can't be decrypted"
    exit_code = 65
    event = "age.failed"


class AgeKeyError(AgeError):
    summary = "Invalid age recipient or identity"
    event = "age.key_invalid"


class AgeHeaderError(AgeError):
    summary = "The header is not a valid age v1 header"
    event = "age.header_invalid"


class AgeHmacError(AgeError):
    summary = "The header was altered: its MAC does not match"
    event = "age.hmac_invalid"


class AgeNoMatchError(AgeError):
    summary = "No identity matches this file"
    exit_code = 77
    event = "age.no_match"


class AgePayloadError(AgeError):
    summary = "The payload is damaged, truncated or extended"
    event = "age.payload_invalid"


class SourceError(DockdError):
    summary = "The camera can't be read"
    exit_code = 66
    event = "camera.failed"


class ClipChangedError(SourceError):
    summary = "The clip changed while it was read"
    event = "clip.changed"


class ClipUnsettledError(SourceError):
    summary = "The clip is not complete yet"
    event = "clip.unsettled"


class ClipUnreadableError(SourceError):
    summary = "The clip can't be read from the camera"
    event = "clip.unreadable"


class ClipTooLargeError(ClipUnreadableError):
    summary = "The clip is larger than this station can hold"
    event = "clip.too_large"


class CameraLostError(SourceError):
    summary = "The camera was disconnected"
    event = "camera.lost"


class CameraHangsError(SourceError):
    summary = "The camera does not respond"
    event = "camera.hangs"


class CameraRefusedError(SourceError):
    summary = "The camera is refused"
    event = "camera.refused"


class FilesLeftError(SourceError):
    summary = "Files on the camera match no rule and were not read"
    event = "camera.files_left"


class MountError(SourceError):
    summary = "The camera's file system can't be mounted or unmounted"
    event = "camera.unmountable"


class SpoolError(DockdError):
    summary = "The spool can't be used"
    exit_code = 74
    event = "spool.failed"


class SpoolFullError(SpoolError):
    summary = "The spool has no room"
    exit_code = 75
    event = "spool.full"


class SpoolDiskFullError(SpoolFullError):
    summary = "The spool's disk is full of other files"
    event = "spool.disk_full"


class SpoolDamagedError(SpoolError):
    summary = "A spooled ciphertext is corrupted"
    event = "spool.damaged"


class SpoolUnknownError(SpoolError):
    summary = "The spool holds ciphertext unknown to the ledger"
    event = "spool.unknown"


class LedgerError(DockdError):
    summary = "The ledger can't be used"
    exit_code = 74
    event = "ledger.failed"


class LedgerBusyError(LedgerError):
    summary = "Another dockd is using this ledger"
    exit_code = 75
    event = "ledger.busy"


class LedgerVersionError(LedgerError):
    summary = "The ledger was written by a newer dockd"
    exit_code = 78
    event = "ledger.too_new"


class JournalBrokenError(LedgerError):
    summary = "The journal's hash chain is broken"
    exit_code = 65
    event = "journal.broken"


class JournalForkedError(LedgerError):
    summary = "The journal contradicts the receiver's anchor"
    exit_code = 65
    event = "journal.forked"


class TransitionError(DockdError):
    summary = "The clip is in another state"
    exit_code = 74
    event = "ledger.failed"


class NotFoundError(DockdError):
    summary = "The ledger has no such clip"
    exit_code = 74
    event = "ledger.failed"


HISTORY_FORKED = "history-forked"
"""The code with which a receiver refuses what contradicts a station's journal."""


class TargetError(DockdError):
    summary = "The upload failed"
    exit_code = 69
    event = "upload.failed"
    code = ""
    """The receiver's code for it, if it came from the receiver."""


class TransientError(TargetError):
    summary = "The server can't accept the clip now"
    exit_code = 75
    event = "clip.retrying"

    def __init__(
        self,
        detail: str = "",
        *,
        hint: str = "",
        retry_after: float | None = None,
        needs_operator: bool = False,
    ) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after = retry_after
        """Seconds that the server asked to wait, or None."""
        self.needs_operator = needs_operator
        """Whether it needs operator action, unless it ends soon."""


class TargetDownError(TransientError):
    summary = "The server can't accept any clip now"
    event = "target.down"
    answered = False
    """Whether the server itself said so: it is reachable, and accepts nothing."""


class RejectedError(TargetError):
    summary = "The server permanently rejected the clip"
    exit_code = 76
    event = "clip.rejected"


class StatementError(DockdError):
    summary = "Invalid signed statement"
    exit_code = 65
    event = "statement.refused"

    def __init__(self, detail: str = "", *, hint: str = "", reason: str = "malformed") -> None:
        super().__init__(detail, hint=hint)
        self.reason = reason
        """A stable word for logs and scripts, such as ``unknown-key``."""


class ManifestRefusedError(StatementError):
    summary = "Invalid manifest"
    event = "manifest.refused"


class ReceiptRefusedError(StatementError):
    summary = "Invalid receipt"
    event = "receipt.refused"


class StatementLogError(DockdError):
    summary = "The statement log doesn't verify"
    exit_code = 65
    event = "statement_log.invalid"


class WipeError(DockdError):
    summary = "The clip could not be wiped"
    exit_code = 74
    event = "wipe.failed"


class WipeRefusedError(WipeError):
    summary = "The clip on the camera is not the clip that was acknowledged"
    exit_code = 65
    event = "wipe.refused"


class WipeBusyError(WipeError):
    summary = "Another process has the clip open for writing"
    exit_code = 75
    event = "wipe.busy"


class WipeUnconfirmedError(WipeError):
    summary = "The wipe waits for the server to confirm its receipts"
    exit_code = 75
    event = "wipe.unconfirmed"

    def __init__(self, detail: str = "", *, hint: str = "", needs_operator: bool = False) -> None:
        super().__init__(detail, hint=hint)
        self.needs_operator = needs_operator
        """Whether it needs operator action, unless it ends soon."""


class WipeFailedError(WipeError):
    summary = "The clip is still on the camera after its removal"


class WipeDamageError(WipeError):
    summary = "Other files are missing or changed after a wipe"
    event = "wipe.damaged"


class StoreError(DockdError):
    summary = "The receiver can't store this"
    exit_code = 74
    event = "store.failed"


class StoreBusyError(StoreError):
    summary = "Another receiver is using this store"
    exit_code = 75
    event = "store.busy"


class StoreFullError(StoreError):
    summary = "The receiver's disk has no room"
    exit_code = 75
    event = "store.full"


class RequestRefusedError(StoreError):
    summary = "A request was refused"
    exit_code = 76
    event = "receiver.refused"


class HistoryForkedError(StoreError):
    summary = "The station's journal has forked"
    exit_code = 65
    event = "receiver.history_forked"


class ClocksDifferError(StoreError):
    summary = "The clocks of station and receiver disagree"
    exit_code = 75
    event = "receiver.clocks_differ"


class UploadDamagedError(StoreError):
    summary = "The upload does not match its manifest"
    exit_code = 65
    event = "receiver.upload_refused"


class UploadUnreadableError(UploadDamagedError):
    summary = "The upload can't be read back from the disk"
    exit_code = 74
    event = "receiver.upload_unreadable"


class ControlError(DockdError):
    summary = "The daemon can't answer"
    exit_code = 69
    event = "control.failed"


class OrderHeldError(ControlError):
    summary = "The order is pending"
    exit_code = 75
    event = "control.held"


class DaemonDownError(ControlError):
    summary = "The daemon is unreachable"
    event = "control.down"


class ControlDeniedError(ControlError):
    summary = "Access to the control socket is denied"
    exit_code = 77
    event = "control.denied"


class ControlVersionError(ControlError):
    summary = "Incompatible daemon version"
    exit_code = 76
    event = "control.version"


class OrderRefusedError(ControlError):
    summary = "The daemon refused the request"
    exit_code = 65
    event = "control.refused"


def explained(error: Exception) -> DockdError:
    """Return what is reported of an error, which one of several tasks may have raised."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error if isinstance(error, DockdError) else UnforeseenError.of(error)
