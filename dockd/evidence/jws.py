"""Compact JWS, parsed so strictly that any two readers agree.

JSON Web Signatures in compact form (RFC 7515) with ``EdDSA`` over Ed25519 (RFC 8037). What
the specifications leave to a reader is refused here: duplicate members, numbers that are
invalid in JSON or not exact in every reader, and base64url that is not canonical (RFC 7515,
section 2: without padding).
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from jwt.api_jws import PyJWS

from dockd.base.errors import StatementError
from dockd.evidence.keys import SigningKey, VerifyKey

MAX_STATEMENT = 64 * 1024
"""Maximum characters of a statement."""
_MAX_NUMBER = 2**53
"""Larger integers are not exact in every reader (RFC 8259, section 6)."""


@dataclass(frozen=True)
class Statement:
    """A parsed compact JWS; its signature is not verified."""

    header: Mapping[str, Any]
    payload: bytes
    signed: bytes
    """What the signature covers."""
    signature: bytes

    @property
    def kid(self) -> str:
        """The name of the key that allegedly signed it."""
        return str(self.header.get("kid", ""))


def sign(payload: str, typ: str, key: SigningKey) -> str:
    """Sign a payload and return the compact form."""
    headers = {"kid": key.kid, "typ": typ}
    return PyJWS().encode(payload.encode(), key.private, algorithm="EdDSA", headers=headers)


def read(token: str, refused: type[StatementError]) -> Statement:
    """Parse a compact JWS.

    Raises:
        StatementError: it isn't one, of the given class.
    """
    if len(token) > MAX_STATEMENT:
        raise refused(f"it is longer than {MAX_STATEMENT} characters", reason="too-large")
    try:
        head, payload, signature = token.split(".")
        return Statement(
            header=_text_only(load_json(_decode(head))),
            payload=_decode(payload),
            signed=f"{head}.{payload}".encode("ascii"),
            signature=_decode(signature),
        )
    except ValueError as error:
        raise refused("it is not a signed statement", reason="malformed") from error


def verify(token: str, keys: Mapping[str, VerifyKey], refused: type[StatementError]) -> Statement:
    """Parse a compact JWS and verify its signature by one of ``keys``, by kid.

    Raises:
        StatementError: it is invalid, of the given class; ``reason`` says why.
    """
    statement = read(token, refused)
    if statement.header.get("alg") != "EdDSA":
        raise refused("it is not signed with EdDSA", reason="algorithm")
    if "crit" in statement.header or "b64" in statement.header:
        raise refused("it requires an unknown extension", reason="extension")
    key = keys.get(statement.kid)
    if key is None:
        raise refused("it is signed by an unknown key", reason="unknown-key")
    try:
        key.public.verify(statement.signature, statement.signed)
    except InvalidSignature as error:
        raise refused("its signature does not match its content", reason="signature") from error
    return statement


def load_json(data: bytes) -> dict[str, Any]:
    """Read a JSON object that all readers interpret alike (I-JSON, RFC 7493).

    Raises:
        ValueError: it isn't one.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_int=_integer,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  # what callers expect
    return value


def _text_only(header: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(header.get("kid", ""), str):
        raise ValueError("the kid is not a string")  # noqa: TRY004  # what callers expect
    return header


def _decode(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise ValueError("not canonical base64url")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    for name, value in pairs:
        _check_text(name)
        _check_text(value)
    return members


def _check_text(value: object) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # half of a surrogate pair is invalid
    elif isinstance(value, list):  # whose objects were checked before
        for item in value:
            _check_text(item)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > _MAX_NUMBER:
        raise ValueError("a number is too large")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
