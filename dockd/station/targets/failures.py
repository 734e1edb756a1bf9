"""Maps HTTP responses and connection failures to errors with hints."""

import socket
import ssl
from collections.abc import Iterator, Mapping

import httpx

from dockd.base.errors import (
    HISTORY_FORKED,
    RejectedError,
    TargetDownError,
    TargetError,
    TransientError,
)
from dockd.station.targets.reply import FINAL, Reply, printable

_DOWN = frozenset({401, 403, 404, 407, 429})
"""Like every 5xx: the server accepts nothing from this station; the clip is not the cause."""
_PASSING_CODES = frozenset({"ERR_UPLOAD_INTERRUPTED", "ERR_UNEXPECTED_EOF"})
"""tusd's codes for an interrupted connection, with status 400."""

_TOO_LONG = frozenset({400, 414, 431, 494})
"""Statuses of proxies for a header that is too long: it carries the manifest."""
_TRANSIENT = frozenset({408, 409, 423, 425, 429})
"""Like every 5xx but 511: resolved without operator action."""

_NEEDS_OPERATOR = frozenset({HISTORY_FORKED})
"""Codes of the receiver that need operator action, whatever the status."""

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
_BROKEN = ("the connection broke", "check the network")


def to_error(reply: Reply) -> TargetError:
    """Return the error for a response.

    ``RejectedError`` if the server itself permanently rejects the request. Everything that an
    operator can fix is a ``TransientError``, and so is every response from anything else in
    the server's place: a proxy, a filter, a captive portal.
    """
    detail, hint = reply.describe(), _hint(reply)
    passing = reply.method == "HEAD" or reply.problem.code in _PASSING_CODES
    if reply.status in FINAL and reply.is_from_server and not passing:
        return RejectedError(detail, hint=hint)
    is_transient = reply.status in _TRANSIENT or (reply.status >= 500 and reply.status != 511)
    is_transient = is_transient and reply.problem.code not in _NEEDS_OPERATOR
    down = reply.did_not_reach_server or reply.status in _DOWN or reply.status >= 500
    error = (TargetDownError if down else TransientError)(
        detail, hint=hint, retry_after=reply.retry_after, needs_operator=not is_transient
    )
    error.code = reply.problem.code
    if isinstance(error, TargetDownError):
        error.answered = reply.is_from_server
    return error


def _hint(reply: Reply) -> str:
    if reply.problem.hint:
        return reply.problem.hint
    if reply.login is not None:
        return _LOGIN_HINT
    if reply.status in _TOO_LONG and reply.method == "POST" and not reply.is_from_server:
        return _HEADER_HINT
    hint = _HINTS.get(reply.status, _PAGE_HINT if reply.did_not_reach_server else _DEFAULT_HINT)
    return _of_its_key(hint, reply.method)


def _of_its_key(hint: str, method: str) -> str:
    """Return a hint with the configuration key of the requested address."""
    if method in {"GET", "PUT"} and "target.receipts_url" not in hint:
        return hint.replace("target.url", "target.receipts_url")
    return hint


def to_failure(request: httpx.Request, error: Exception) -> TargetDownError:
    """Return the error for a request without an answer."""
    what, hint = _BROKEN
    for kind, meaning, advice in _FAILURES:
        cause = next((cause for cause in _causes(error) if isinstance(cause, kind)), None)
        if cause is not None:
            what, hint = meaning, advice
            break
    words = printable(str(error))
    return TargetDownError(
        f"{request.url.host}: {what}" + (f" ({words})" if words else ""),
        hint=_of_its_key(hint, request.method),
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        if not isinstance(error, ssl.SSLWantReadError):  # TLS waits for data
            yield error
        if isinstance(error, BaseExceptionGroup):  # one error for each address of a name
            error = error.exceptions[0]
            continue
        # httpcore raises some of its errors "from None", so causes alone are not enough.
        error = error.__cause__ or error.__context__
