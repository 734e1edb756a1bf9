"""All error responses of the receiver, in one table.

Bodies are problem details (RFC 9457) with a stable ``code`` and, where an operator can act,
a ``hint``. The statuses are those of tus 1.0.0 where it names one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import JSONResponse


@dataclass(frozen=True)
class ProblemType:
    """One kind of error response."""

    code: str
    status: int
    title: str


BAD_HEADER = ProblemType("bad-header", 400, "A header is missing or malformed")
LENGTH_MISMATCH = ProblemType("length-mismatch", 400, "The length differs from the manifest")
MANIFEST_REFUSED = ProblemType("manifest-refused", 400, "Invalid manifest")
TOKEN_REFUSED = ProblemType("token-refused", 401, "A valid bearer token is required")
NOT_ENROLLED = ProblemType("not-enrolled", 403, "The station is not enrolled here")
OTHER_STATION = ProblemType("other-station", 403, "The token belongs to another station")
UPLOAD_FINISHED = ProblemType("upload-finished", 403, "A finished upload can't be removed")
NOT_FOUND = ProblemType("not-found", 404, "Nothing exists at this address")
UPLOAD_UNKNOWN = ProblemType("upload-unknown", 404, "Unknown or expired upload")
CLIP_NOT_STORED = ProblemType("clip-not-stored", 404, "The clip is not stored here")
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed", 405, "The address does not support this method"
)
TOO_SLOW = ProblemType("too-slow", 408, "The request body arrived too slowly")
CLIP_STORED = ProblemType("clip-stored", 409, "The clip is stored already; request its receipt")
HISTORY_FORKED = ProblemType("history-forked", 409, "The station's journal contradicts itself")
OFFSET_CONFLICT = ProblemType("offset-conflict", 409, "The upload is at another offset")
TUS_VERSION = ProblemType("tus-version", 412, "Only tus 1.0.0 is supported")
TOO_LARGE = ProblemType("too-large", 413, "The request exceeds a limit of this receiver")
MEDIA_TYPE = ProblemType("media-type", 415, "Unexpected content type")
NOT_SEALED = ProblemType("not-sealed", 415, "The bytes are not an age file")
UPLOAD_LOCKED = ProblemType("upload-locked", 423, "Another request is using the upload")
TOO_MANY_REQUESTS = ProblemType(
    "too-many-requests", 429, "The station has too many requests under way"
)
CHECKSUM_MISMATCH = ProblemType("checksum-mismatch", 460, "The bytes do not match their checksum")
STOPPING = ProblemType("stopping", 503, "The receiver is shutting down")
STORE_FAILED = ProblemType("store-failed", 503, "The store's disk returned an error")
TOO_MANY_UPLOADS = ProblemType(
    "too-many-uploads", 503, "The station has too many unfinished uploads"
)
CLOCKS_DIFFER = ProblemType("clocks-differ", 503, "The clocks of station and receiver disagree")
STORE_FULL = ProblemType("store-full", 507, "The store has no space")
SHARE_FULL = ProblemType("share-full", 507, "The station has reserved its share of the space")


class RequestError(Exception):
    """An error response."""

    def __init__(
        self,
        problem: ProblemType,
        detail: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """Return the response as it is sent."""
        body: dict[str, object] = {
            "type": "about:blank",
            "title": self.problem.title,
            "status": self.problem.status,
            "detail": self.detail,
            "code": self.problem.code,
        }
        if self.hint:
            body["hint"] = self.hint
        return JSONResponse(
            body, self.problem.status, self.headers, media_type="application/problem+json"
        )
