"""A server's answer: what it says, and who says it."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from dockd.evidence.jws import MAX_STATEMENT

MAX_BODY = MAX_STATEMENT
"""Bytes of an answer that are looked at; one more is kept, so that too much shows."""
MAX_RETRY_AFTER = 3600.0
"""The longest pause, in seconds, that a server can ask for."""

FINAL = frozenset({400, 413, 415, 422})
"""The server never will store this, however often it is asked."""
_OWN = frozenset({*FINAL, 414, 431, 494})
"""What a proxy says of one request, and perhaps of no other: 494 is nginx's long header."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<\?xml|<head|<body)", re.IGNORECASE)
_TITLE = re.compile(rb"<title>([^<]{1,200})", re.IGNORECASE)
_STATEMENT = re.compile(rb"\s*[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*")
"""A compact JWS (RFC 7515, section 3.1)."""


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
        scheme = printable(self.headers.get("WWW-Authenticate", "").partition(" ")[0])
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
        line = printable(self.body.decode("utf-8", "replace").strip().partition("\n")[0])
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
        program = printable(self.headers.get("Server", "")[:40])
        said = f"something before the server{f' ({program})' if program else ''} {said}"
        if (login := self.login) is not None:
            return f"{said}: it requires a login ({login})"
        if self.is_redirect:
            return f"{said}, to {printable(self.headers.get('Location', '')) or 'nowhere'}"
        if self.is_page:
            title = _TITLE.search(self.body)
            words = printable(title[1].decode("utf-8", "replace")) if title else ""
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
