"""A server's response: its parts, and whether the intended server sent it."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from dockd.evidence.jws import MAX_STATEMENT

MAX_BODY = MAX_STATEMENT
"""Maximum bytes of a response body; one more is kept, so that an excess is detected."""
MAX_RETRY_AFTER = 3600.0
"""The longest delay, in seconds, that a server can request."""

FINAL = frozenset({400, 413, 415, 422})
"""Permanently rejected by the server."""
_OWN = frozenset({*FINAL, 414, 431, 494})
"""Statuses of a proxy that concern this request alone: 494 is nginx's "header too large"."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<\?xml|<head|<body)", re.IGNORECASE)
_TITLE = re.compile(rb"<title>([^<]{1,200})", re.IGNORECASE)
_STATEMENT = re.compile(rb"\s*[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*")
"""A compact JWS (RFC 7515, section 3.1)."""


@dataclass(frozen=True)
class ErrorBody:
    """An error body: a code, and human-readable text."""

    code: str = ""
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Reply:
    """A server's response."""

    method: str
    status: int
    headers: httpx.Headers
    body: bytes
    """At most ``MAX_BODY`` + 1 bytes."""
    retry_after: float | None
    """Seconds, from either form of ``Retry-After`` (RFC 9110, section 10.2.3)."""

    @property
    def is_page(self) -> bool:
        """Whether it is a web page, so not from the intended server."""
        if self._content_type in {"text/html", "application/xhtml+xml"}:
            return True
        return self._content_type in {"", "text/plain"} and _PAGE.match(self.body) is not None

    @property
    def is_from_server(self) -> bool:
        """Whether the intended server sent it, as far as detectable: only that may reject a clip.

        Every response of a tus server has the header, and dockd's other errors have a code.
        """
        coded = self._content_type == "application/problem+json" and bool(self.problem.code)
        return not self.is_page and ("Tus-Resumable" in self.headers or coded)

    @property
    def is_statement(self) -> bool:
        """Whether it may be a signed statement; its content is not checked."""
        return self._content_type == "application/jose" or (
            not self.is_page and _STATEMENT.fullmatch(self.body) is not None
        )

    @property
    def login(self) -> str | None:
        """The authentication that an intermediary before the server requires, if any."""
        scheme = printable(self.headers.get("WWW-Authenticate", "").partition(" ")[0])
        if self.status != 401 or self.is_from_server or scheme.lower() == "bearer":
            return None
        return scheme or ("a web page" if self.is_page else None)

    @property
    def problem(self) -> ErrorBody:
        """Its body as problem details (RFC 9457), or as tusd's ``CODE: text``."""
        if self.is_page:
            return ErrorBody()
        if self._content_type.endswith("json"):
            return _parse_problem(self.body)
        line = printable(self.body.decode("utf-8", "replace").strip().partition("\n")[0])
        code = re.match(r"(ERR_[A-Z_]+): ", line)
        return ErrorBody(code[1] if code else "", line)

    @property
    def _content_type(self) -> str:
        value: str = self.headers.get("Content-Type", "")
        return value.partition(";")[0].strip().lower()

    def describe(self) -> str:
        """Return who answered what, as far as known."""
        answer = f"{self.status} {httpx.codes.get_reason_phrase(self.status)}".strip()
        text = f"answered {self.method} with {answer}"
        if not self._is_strange:
            detail = self.problem.detail
            return f"the server {text}" + (f": {detail}" if detail else "")
        program = printable(self.headers.get("Server", "")[:40])
        text = f"an intermediary before the server{f' ({program})' if program else ''} {text}"
        if (login := self.login) is not None:
            return f"{text}: it requires a login ({login})"
        if self.is_redirect:
            return f"{text}, to {printable(self.headers.get('Location', '')) or 'no address'}"
        if self.is_page:
            title = _TITLE.search(self.body)
            detail = printable(title[1].decode("utf-8", "replace")) if title else ""
            return f"{text}: a web page" + (f", {detail!r}" if detail else "")
        return f"{text}: {self.problem.detail or 'not the expected response'}"

    @property
    def is_redirect(self) -> bool:
        """Whether it is a redirect."""
        return self.status in _REDIRECTS

    @property
    def _is_strange(self) -> bool:
        """Whether the intended server would not send this."""
        if self.is_from_server:
            return False
        passes = self.status < 400 or self.status == 511
        return self.is_page or passes or self.login is not None

    @property
    def shows_reachability(self) -> bool:
        """Whether the intended server has responded, and does not refuse all requests."""
        if self.status in {401, 403, 407, 429} or self.status >= 500:
            return False
        return self.is_from_server or (self.status == 200 and self.is_statement)

    @property
    def did_not_reach_server(self) -> bool:
        """Whether the request did not reach the server, so that no other clip's will."""
        return self._is_strange and not (self.status in _OWN and self.method in {"POST", "PATCH"})


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds of a ``Retry-After``, at most ``MAX_RETRY_AFTER``; None if invalid."""
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
    return printable(value) if isinstance(value, str) else ""


def printable(text: str) -> str:
    """Return the first 300 characters, unprintable ones replaced by spaces."""
    return "".join(char if char.isprintable() else " " for char in text[:300]).strip()
