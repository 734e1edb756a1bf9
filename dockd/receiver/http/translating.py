"""What the core refuses, as problems of HTTP: status, headers and body."""

from dockd.base.errors import ClocksDifferError, HistoryForkedError
from dockd.receiver.core.errors import OffsetError, Reason, RefusedError
from dockd.receiver.http import problems
from dockd.receiver.http.problems import ProblemType, RequestError

CoreError = RefusedError | ClocksDifferError | HistoryForkedError
"""What the core refuses a request with."""

_CLOCKS_RETRY_AFTER = 300
_PROBLEMS: dict[Reason, ProblemType] = {
    Reason.MANIFEST_IMPLAUSIBLE: problems.MANIFEST_REFUSED,
    Reason.ALREADY_STORED: problems.CLIP_STORED,
    Reason.NOT_STORED: problems.CLIP_NOT_STORED,
    Reason.UPLOAD_UNKNOWN: problems.UPLOAD_UNKNOWN,
    Reason.UPLOAD_LOCKED: problems.UPLOAD_LOCKED,
    Reason.OFFSET: problems.OFFSET_CONFLICT,
    Reason.TOO_LONG: problems.TOO_LARGE,
    Reason.NOT_SEALED: problems.NOT_SEALED,
    Reason.DAMAGED: problems.CHECKSUM_MISMATCH,
    Reason.INCOMPLETE: problems.TOO_SLOW,
    Reason.TOO_MANY_UPLOADS: problems.TOO_MANY_UPLOADS,
    Reason.NO_ROOM: problems.STORE_FULL,
    Reason.SHARE_FULL: problems.SHARE_FULL,
    Reason.DISK_FULL: problems.STORE_FULL,
    Reason.DISK_FAILED: problems.STORE_FAILED,
    Reason.STOPPING: problems.STOPPING,
}


def translated(error: CoreError) -> RequestError:
    """Return what a client gets for an error of the core."""
    match error:
        case RefusedError():
            problem = _PROBLEMS[error.reason]
            return RequestError(problem, error.detail, hint=error.hint, headers=_headers(error))
        case ClocksDifferError():
            headers = {"Retry-After": str(_CLOCKS_RETRY_AFTER)}
            problem = problems.CLOCKS_DIFFER
            return RequestError(problem, error.detail, hint=error.hint, headers=headers)
        case HistoryForkedError():
            return RequestError(problems.HISTORY_FORKED, error.detail, hint=error.hint)


def _headers(error: RefusedError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, OffsetError):
        headers["Upload-Offset"] = str(error.offset)
    if error.reason is Reason.INCOMPLETE:
        headers["Connection"] = "close"
    return headers
