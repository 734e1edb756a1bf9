"""HTTP as targets use it: TLS, credentials, bounded answers, and what failures mean."""

import contextlib
import json
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import httpx

from dockd import __version__
from dockd.base.clock import Clock
from dockd.base.errors import (
    HISTORY_FORKED,
    ConfigError,
    KeyFileError,
    RejectedError,
    TargetDownError,
    TargetError,
    TransientError,
)
from dockd.base.threads import in_thread
from dockd.evidence.jws import MAX_STATEMENT
from dockd.evidence.keys import pem_path, read_token
from dockd.station.config import TargetConfig
from dockd.station.targets import proxies

MAX_BODY = MAX_STATEMENT
"""Bytes of an answer that are looked at; one more is kept, so that too much shows."""
MAX_RETRY_AFTER = 3600.0
"""The longest pause, in seconds, that a server can ask for."""

_DOWN = frozenset({401, 403, 404, 407, 429})
"""The server takes nothing from this station, with every 5xx: not for this clip's sake."""
_FINAL = frozenset({400, 413, 415, 422})
"""The server never will store this, however often it is asked."""
_PASSING_CODES = frozenset({"ERR_UPLOAD_INTERRUPTED", "ERR_UNEXPECTED_EOF"})
"""What tusd calls a broken connection, with status 400."""

_OWN = frozenset({*_FINAL, 414, 431, 494})
"""What a proxy says of one request, and perhaps of no other: 494 is nginx's long header."""
_TOO_LONG = frozenset({400, 414, 431, 494})
"""How proxies say that the header is too long which carries the manifest."""
_MENDS_ITSELF = frozenset({408, 409, 423, 425, 429})
"""With every 5xx but 511: it ends by itself."""

_FOR_OPERATORS = frozenset({HISTORY_FORKED})
"""What the receiver says that doesn't end by itself, whatever its status."""

_PAGE_HINT = (
    "a captive portal, a filter, a proxy or another server answers there; let the station"
    " through it, and check target.url"
)
_LOGIN_HINT = (
    "it requires a login, and the server a token: exempt target.url and target.receipts_url"
    " from the login (nginx: auth_basic off; auth_request off;)"
)
_HEADER_HINT = (
    "the clip's manifest makes a long header; in nginx:"
    " large_client_header_buffers 4 128k; see docs/configure.md"
)
_REDIRECT_HINT = "redirects are not followed; configure the final address"
_HINTS: Mapping[int, str] = {
    301: _REDIRECT_HINT,
    302: _REDIRECT_HINT,
    303: _REDIRECT_HINT,
    307: _REDIRECT_HINT,
    308: _REDIRECT_HINT,
    401: "check target.token_file: the server does not accept this token",
    403: "enrol this station at the server, and check its token and client certificate",
    404: "check target.url and target.receipts_url: the server has no such address",
    405: "a reverse proxy must let HEAD, PATCH, PUT and OPTIONS through",
    407: "the proxy requires credentials; set them in HTTPS_PROXY in the service's environment",
    408: "the connection is too slow for the server's timeout; lower target.chunk_size",
    412: "the server does not support tus 1.0.0; check target.url",
    413: "raise the limit; in nginx: client_max_body_size 0; see docs/configure.md",
    423: "the server still has an earlier connection of this upload, which will time out",
    429: "too many requests; lower target.concurrency",
    502: "the proxy is up, but the server behind it is down",
    503: "the server is busy or under maintenance",
    504: "the proxy is up, but the server behind it does not respond",
    507: "free space on the server's disk",
    511: "a captive portal requires a login: exempt the station",
}
_DEFAULT_HINT = "check the server's log"

_FAILURES: tuple[tuple[type[Exception], str, str], ...] = (
    (
        ssl.SSLCertVerificationError,
        "its certificate is not trusted",
        "check target.ca_file, and that the certificate has the name in target.url",
    ),
    (
        ssl.SSLError,
        "TLS failed",
        "check target.client_certificate, and that the server speaks TLS 1.2 or newer",
    ),
    (socket.gaierror, "its name can't be resolved", "check target.url and this machine's DNS"),
    (ConnectionRefusedError, "nothing listens there", "start the server, or check target.url"),
    (httpx.ProxyError, "the proxy refused", "check HTTPS_PROXY in the service's environment"),
    (httpx.ConnectTimeout, "unreachable", "check the network and its firewalls"),
    (
        httpx.TimeoutException,
        "no response",
        "check the server and the network, or raise target.timeout_seconds",
    ),
    (httpx.ConnectError, "unreachable", "check the network and its firewalls"),
    (httpx.RemoteProtocolError, "it closed the connection", "check the server's log"),
)
_PATIENCE = 2
"""How many times the longest silence a whole answer may take."""
_BROKEN = ("the connection broke", "check the network")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<\?xml|<head|<body)", re.IGNORECASE)
_TITLE = re.compile(rb"<title>([^<]{1,200})", re.IGNORECASE)
_STATEMENT = re.compile(rb"\s*[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*")
"""A compact JWS (RFC 7515, section 3.1)."""

Origin = tuple[str, str, int | None]


@dataclass(frozen=True)
class ErrorBody:
    """What an error's body says: a code, and words for people."""

    code: str = ""
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Reply:
    """A server's answer."""

    method: str
    status: int
    headers: httpx.Headers
    body: bytes
    """At most ``MAX_BODY`` bytes and one."""
    retry_after: float | None
    """Seconds, from either form of ``Retry-After`` (RFC 9110, section 10.2.3)."""

    @property
    def is_page(self) -> bool:
        """Whether it was written for a browser, so not by the server that is meant."""
        if self._content_type in {"text/html", "application/xhtml+xml"}:
            return True
        return self._content_type in {"", "text/plain"} and _PAGE.match(self.body) is not None

    @property
    def is_servers(self) -> bool:
        """Whether the server that is meant says it, by all that shows: none else may reject.

        Every answer of a tus server has the header, and dockd's other refusals have a code.
        """
        coded = self._content_type == "application/problem+json" and bool(self.problem.code)
        return not self.is_page and ("Tus-Resumable" in self.headers or coded)

    @property
    def is_statement(self) -> bool:
        """Whether it can be a signed statement, however little that says of what is in it."""
        return self._content_type == "application/jose" or (
            not self.is_page and _STATEMENT.fullmatch(self.body) is not None
        )

    @property
    def login(self) -> str | None:
        """How something before the server asks for a login, if that is what it does."""
        scheme = _printable(self.headers.get("WWW-Authenticate", "").partition(" ")[0])
        if self.status != 401 or self.is_servers or scheme.lower() == "bearer":
            return None
        return scheme or ("a web page" if self.is_page else None)

    @property
    def problem(self) -> ErrorBody:
        """Its body as problem details (RFC 9457), or as tusd's ``CODE: words``."""
        if self.is_page:
            return ErrorBody()
        if self._content_type.endswith("json"):
            return _parse_problem(self.body)
        line = _printable(self.body.decode("utf-8", "replace").strip().partition("\n")[0])
        code = re.match(r"(ERR_[A-Z_]+): ", line)
        return ErrorBody(code[1] if code else "", line)

    @property
    def _content_type(self) -> str:
        value: str = self.headers.get("Content-Type", "")
        return value.partition(";")[0].strip().lower()

    def described(self) -> str:
        """Return who answered what, as far as it can be told."""
        answer = f"{self.status} {httpx.codes.get_reason_phrase(self.status)}".strip()
        said = f"answered {self.method} with {answer}"
        if not self._is_strange:
            words = self.problem.detail
            return f"the server {said}" + (f": {words}" if words else "")
        program = _printable(self.headers.get("Server", "")[:40])
        said = f"something before the server{f' ({program})' if program else ''} {said}"
        if (login := self.login) is not None:
            return f"{said}: it requires a login ({login})"
        if self.is_redirect:
            return f"{said}, to {_printable(self.headers.get('Location', '')) or 'nowhere'}"
        if self.is_page:
            title = _TITLE.search(self.body)
            words = _printable(title[1].decode("utf-8", "replace")) if title else ""
            return f"{said}: a web page" + (f", {words!r}" if words else "")
        return f"{said}: {self.problem.detail or 'not the expected response'}"

    @property
    def is_redirect(self) -> bool:
        """Whether it only names another address."""
        return self.status in _REDIRECTS

    @property
    def _is_strange(self) -> bool:
        """Whether the server that is meant would not say this."""
        if self.is_servers:
            return False
        passes = self.status < 400 or self.status == 511
        return self.is_page or passes or self.login is not None

    @property
    def shows_the_server(self) -> bool:
        """Whether the server that is meant has answered, and not to say that it takes nothing."""
        if self.status in {401, 403, 407, 429} or self.status >= 500:
            return False
        return self.is_servers or (self.status == 200 and self.is_statement)

    @property
    def is_no_answer(self) -> bool:
        """Whether a request never came to the server, so that no other clip's gets there."""
        return self._is_strange and not (self.status in _OWN and self.method in {"POST", "PATCH"})


class BearerToken(httpx.Auth):
    """Shows a token to the origins it is meant for, and to nobody else.

    The file is read before every request, so that a new token counts at once.
    """

    def __init__(self, path: Path, origins: frozenset[Origin]) -> None:
        self._path = path
        self._origins = origins

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token to a request.

        Raises:
            TransientError: the file can't be read, or holds no token.
        """
        if origin(request.url) in self._origins:
            request.headers["Authorization"] = f"Bearer {await in_thread(self._read)}"
        yield request

    def _read(self) -> str:
        try:
            return read_token(self._path)
        except (KeyFileError, OSError) as error:
            hint = "restore target.token_file"
            if isinstance(error, KeyFileError):
                hint = error.hint or hint
            raise TransientError(f"the token can't be read: {error}", hint=hint) from error


def origin(url: httpx.URL) -> Origin:
    """Return what tells one server from another: scheme, host and port."""
    return url.scheme, url.host, url.port


def open_client(
    config: TargetConfig, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Open the client of a target.

    Certificates are read here: new ones count from the next reload of the configuration.
    With ``ca_file`` that CA alone is trusted, without it the system's are.

    Proxies are taken from the environment, see ``dockd.station.targets.proxies``, as operators
    expect of a service; TLS goes through them to the server itself. A server on loopback is always
    asked directly.

    Args:
        config: the target's part of the configuration.
        transport: a test's replacement for the network.

    Raises:
        KeyFileError: a certificate or its key can't be used.
        ConfigError: a variable of the environment names a proxy, or certificates, that can't be.
    """
    urls = [httpx.URL(url) for url in (config.url, config.receipts_url) if url is not None]
    auth = None
    if config.token_file is not None:
        auth = BearerToken(config.token_file, frozenset(origin(url) for url in urls))
    if any(url.scheme == "https" for url in urls):
        tls = _open_tls(config)
    else:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and needs no CA bundle
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=config.concurrency)
    mounts = {}
    for url in urls if transport is None else ():
        if (proxy := proxies.proxy_for(url, os.environ)) is not None:
            mounts[_pattern(url)] = proxies.transport(proxy, tls, limits)
    return httpx.AsyncClient(
        auth=auth,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # keeps none
        headers={"User-Agent": f"dockd/{__version__}", "Accept-Encoding": "identity"},
        verify=tls,
        timeout=httpx.Timeout(config.timeout_seconds, pool=None),
        limits=limits,
        follow_redirects=False,
        trust_env=False,
        mounts=mounts,
        transport=transport,
    )


def _pattern(url: httpx.URL) -> str:
    """Return how httpx names all addresses of one server."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}" + (f":{url.port}" if url.port else "")


async def ask(client: httpx.AsyncClient, request: httpx.Request, clock: Clock) -> Reply:
    """Send a request and return the answer, whatever its status.

    Sending may take as long as the link needs; the whole answer, once it is waited for, twice
    the client's timeout, which is for each silence alone.

    Raises:
        TransientError: there was no answer.
    """
    seconds = client.timeout.read

    async def trace(step: str, _: object) -> None:
        if step == "socks.setup_socks5_connection.started" and seconds is not None:
            deadline.restart(_PATIENCE * seconds)
        elif step == "http11.send_request_headers.started":
            deadline.restart(None)  # what was received before is a proxy's answer to CONNECT
        elif step == "http11.receive_response_headers.started" and seconds is not None:
            deadline.restart(_PATIENCE * seconds)

    request.extensions["trace"] = trace
    try:
        async with clock.timeout(None) as deadline:
            response = await client.send(request, stream=True)
            try:
                body = await _read_limited(response)
            finally:
                await response.aclose()
    except TimeoutError as error:
        raise TargetDownError(
            f"{request.url.host}: its response takes too long",
            hint="check the server and the network, or raise target.timeout_seconds",
        ) from error
    # httpcore lets ssl.SSLError through when a server refuses the client's certificate.
    except (httpx.TransportError, ssl.SSLError) as error:
        failure = _failure(request.url.host, error)
        failure.hint = _of_its_key(failure.hint, request.method)
        raise failure from error
    return Reply(
        method=request.method,
        status=response.status_code,
        headers=response.headers,
        body=body,
        retry_after=_parse_retry_after(response.headers.get("Retry-After", ""), clock.now()),
    )


def to_error(reply: Reply) -> TargetError:
    """Return the error that an answer stands for.

    ``RejectedError`` if the server itself said that it never will store this; everything
    that an operator can mend is a ``TransientError``, and so is whatever something else
    answers in the server's place: a proxy, a filter, a captive portal.
    """
    detail, hint = reply.described(), _hint(reply)
    passing = reply.method == "HEAD" or reply.problem.code in _PASSING_CODES
    if reply.status in _FINAL and reply.is_servers and not passing:
        return RejectedError(detail, hint=hint)
    mends_itself = reply.status in _MENDS_ITSELF or (reply.status >= 500 and reply.status != 511)
    mends_itself = mends_itself and reply.problem.code not in _FOR_OPERATORS
    down = reply.is_no_answer or reply.status in _DOWN or reply.status >= 500
    error = (TargetDownError if down else TransientError)(
        detail, hint=hint, retry_after=reply.retry_after, needs_operator=not mends_itself
    )
    error.code = reply.problem.code
    if isinstance(error, TargetDownError):
        error.answered = reply.is_servers
    return error


def _hint(reply: Reply) -> str:
    if reply.problem.hint:
        return reply.problem.hint
    if reply.login is not None:
        return _LOGIN_HINT
    if reply.status in _TOO_LONG and reply.method == "POST" and not reply.is_servers:
        return _HEADER_HINT
    hint = _HINTS.get(reply.status, _PAGE_HINT if reply.is_no_answer else _DEFAULT_HINT)
    return _of_its_key(hint, reply.method)


def _of_its_key(hint: str, method: str) -> str:
    """Return a hint that names the key of the address that was asked."""
    if method in {"GET", "PUT"} and "target.receipts_url" not in hint:
        return hint.replace("target.url", "target.receipts_url")
    return hint


def _open_tls(config: TargetConfig) -> ssl.SSLContext:
    _check_environment(config)
    try:
        with contextlib.ExitStack() as stack:
            ca = stack.enter_context(pem_path(config.ca_file)) if config.ca_file else None
            tls = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise KeyFileError(
            f"{config.ca_file or error.filename} is not a readable PEM certificate:"
            f" {error.strerror or error}",
            hint="target.ca_file holds the CA that signs the server's certificate",
        ) from error
    if config.client_certificate is None or config.client_key_file is None:
        return tls
    try:
        # An empty password keeps OpenSSL from asking for one on a terminal.
        with (
            pem_path(config.client_certificate) as certificate,
            pem_path(config.client_key_file, secret=True) as key,
        ):
            tls.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise KeyFileError(
            f"{config.client_certificate} and {config.client_key_file} are not a PEM "
            f"certificate and its unencrypted key: {error.strerror or error}",
            hint="check target.client_certificate and target.client_key_file",
        ) from error
    return tls


def _check_environment(config: TargetConfig) -> None:
    """Make sure that what OpenSSL takes from the environment is there: it passes it by if not.

    Raises:
        ConfigError: it isn't.
    """
    if config.ca_file is not None:
        return  # it counts alone
    hint = "name the system's certificates, or set target.ca_file instead"
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            detail = f"SSL_CERT_FILE: {file}: {error.strerror or error}"
            raise ConfigError(detail, hint=hint) from error
    folders = os.environ.get("SSL_CERT_DIR")
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        raise ConfigError(f"SSL_CERT_DIR: {folders}: there is no such folder", hint=hint)


async def _read_limited(response: httpx.Response) -> bytes:
    # Raw: a body that came compressed, against all asking, could grow past any limit.
    assert isinstance(response.stream, httpx.AsyncByteStream)
    body = bytearray()
    async for part in response.stream:
        body += part
        if len(body) > MAX_BODY:
            break
    return bytes(body[: MAX_BODY + 1])


def _failure(host: str, error: Exception) -> TransientError:
    what, hint = _BROKEN
    for kind, meaning, advice in _FAILURES:
        cause = next((cause for cause in _causes(error) if isinstance(cause, kind)), None)
        if cause is not None:
            what, hint = meaning, advice
            break
    words = _printable(str(error))
    return TargetDownError(f"{host}: {what}" + (f" ({words})" if words else ""), hint=hint)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        if not isinstance(error, ssl.SSLWantReadError):  # how TLS says that it waits for data
            yield error
        if isinstance(error, BaseExceptionGroup):  # one error for each address of a name
            error = error.exceptions[0]
            continue
        # httpcore raises some of its errors "from None", so causes alone don't lead far.
        error = error.__cause__ or error.__context__


def _parse_retry_after(value: str, now: datetime) -> float | None:
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max((date - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _parse_problem(body: bytes) -> ErrorBody:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return ErrorBody()
    if not isinstance(members, dict):
        return ErrorBody()
    return ErrorBody(
        code=_text(members.get("code")),
        detail=_text(members.get("detail")) or _text(members.get("title")),
        hint=_text(members.get("hint")),
    )


def _text(value: object) -> str:
    return _printable(value) if isinstance(value, str) else ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:300]).strip()
