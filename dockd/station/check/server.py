"""The server: reachable, trusted, supports tus, accepts the token, signs with a pinned key.

What is sent to it changes nothing there: OPTIONS, a HEAD of an upload that does not exist,
and the question for a receipt that it has given before.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from cryptography import x509

from dockd.base.clock import Clock
from dockd.base.errors import KeyFileError, LedgerError, StatementError, TargetError, TransientError
from dockd.base.findings import Finding, Findings, error, failure, ok, warning
from dockd.base.randomness import Randomness
from dockd.base.threads import in_thread
from dockd.evidence.keys import SigningKey, VerifyKey
from dockd.evidence.statements import JournalHead, verify_anchor, verify_answer, verify_receipt
from dockd.station.check.credentials import located
from dockd.station.check.subject import Subject
from dockd.station.config import TargetConfig
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Clip
from dockd.station.targets import fresh_nonce
from dockd.station.targets.failures import to_error
from dockd.station.targets.http import ask, open_client
from dockd.station.targets.reply import Reply
from dockd.station.targets.tus import RECEIPT_WAIT_SECONDS, TUS_VERSION, Abilities

_EXPIRES_SOON = timedelta(days=30)
_SKEW = timedelta(seconds=10)
"""More than latency and the whole seconds of the Date header explain."""
_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL's x509_vfy.h."""
_NO_UPLOAD = "dockd-check"
_NO_CLIP = "0" * 64


def check(subject: Subject) -> Findings:
    """Check the server as far as possible without an upload."""
    target, clock = _with_located_secrets(subject), subject.machine.clock
    if target.client_certificate is not None:
        yield _client_certificate(target.client_certificate, clock.now())
    if target.receipts_url is None:
        yield warning(
            "the server issues no receipts, so nothing is ever wiped",
            "set target.receipts_url, unless this is intended",
        )
    try:
        yield from asyncio.run(_ask_server(target, clock, _own(subject)))
    except KeyFileError as problem:
        yield failure(problem)


def _with_located_secrets(subject: Subject) -> TargetConfig:
    target, root = subject.config.target, subject.machine.root
    secrets = {
        name: located(path, root)
        for name in ("token_file", "client_key_file")
        if (path := getattr(target, name)) is not None
    }
    return target.model_copy(update=secrets)


def _client_certificate(path: Path, now: datetime) -> Finding:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as problem:
        return error(f"{path} can't be read: {problem}", "check target.client_certificate")
    return _expiry(f"the station's certificate {path}", certificate.not_valid_after_utc, now)


@dataclass(frozen=True)
class _Own:
    """What this station knows, to compare the server's responses with."""

    ledger: Path
    clock: Clock
    clip: Clip | None
    """A clip for which the server has issued a receipt."""
    kid: str | None
    """The key with which this station signs."""

    def holds(self, head: JournalHead) -> bool:
        """Say whether the journal has an entry; blocks.

        Raises:
            LedgerError: it can't be read.
        """
        with closing(Ledger(self.ledger, self.clock, read_only=True)) as ledger:
            return ledger.journal.holds(head)


def _own(subject: Subject) -> _Own:
    """Read what is readable; other checks report the rest."""
    path, clock = subject.config.ledger_path, subject.machine.clock
    clip = kid = None
    with suppress(KeyFileError):
        kid = SigningKey.load(located(subject.config.station.key_file, subject.machine.root)).kid
    try:
        with closing(Ledger(path, clock, read_only=True)) as ledger:
            clip = ledger.queries.newest_receipt()
    except LedgerError:
        pass
    return _Own(path, clock, clip, kid)


async def _ask_server(target: TargetConfig, clock: Clock, own: _Own) -> list[Finding]:
    async with open_client(target) as client:
        try:
            return [finding async for finding in _Server(target, client, clock).look_over(own)]
        except TransientError as problem:
            return [_unreachable(problem)]


class _Server:
    """Requests to one server."""

    def __init__(self, target: TargetConfig, client: httpx.AsyncClient, clock: Clock) -> None:
        self._target = target
        self._client = client
        self._clock = clock
        self._tls: ssl.SSLObject | None = None
        client.event_hooks = {"response": [self._note_tls]}

    async def _note_tls(self, response: httpx.Response) -> None:
        self._tls = response.extensions["network_stream"].get_extra_info("ssl_object")

    async def _ask(
        self, method: str, url: str, headers: dict[str, str], content: str = ""
    ) -> Reply:
        request = self._client.build_request(method, url, headers=headers, content=content.encode())
        return await ask(self._client, request, self._clock)

    async def look_over(self, own: _Own) -> AsyncIterator[Finding]:
        """Yield the findings about the server.

        Raises:
            TransientError: there was no answer.
        """
        url, receipts_url = self._target.url, self._target.receipts_url
        options = await self._ask("OPTIONS", url, {})
        yield _speaks(url, options)
        now = self._clock.now()
        if self._tls is not None:
            yield ok(
                f"{self._tls.version()}: the certificate matches the server's name and is trusted"
            )
            peer = self._tls.getpeercert() or {}
            ends = ssl.cert_time_to_seconds(str(peer["notAfter"]))
            yield _expiry("the server's certificate", datetime.fromtimestamp(ends, UTC), now)
        yield _skew(options, now)
        tus = {"Tus-Resumable": TUS_VERSION}
        head = await self._ask("HEAD", url + _NO_UPLOAD, tus)
        yield _let_in("uploads", head, known=head.status in {404, 410})
        if receipts_url is None:
            return
        answer = await self._ask("GET", receipts_url + _NO_CLIP, {})
        known = answer.problem.code == "clip-not-stored"
        yield _let_in("receipts", answer, known=known)
        if known:
            yield await self._receipt(receipts_url, own.clip)
            if own.kid is not None and own.ledger.exists():
                yield await self._anchor(receipts_url, own, own.kid)

    async def _anchor(self, url: str, own: _Own, kid: str) -> Finding:
        """Compare the journal with the server's newest anchor."""
        nonce = fresh_nonce(Randomness())
        reply = await self._ask("GET", f"{url}anchors/{kid}", {"Dockd-Nonce": nonce})
        if reply.status != 200:
            return failure(to_error(reply))
        keys = [VerifyKey.load(path) for path in self._target.receiver_keys]
        try:
            token = reply.body.decode("ascii", "replace")
            head = verify_anchor(token, keys, nonce=nonce, kid=kid).journal
            if head is None:
                return ok("the server has no manifest signed by this station's key")
            if await in_thread(own.holds, head):
                return ok(f"the journal has entry {head.seq}, the newest known to the server")
        except (StatementError, LedgerError) as problem:
            return failure(problem)
        return error(
            f"the server knows an entry {head.seq} that is not in the journal: the ledger was"
            " rolled back, or another station uses this key",
            "see journal.forked in docs/operate.md; wipes are suspended",
        )

    async def _receipt(self, url: str, clip: Clip | None) -> Finding:
        if clip is None or clip.manifest is None:
            return ok(
                "no clip has a receipt yet: the first will show that the server signs with a pinned"
                " key and has enrolled this station"
            )
        nonce = fresh_nonce(Randomness())
        headers = {
            "Content-Type": "application/jose",
            "Prefer": f"wait={RECEIPT_WAIT_SECONDS}",
            "Dockd-Nonce": nonce,
        }
        reply = await self._ask("PUT", f"{url}{clip.clip_id}", headers, clip.manifest)
        if reply.status == 202:
            return ok(f"the server has clip {clip.id}, and is reading it back")
        if reply.problem.code == "clip-not-stored":
            return error(
                f"the server no longer has clip {clip.id}, for which it issued a receipt",
                "investigate its store before any camera is wiped",
            )
        if reply.status != 200:
            return failure(to_error(reply))
        keys = [VerifyKey.load(path, "receiver") for path in self._target.receiver_keys]
        try:
            token = reply.body.decode("ascii", "replace")
            receipt = verify_receipt(token, keys, clip.manifest)
            answer = reply.headers.get("Dockd-Answer", "")
            verify_answer(answer, keys, nonce=nonce, receipt_token=token)
        except StatementError as problem:
            return failure(problem, "check target.receiver_keys, and which server responds there")
        return ok(
            f"the receipt of clip {clip.id}, requested again, is signed by the pinned key"
            f" {receipt.receiver.kid}; the next receipt may be signed by another"
        )


def _speaks(url: str, reply: Reply) -> Finding:
    try:
        Abilities.of(reply)
    except TransientError as problem:
        return failure(problem)
    if "Tus-Version" in reply.headers:
        return ok(f"{url} responds, and supports tus {TUS_VERSION}")
    if reply.is_redirect or reply.status >= 400:
        return failure(to_error(reply))
    return warning(
        f"{url} responds, but does not announce tus",
        "check target.url, and that a reverse proxy lets OPTIONS through",
    )


def _let_in(what: str, reply: Reply, *, known: bool) -> Finding:
    if known:
        return ok(f"the server accepts this station for {what}")
    return failure(to_error(reply))


def _skew(reply: Reply, now: datetime) -> Finding:
    try:
        there = parsedate_to_datetime(reply.headers.get("Date", ""))
    except ValueError:
        return ok("the server does not send its time")
    skew = now - there.astimezone(UTC)
    if abs(skew) > _SKEW:
        apart = (
            f"{abs(skew.total_seconds()):.0f} s {'ahead of' if skew > timedelta() else 'behind'}"
        )
        return warning(
            f"this station's clock is {apart} the server's",
            "check which is wrong: run timedatectl on both",
        )
    return ok("the clocks of station and server agree")


def _expiry(what: str, ends: datetime, now: datetime) -> Finding:
    days = (ends - now).days
    renew = "renew it, then restart the service that uses it: see docs/operate.md, Rotation"
    if ends <= now:
        return error(f"{what} expired on {ends:%Y-%m-%d}", renew)
    if ends - now < _EXPIRES_SOON:
        return warning(f"{what} expires in {days} days, on {ends:%Y-%m-%d}", renew)
    return ok(f"{what} is valid until {ends:%Y-%m-%d}, {days} days")


def _unreachable(problem: TargetError) -> Finding:
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code == _EXPIRED:
            return error(problem.message, "renew the server's certificate, or its CA's")
        cause = cause.__cause__ or cause.__context__
    return failure(problem)
