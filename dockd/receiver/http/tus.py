"""The tus 1.0.0 protocol (https://tus.io/protocols/resumable-upload).

Core, and the extensions creation, creation-with-upload, checksum, expiration and
termination (of unfinished uploads).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable
from email.utils import format_datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dockd.base.clock import Clock
from dockd.receiver.core.errors import RefusedError
from dockd.receiver.core.upload import Stored, Upload
from dockd.receiver.core.uploads import Uploads
from dockd.receiver.core.writing import Checksum
from dockd.receiver.http import problems
from dockd.receiver.http.access import Access, Caller
from dockd.receiver.http.body import pieces
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.requests import Requests

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
ALGORITHMS = ("sha256", "sha1")
"""``sha1`` because the specification requires it of every server."""
BODY_TYPE = "application/offset+octet-stream"
MAX_OTHER_METADATA = 4096
"""Bytes of ``Upload-Metadata`` that an upload may have besides its manifest."""
METHODS = {"POST", "HEAD", "PATCH", "DELETE", "OPTIONS"}

_NUMBER = re.compile(r"[0-9]{1,18}")
_KEY = re.compile(r"[!-+\--~]+")


class TusMiddleware:
    """What tus requires of every request and response below ``/files``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or not re.match(r"/files(/|\Z)", scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Tus-Resumable"] = VERSION
            await send(message)

        if (method := headers.get("x-http-method-override", "").upper()) in METHODS:
            scope = {**scope, "method": method}
        if scope["method"] != "OPTIONS" and headers.get("tus-resumable") != VERSION:
            refusal = RequestError(
                problems.TUS_VERSION,
                "the Tus-Resumable header is missing or has another version",
                headers={"Tus-Version": VERSION},
            )
            await refusal.response()(scope, receive, send_with_version)
            return
        await self._app(scope, receive, send_with_version)


class Tus:
    """The resources ``/files/`` and ``/files/{upload}``."""

    def __init__(
        self, uploads: Uploads, access: Access, requests: Requests, max_size: int, clock: Clock
    ) -> None:
        self._uploads = uploads
        self._access = access
        self._clock = clock
        self._requests = requests
        self._max_size = max_size

    async def files(self, request: Request) -> Response:
        """Answer a request to ``/files/``."""
        return await (self._options if request.method == "OPTIONS" else self._create)(request)

    async def upload(self, request: Request) -> Response:
        """Answer a request to ``/files/{upload}``."""
        if request.method == "OPTIONS":
            return await self._options(request)
        caller = self._caller(request)
        upload = self._uploads.find(request.path_params["upload"])
        self._access.admit(caller, upload.station)
        request.state.station = upload.station
        serve: dict[str, Callable[[Request, Upload | Stored], Awaitable[Response]]] = {
            "HEAD": self._head,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        return await serve[request.method](request, upload)

    def _caller(self, request: Request) -> Caller:
        caller = self._access.caller(request.headers.get("authorization"))
        request.state.station = caller.name
        return caller

    async def _options(self, _request: Request) -> Response:
        return Response(
            status_code=204,
            headers={
                "Tus-Version": VERSION,
                "Tus-Extension": EXTENSIONS,
                "Tus-Max-Size": str(self._max_size),
                "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            },
        )

    async def _create(self, request: Request) -> Response:
        caller = self._caller(request)
        headers = request.headers
        length = _number(headers, "Upload-Length")
        metadata = headers.get("upload-metadata", "")
        pairs = _parse_metadata(metadata)
        token = pairs.pop("manifest", "")
        if sum(map(len, (*pairs, *pairs.values()))) > MAX_OTHER_METADATA:
            raise RequestError(
                problems.TOO_LARGE,
                f"Upload-Metadata has more than {MAX_OTHER_METADATA} bytes besides the manifest",
            )
        if not token:
            raise RequestError(
                problems.BAD_HEADER,
                "Upload-Metadata has no manifest",
                hint="this receiver accepts uploads of dockd stations only",
            )
        manifest = self._access.manifest(token, caller)
        request.state.station = manifest.station.id
        if length != manifest.ciphertext.size:
            raise RequestError(
                problems.LENGTH_MISMATCH,
                f"Upload-Length is {length}, the manifest says {manifest.ciphertext.size}",
            )
        if length > self._max_size:
            raise RequestError(
                problems.TOO_LARGE, f"the clip has {length} bytes; the limit is {self._max_size}"
            )
        with_upload = _media_type(headers) == BODY_TYPE
        checksum = _parse_checksum(headers) if with_upload else None
        size = _content_length(headers)
        with self._requests.one(manifest.station.id):
            upload = await self._uploads.create(manifest, token, metadata)
            if with_upload:
                body = pieces(request.receive, self._clock)
                try:
                    await self._uploads.append(upload, 0, body, size, checksum)
                except (RefusedError, OSError):
                    # Its address was never sent, so no client could resume it.
                    await self._uploads.remove(upload)
                    raise
        # Relative to the request, so that it is right behind any proxy.
        here = upload.id if request.scope["path"].endswith("/") else f"files/{upload.id}"
        return Response(status_code=201, headers={"Location": here, **self._state(upload)})

    async def _head(self, _request: Request, upload: Upload | Stored) -> Response:
        await self._uploads.current_offset(upload)
        return Response(
            headers={
                "Upload-Length": str(upload.length),
                "Upload-Metadata": await self._uploads.metadata(upload),
                "Cache-Control": "no-store",
                **self._state(upload),
            }
        )

    async def _patch(self, request: Request, upload: Upload | Stored) -> Response:
        headers = request.headers
        if _media_type(headers) != BODY_TYPE:
            raise RequestError(problems.MEDIA_TYPE, f"Content-Type must be {BODY_TYPE}")
        offset = _number(headers, "Upload-Offset")
        checksum = _parse_checksum(headers)
        with self._requests.one(upload.station):
            body = pieces(request.receive, self._clock)
            await self._uploads.append(upload, offset, body, _content_length(headers), checksum)
        return Response(status_code=204, headers=self._state(upload))

    async def _delete(self, _request: Request, upload: Upload | Stored) -> Response:
        if not await self._uploads.remove(upload):
            raise RequestError(problems.UPLOAD_FINISHED, "all of its bytes have arrived")
        return Response(status_code=204)

    def _state(self, upload: Upload | Stored) -> dict[str, str]:
        state = {"Upload-Offset": str(upload.offset)}
        if isinstance(upload, Upload) and not upload.complete:
            expires = self._uploads.expires(upload)
            state["Upload-Expires"] = format_datetime(expires, usegmt=True)
        return state


def _number(headers: Headers, name: str) -> int:
    value = headers.get(name, "")
    if not _NUMBER.fullmatch(value):
        raise RequestError(problems.BAD_HEADER, f"{name} is missing or not a number of bytes")
    return int(value)


def _content_length(headers: Headers) -> int | None:
    return _number(headers, "Content-Length") if "content-length" in headers else None


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _parse_metadata(value: str) -> dict[str, str]:
    """Return the pairs of an ``Upload-Metadata`` header."""
    pairs: dict[str, str] = {}
    for pair in value.split(",") if value else []:
        key, _, encoded = pair.strip(" ").partition(" ")
        try:
            decoded = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            decoded = None
        if not _KEY.fullmatch(key) or key in pairs or decoded is None:
            raise RequestError(problems.BAD_HEADER, "Upload-Metadata is malformed")
        pairs[key] = decoded.decode("ascii", "replace")
    return pairs


def _parse_checksum(headers: Headers) -> Checksum | None:
    value = headers.get("upload-checksum")
    if value is None:
        return None
    algorithm, _, encoded = value.partition(" ")
    if algorithm not in ALGORITHMS:
        raise RequestError(
            problems.BAD_HEADER, f"Upload-Checksum must be one of {', '.join(ALGORITHMS)}"
        )
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    try:
        expected = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    if len(expected) != size:
        raise RequestError(problems.BAD_HEADER, f"Upload-Checksum is not a {algorithm} in base64")
    return Checksum(algorithm, expected)
