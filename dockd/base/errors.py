"""Every error that dockd names, in one tree.

DockdError
├── UnforeseenError           a mistake in dockd, fenced in
├── UsageError                a command was called wrongly
├── ConfigError               the configuration file has mistakes
├── KeyFileError              a key file is missing, unreadable or not a key
├── ListenError               an address is taken, or not there yet
├── CrowdedError              more connections than are allowed
├── AgeError                  an age file or key can't be used
│   ├── AgeKeyError           a recipient or an identity isn't one
│   ├── AgeHeaderError        the header isn't a valid age v1 header
│   ├── AgeHmacError          the header's MAC doesn't match
│   ├── AgeNoMatchError       no identity opens the file
│   └── AgePayloadError       the payload is damaged, cut short or extended
├── SourceError               a camera or its file can't be used now
│   ├── ClipChangedError      a clip changed while it was read
│   ├── ClipUnsettledError    a clip is not complete for very long
│   ├── ClipUnreadableError   the camera returned I/O errors for a clip
│   │   └── ClipTooLargeError the station could never hold it
│   ├── CameraLostError       the camera went away
│   ├── CameraHangsError      it doesn't answer, with an error or without
│   ├── CameraRefusedError    it can't be told from another camera, or has nothing to read
│   ├── FilesLeftError        it has files that nobody has read
│   └── MountError            its file system can't be mounted or unmounted
├── SpoolError                the station's spool can't be used
│   ├── SpoolFullError        budget or disk leaves no room
│   │   └── SpoolDiskFullError    and uploads would make none
│   ├── SpoolDamagedError     a spooled ciphertext isn't what was written
│   └── SpoolUnknownError     the ledger doesn't know what is in it
├── LedgerError               the station's database can't be used
│   ├── LedgerBusyError       another dockd holds it
│   ├── LedgerVersionError    it was written by a newer dockd
│   ├── JournalBrokenError    the journal's hash chain doesn't hold
│   └── JournalForkedError    the receiver knows another journal of this station
├── TransitionError           a clip is in no state for what happens to it
├── NotFoundError             the ledger has no such clip
├── TargetError               an upload did not go through
│   ├── TransientError        it will be tried again
│   │   └── TargetDownError       so will every other clip's
│   └── RejectedError         the server never will store this
├── StatementError            a signed statement can't be relied on
│   ├── ManifestRefusedError  a manifest
│   └── ReceiptRefusedError   a receipt
├── WipeError                 a clip could not be wiped
│   ├── WipeRefusedError      a check before the wipe did not hold
│   ├── WipeBusyError         somebody has the file open for writing
│   ├── WipeUnconfirmedError  the server has not confirmed a receipt yet
│   ├── WipeFailedError       the file is still there
│   └── WipeDamageError       other files are gone as well
├── StoreError                the receiver can't take or keep something
│   ├── StoreBusyError        another receiver holds the store
│   ├── StoreFullError        its disk has no room
│   ├── RequestRefusedError   a client asks for what it does not get
│   ├── HistoryForkedError    a station's journal has two histories
│   ├── ClocksDifferError     a receipt would be older than its manifest
│   └── UploadDamagedError    what arrived is not what the manifest says
│       └── UploadUnreadableError can't be read back at all
└── ControlError              the daemon can't be asked
    ├── OrderHeldError        an order is taken, and waits for the ledger
    ├── DaemonDownError       it isn't running, or doesn't answer
    ├── ControlDeniedError    its socket may not be used
    ├── ControlVersionError   it speaks another version
    └── OrderRefusedError     it says no

``summary`` is a class's message, and serves as its docstring too (``python -OO`` strips
those); what is special about one case is the exception's argument. ``exit_code`` follows
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
    summary = "Something went wrong that dockd did not foresee"
    event = "unforeseen"

    @classmethod
    def of(cls, cause: Exception) -> Self:
        """Return it for what was caught at the boundary of one camera or one clip."""
        error = cls(
            f"{type(cause).__name__}: {cause}",
            hint="report it with the log around it; it is tried again, and the rest goes on",
        )
        error.__cause__ = cause
        return error


class UsageError(DockdError):
    summary = "The command was called wrongly"
    exit_code = 64
    event = "usage.invalid"


class ConfigError(DockdError):
    summary = "The configuration has mistakes"
    exit_code = 78
    event = "config.invalid"


class KeyFileError(DockdError):
    summary = "A key can't be used"
    exit_code = 78
    event = "key.unusable"


class ListenError(DockdError):
    summary = "The address can't be listened on now"
    exit_code = 75
    event = "listen.failed"


class CrowdedError(DockdError):
    summary = "No further connection is taken"
    exit_code = 75
    event = "connections.refused"


class AgeError(DockdError):
    summary = "The age file can't be opened"
    exit_code = 65
    event = "age.failed"


class AgeKeyError(AgeError):
    summary = "This is not a usable age recipient or identity"
    event = "age.key_invalid"


class AgeHeaderError(AgeError):
    summary = "The header is not a valid age v1 header"
    event = "age.header_invalid"


class AgeHmacError(AgeError):
    summary = "The header was altered: its MAC does not match"
    event = "age.hmac_invalid"


class AgeNoMatchError(AgeError):
    summary = "None of the identities opens this file"
    exit_code = 77
    event = "age.no_match"


class AgePayloadError(AgeError):
    summary = "The payload is damaged, cut short or extended"
    event = "age.payload_invalid"


class SourceError(DockdError):
    summary = "The camera can't be read now"
    exit_code = 66
    event = "camera.failed"


class ClipChangedError(SourceError):
    summary = "The clip changed while it was read"
    event = "clip.changed"


class ClipUnsettledError(SourceError):
    summary = "The clip is not complete yet"
    event = "clip.unsettled"


class ClipUnreadableError(SourceError):
    summary = "The camera can't read this clip"
    event = "clip.unreadable"


class ClipTooLargeError(ClipUnreadableError):
    summary = "The clip is larger than this station can hold"
    event = "clip.too_large"


class CameraLostError(SourceError):
    summary = "The camera went away"
    event = "camera.lost"


class CameraHangsError(SourceError):
    summary = "The camera does not answer"
    event = "camera.hangs"


class CameraRefusedError(SourceError):
    summary = "The camera can't be taken"
    event = "camera.refused"


class FilesLeftError(SourceError):
    summary = "Files on the camera fit no rule, and were not read"
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
    summary = "A spooled ciphertext is not what was written"
    event = "spool.damaged"


class SpoolUnknownError(SpoolError):
    summary = "The spool holds ciphertext that the ledger does not know"
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
    summary = "The journal's hash chain does not hold"
    exit_code = 65
    event = "journal.broken"


class JournalForkedError(LedgerError):
    summary = "The journal is not the one that the receiver knows"
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
    summary = "The upload did not go through"
    exit_code = 69
    event = "upload.failed"
    code = ""
    """What the receiver calls it, if it was the receiver that said it."""


class TransientError(TargetError):
    summary = "The server can't take the clip now"
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
        """Whether it never ends by itself, unless it ends soon."""


class TargetDownError(TransientError):
    summary = "The server can't take any clip now"
    event = "target.down"
    answered = False
    """Whether the server itself said so: it can be reached, and takes nothing."""


class RejectedError(TargetError):
    summary = "The server refused the clip for good"
    exit_code = 76
    event = "clip.rejected"


class StatementError(DockdError):
    summary = "The signed statement can't be relied on"
    exit_code = 65
    event = "statement.refused"

    def __init__(self, detail: str = "", *, hint: str = "", reason: str = "malformed") -> None:
        super().__init__(detail, hint=hint)
        self.reason = reason
        """A stable word for logs and scripts, such as ``unknown-key``."""


class ManifestRefusedError(StatementError):
    summary = "The manifest can't be relied on"
    event = "manifest.refused"


class ReceiptRefusedError(StatementError):
    summary = "The receipt can't be relied on"
    event = "receipt.refused"


class WipeError(DockdError):
    summary = "The clip could not be wiped"
    exit_code = 74
    event = "wipe.failed"


class WipeRefusedError(WipeError):
    summary = "The clip on the camera is not the clip that was acknowledged"
    exit_code = 65
    event = "wipe.refused"


class WipeBusyError(WipeError):
    summary = "Somebody has the clip open for writing"
    exit_code = 75
    event = "wipe.busy"


class WipeUnconfirmedError(WipeError):
    summary = "The wipe waits for the server to confirm its receipts"
    exit_code = 75
    event = "wipe.unconfirmed"

    def __init__(self, detail: str = "", *, hint: str = "", needs_operator: bool = False) -> None:
        super().__init__(detail, hint=hint)
        self.needs_operator = needs_operator
        """Whether it never ends by itself, unless it ends soon."""


class WipeFailedError(WipeError):
    summary = "The clip is still on the camera after it was removed"


class WipeDamageError(WipeError):
    summary = "Files that were not to be wiped are gone or changed after a wipe"
    event = "wipe.damaged"


class StoreError(DockdError):
    summary = "The receiver can't keep this"
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
    summary = "The station's journal has two histories"
    exit_code = 65
    event = "receiver.history_forked"


class ClocksDifferError(StoreError):
    summary = "The clocks of station and receiver disagree"
    exit_code = 75
    event = "receiver.clocks_differ"


class UploadDamagedError(StoreError):
    summary = "What arrived is not the ciphertext that the manifest names"
    exit_code = 65
    event = "receiver.upload_refused"


class UploadUnreadableError(UploadDamagedError):
    summary = "What arrived can't be read back from the disk"
    exit_code = 74
    event = "receiver.upload_unreadable"


class ControlError(DockdError):
    summary = "The daemon can't be asked"
    exit_code = 69
    event = "control.failed"


class OrderHeldError(ControlError):
    summary = "The order is not carried out yet"
    exit_code = 75
    event = "control.held"


class DaemonDownError(ControlError):
    summary = "The daemon does not answer"
    event = "control.down"


class ControlDeniedError(ControlError):
    summary = "The daemon's control socket may not be used"
    exit_code = 77
    event = "control.denied"


class ControlVersionError(ControlError):
    summary = "The daemon's answers are not understood"
    exit_code = 76
    event = "control.version"


class OrderRefusedError(ControlError):
    summary = "The daemon does not do this"
    exit_code = 65
    event = "control.refused"


def explained(error: Exception) -> DockdError:
    """Return what is reported of an error, which one of several tasks may have raised."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error if isinstance(error, DockdError) else UnforeseenError.of(error)
