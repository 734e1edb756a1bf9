"""Receipts, answers and anchors: signing them, and the resources below ``/receipts``."""

import re

from starlette.requests import Request
from starlette.responses import Response

from dockd.base.clock import Clock, timestamp
from dockd.base.web import network
from dockd.evidence.jws import MAX_STATEMENT
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import (
    NONCE_PATTERN,
    Anchor,
    Answer,
    JournalHead,
    Manifest,
    Receipt,
    Signer,
    sign,
    statement_sha256,
)
from dockd.receiver.core.clocks import check_clocks
from dockd.receiver.core.receipts import Held, ReceiptDesk, Wait
from dockd.receiver.core.statement_log import StatementLog
from dockd.receiver.core.stations import EnrolledStation
from dockd.receiver.core.waiting import MAX_WAIT
from dockd.receiver.http import problems
from dockd.receiver.http.access import Access, Caller
from dockd.receiver.http.body import read_small
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.requests import Requests

STATEMENT_TYPE = "application/jose"
NONCE_HEADER = "Dockd-Nonce"
ANSWER_HEADER = "Dockd-Answer"

_CLIP_ID = re.compile(r"[0-9a-f]{64}")
_NONCE = re.compile(NONCE_PATTERN)
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


class Notary:
    """What this receiver signs."""

    def __init__(self, receiver_id: str, key: SigningKey, clock: Clock) -> None:
        self._key = key
        self._signer = Signer(id=receiver_id, kid=key.kid)
        self._clock = clock

    def receipt(self, manifest: Manifest, manifest_token: str) -> str:
        """Sign for a ciphertext that was read back and that its manifest brought.

        Raises:
            ClocksDifferError: by this clock, that was before the manifest was sealed.
        """
        now = self._clock.now()
        check_clocks(manifest, now)
        receipt = Receipt(
            clip_id=manifest.clip_id,
            plaintext=manifest.plaintext,
            ciphertext=manifest.ciphertext,
            recipients=manifest.recipients,
            manifest_sha256=statement_sha256(manifest_token),
            station=manifest.station,
            receiver=self._signer,
            stored_at=timestamp(now),
        )
        return sign(receipt, self._key)

    def answer(self, manifest: Manifest, manifest_token: str, held: Held, nonce: str) -> str:
        """Sign that a receipt is valid now, in answer to one question."""
        answer = Answer(
            nonce=nonce,
            clip_id=manifest.clip_id,
            manifest_sha256=statement_sha256(manifest_token),
            receipt_sha256=statement_sha256(held.receipt),
            receiver=self._signer,
            read_at=timestamp(held.read_at),
            answered_at=self._now(),
        )
        return sign(answer, self._key)

    def anchor(
        self, station: EnrolledStation, kid: str, head: JournalHead | None, nonce: str
    ) -> str:
        """Sign the newest known anchor of a station's journal, in answer to one question."""
        anchor = Anchor(
            nonce=nonce,
            station=Signer(id=station.id, kid=kid),
            journal=head,
            receiver=self._signer,
            answered_at=self._now(),
        )
        return sign(anchor, self._key)

    def _now(self) -> str:
        return timestamp(self._clock.now())


class Receipts:
    """The resources ``/receipts/{clip_id}``, its ``/proof``, and ``/receipts/anchors/{kid}``."""

    def __init__(
        self,
        desk: ReceiptDesk,
        log: StatementLog,
        access: Access,
        requests: Requests,
        notary: Notary,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._log = log
        self._access = access
        self._clock = clock
        self._requests = requests
        self._notary = notary

    async def receipt(self, request: Request) -> Response:
        """Answer a request: PUT sends a manifest and asks, GET only looks up."""
        clip_id = _clip_id(request)
        return await (self._ask if request.method == "PUT" else self._look_up)(request, clip_id)

    async def anchor(self, request: Request) -> Response:
        """Return the newest known anchor of the journal behind a station's key."""
        kid = request.path_params["kid"]
        caller = self._caller(request)
        station = self._access.of_key(kid)
        self._access.admit(caller, station.id)
        nonce = _nonce(request)
        if nonce is None:
            raise RequestError(problems.BAD_HEADER, f"{NONCE_HEADER} is missing")
        head = await self._desk.newest_anchor(kid)
        return _statement(self._notary.anchor(station, kid, head, nonce))

    async def proof(self, request: Request) -> Response:
        """Return the proof that the log has a receipt of the caller: the newest, or a named one."""
        clip_id = _clip_id(request)
        wanted = request.query_params.get("receipt")
        for receipt in await self._own(request, clip_id):
            if wanted not in {None, statement_sha256(receipt)}:
                continue
            proof = await self._log.proof(receipt)
            if proof is None:
                return Response(status_code=202, headers={"Retry-After": "1"})
            headers = {"Cache-Control": "no-store"}
            return Response(proof, media_type="text/plain", headers=headers)
        raise RequestError(problems.CLIP_NOT_STORED, f"no such receipt of {clip_id} here")

    def _caller(self, request: Request) -> Caller:
        caller = self._access.caller(request.headers.get("authorization"))
        request.state.station = caller.name
        return caller

    async def _own(self, request: Request, clip_id: str) -> list[str]:
        """Return the caller's receipts of a clip, newest first."""
        caller = self._caller(request)

        def own(station: str) -> bool:
            return self._access.may_act(caller, station)

        return [receipt for _, receipt in await self._desk.stored(clip_id, own)]

    async def _look_up(self, request: Request, clip_id: str) -> Response:
        for receipt in await self._own(request, clip_id):
            return _statement(receipt)
        raise RequestError(problems.CLIP_NOT_STORED, f"no upload of {clip_id} by this station")

    async def _ask(self, request: Request, clip_id: str) -> Response:
        caller = self._caller(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != STATEMENT_TYPE:
            raise RequestError(problems.MEDIA_TYPE, f"Content-Type must be {STATEMENT_TYPE}")
        nonce = _nonce(request)
        who = caller.name or network(request.client.host if request.client else "")
        with self._requests.one(who):
            body = await read_small(request.receive, MAX_STATEMENT, self._clock)
        token = body.decode("ascii", "replace")
        manifest = self._access.manifest(token, caller)
        request.state.station = manifest.station.id
        if manifest.clip_id != clip_id:
            raise RequestError(problems.MANIFEST_REFUSED, "it belongs to another clip")
        with self._requests.one(manifest.station.id):
            held = await self._desk.receipt(manifest, token, _wanted_wait(request))
        if isinstance(held, Wait):
            return Response(status_code=202, headers={"Retry-After": str(held.seconds)})
        response = _statement(held.receipt)
        if nonce is not None:
            answer = self._notary.answer(manifest, token, held, nonce)
            response.headers[ANSWER_HEADER] = answer
        return response


def _clip_id(request: Request) -> str:
    clip_id: str = request.path_params["clip_id"]
    if not _CLIP_ID.fullmatch(clip_id):
        raise RequestError(problems.NOT_FOUND, "a clip id has 64 hexadecimal digits")
    return clip_id


def _statement(token: str) -> Response:
    return Response(token, media_type=STATEMENT_TYPE, headers={"Cache-Control": "no-store"})


def _nonce(request: Request) -> str | None:
    nonce = request.headers.get(NONCE_HEADER)
    if nonce is not None and not _NONCE.fullmatch(nonce):
        raise RequestError(
            problems.BAD_HEADER, f"{NONCE_HEADER} must be 22 to 86 characters of base64url"
        )
    return nonce


def _wanted_wait(request: Request) -> float:
    """Return the seconds of ``Prefer: wait`` (RFC 7240, section 4.3), capped."""
    match = _WAIT.search(request.headers.get("prefer", ""))
    return min(int(match[1]), MAX_WAIT) if match else 0
