"""Receipts: signing them, and the resource ``/receipts/{clip_id}``."""

import re

from starlette.requests import Request
from starlette.responses import Response

from dockd.clock import Clock, timestamp
from dockd.keys import SigningKey
from dockd.manifest import (
    MAX_STATEMENT,
    Manifest,
    Receipt,
    Signer,
    sign,
    statement_sha256,
)
from dockd.receiver import problems
from dockd.receiver.body import read_small
from dockd.receiver.problems import RequestError
from dockd.receiver.stations import Stations
from dockd.receiver.store import Sign
from dockd.receiver.uploads import MAX_WAIT, Uploads

STATEMENT_TYPE = "application/jose"

_CLIP_ID = re.compile(r"[0-9a-f]{64}")
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


def receipt_signer(receiver_id: str, key: SigningKey, clock: Clock) -> Sign:
    """Return what makes this receiver's receipts."""

    def make(manifest: Manifest, manifest_token: str) -> str:
        receipt = Receipt(
            clip_id=manifest.clip_id,
            plaintext=manifest.plaintext,
            ciphertext=manifest.ciphertext,
            recipients=manifest.recipients,
            manifest_sha256=statement_sha256(manifest_token),
            station=manifest.station,
            receiver=Signer(id=receiver_id, kid=key.kid),
            stored_at=timestamp(clock.now()),
        )
        return sign(receipt, key)

    return make


class Receipts:
    """The resource ``/receipts/{clip_id}``."""

    def __init__(self, uploads: Uploads, stations: Stations) -> None:
        self._uploads = uploads
        self._stations = stations

    async def receipt(self, request: Request) -> Response:
        """Answer a request: PUT brings a manifest and asks, GET only asks."""
        clip_id = request.path_params["clip_id"]
        if not _CLIP_ID.fullmatch(clip_id):
            raise RequestError(problems.NOT_FOUND, "a clip id has 64 hexadecimal digits")
        caller = self._stations.caller(request.headers.get("authorization"))
        if request.method != "PUT":
            receipt = await self._uploads.stored_receipt(clip_id)
            if receipt is None:
                raise RequestError(problems.CLIP_NOT_STORED, clip_id)
            return Response(receipt, media_type=STATEMENT_TYPE)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != STATEMENT_TYPE:
            raise RequestError(problems.MEDIA_TYPE, f"Content-Type has to be {STATEMENT_TYPE}")
        token = (await read_small(request.receive, MAX_STATEMENT)).decode("ascii", "replace")
        manifest = self._stations.manifest(token, caller)
        if manifest.clip_id != clip_id:
            raise RequestError(problems.MANIFEST_REFUSED, "it is that of another clip")
        receipt = await self._uploads.receipt(manifest, token, _wanted_wait(request))
        if receipt is None:
            return Response(status_code=202, headers={"Retry-After": "1"})
        return Response(receipt, media_type=STATEMENT_TYPE)


def _wanted_wait(request: Request) -> float:
    """Return the seconds of ``Prefer: wait`` (RFC 7240, section 4.3), capped."""
    match = _WAIT.search(request.headers.get("prefer", ""))
    return min(int(match[1]), MAX_WAIT) if match else 0
