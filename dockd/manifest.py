"""The two signed statements: a station's manifest and a receiver's receipt.

Both are JSON Web Signatures in compact form (RFC 7515) with ``EdDSA`` over Ed25519
(RFC 8037): a JSON payload whose ``typ`` and ``v`` say what it is, the first in the header as
well. Members that a reader doesn't know are ignored. docs/formats.md describes every member.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import jwt
from jwt.api_jws import PyJWS
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dockd.errors import ManifestRefusedError, ReceiptRefusedError, StatementError
from dockd.keys import SigningKey, VerifyKey

MAX_STATEMENT = 64 * 1024
"""Characters of the longest statement that is looked at."""

Digest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\A\P{Cc}+\z")]
Moment = Annotated[str, Field(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\z")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Content(_Part):
    """Some bytes: their SHA-256 and their length."""

    sha256: Digest
    size: Annotated[int, Field(ge=0)]


class Signer(_Part):
    """Who signed: a name, and the thumbprint of the key."""

    id: Name
    kid: Name


class CameraIdentity(_Part):
    """A camera, by its profile and serial."""

    profile: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\A[^:\p{Cc}]+\z")]
    serial: Name

    @property
    def id(self) -> str:
        """The camera's name in ledgers, logs and clip ids."""
        return f"{self.profile}:{self.serial}"


class FileFacts(_Part):
    """The file on the camera as it was when it was read."""

    path: str
    """Relative to the camera's root; bytes that aren't UTF-8 as ``\\xNN``. A very long one is
    cut: its beginning, an ellipsis and its end."""
    path_sha256: Digest | None = None
    """Of the whole path's bytes, where ``path`` is cut."""
    kind: Literal["video", "sidecar"]
    modified_at: Moment
    metadata: dict[str, str] = {}
    event: bool = False


class JournalHead(_Part):
    """Where the station's journal stood: the anchor of its hash chain."""

    seq: Annotated[int, Field(ge=0)]
    hash: Digest


class ClockFacts(_Part):
    """How far the times in a manifest can be relied on."""

    synchronised: bool | None = None
    """Whether a time server kept the station's clock right; None where that can't be told."""
    camera_ahead_seconds: Annotated[float, Field(ge=0)] = 0.0
    """By how much the camera's newest file time lay in the station's future."""


class LeftAlone(_Part):
    """The files on the camera that no rule of its profile selects or ignores."""

    files: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0)]


class Manifest(_Part):
    """What a station says about one clip."""

    typ: Literal["dockd.manifest"] = "dockd.manifest"
    v: Literal[1] = 1
    clip_id: Digest
    station: Signer
    camera: CameraIdentity
    docking: Name
    place: str = ""
    """Where the camera was docked: a bay, a USB port, a folder."""
    device: dict[str, str] = {}
    """What the station knew of the device, such as its USB ids and its file systems."""
    file: FileFacts
    plaintext: Content
    ciphertext: Content
    recipients: Annotated[list[Digest], Field(min_length=1)]
    """SHA-256 of each recipient's canonical ``age1…`` string."""
    sealed_at: Moment
    clock: ClockFacts = ClockFacts()
    """The clocks, when it was sealed."""
    left_alone: LeftAlone | None = None
    """What nobody has read, when the clip was found; None where that isn't told."""
    journal: JournalHead


class Receipt(_Part):
    """A receiver's word that it has re-read, and durably holds, a clip's ciphertext."""

    typ: Literal["dockd.receipt"] = "dockd.receipt"
    v: Literal[1] = 1
    clip_id: Digest
    plaintext: Content
    ciphertext: Content
    recipients: Annotated[list[Digest], Field(min_length=1)]
    manifest_sha256: Digest
    """SHA-256 of the compact manifest that brought the ciphertext."""
    station: Signer
    """The station that brought it."""
    receiver: Signer
    stored_at: Moment


_StatementT = TypeVar("_StatementT", Manifest, Receipt)


def derive_clip_id(camera_id: str, plaintext_sha256: str) -> str:
    r"""Return the name that one content has on one camera, wherever it is docked.

    The same as ``printf 'dockd clip v1\n%s\n%s\n' CAMERA SHA256 | sha256sum``.
    """
    text = f"dockd clip v1\n{camera_id}\n{plaintext_sha256}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def sign(statement: Manifest | Receipt, key: SigningKey) -> str:
    """Sign a statement; returns a compact JWS."""
    payload = json.dumps(statement.model_dump(), ensure_ascii=False, separators=(",", ":"))
    headers = {"kid": key.kid, "typ": statement.typ}
    return PyJWS().encode(payload.encode(), key.private, algorithm="EdDSA", headers=headers)


def statement_sha256(token: str) -> str:
    """Return the digest by which one compact statement names another."""
    return hashlib.sha256(token.encode()).hexdigest()


def verify_manifest(token: str, keys: Mapping[str, VerifyKey]) -> Manifest:
    """Check a manifest's form, its signature by one of ``keys`` (by kid) and its clip id.

    Raises:
        ManifestRefusedError: it can't be relied on; ``reason`` says why.
    """
    manifest = _verify(token, keys, Manifest, ManifestRefusedError)
    if manifest.station.kid != _kid(token):
        raise ManifestRefusedError("it names a key that did not sign it", reason="signer")
    if manifest.clip_id != derive_clip_id(manifest.camera.id, manifest.plaintext.sha256):
        raise ManifestRefusedError("its clip id is not that of its content", reason="clip-id")
    return manifest


def verify_receipt(token: str, keys: Iterable[VerifyKey], manifest_token: str) -> Receipt:
    """Check that a receipt releases the clip of a manifest that this station signed.

    It does if one of the pinned keys signed it, and it is for the very ciphertext of the
    manifest, or for another upload of the same clip that is sealed to at least the
    manifest's recipients.

    Args:
        token: the receipt, as the receiver sent it.
        keys: the pinned receiver keys.
        manifest_token: the station's own manifest of the clip.

    Raises:
        ReceiptRefusedError: it releases nothing; ``reason`` says why.
    """
    receipt = _verify(token, {key.kid: key for key in keys}, Receipt, ReceiptRefusedError)
    if receipt.receiver.kid != _kid(token):
        raise ReceiptRefusedError("it names a key that did not sign it", reason="signer")
    manifest = read_unverified_manifest(manifest_token)
    if receipt.clip_id != manifest.clip_id:
        raise ReceiptRefusedError("it is for another clip", reason="other-clip")
    if receipt.plaintext != manifest.plaintext:
        raise ReceiptRefusedError("it is for another plaintext", reason="plaintext")
    if receipt.manifest_sha256 == statement_sha256(manifest_token):
        _check_own_upload(receipt, manifest)
    else:
        _check_other_upload(receipt, manifest)
    return receipt


def read_unverified_manifest(token: str) -> Manifest:
    """Read a manifest without its signature: for one's own, out of one's own ledger.

    Raises:
        ManifestRefusedError: it is not a manifest.
    """
    try:
        payload = PyJWS().decode_complete(token, options={"verify_signature": False})["payload"]
    except jwt.InvalidTokenError as error:
        raise ManifestRefusedError("it is not a manifest") from error
    return _parse(payload, Manifest, ManifestRefusedError)


def _check_own_upload(receipt: Receipt, manifest: Manifest) -> None:
    if receipt.ciphertext.size != manifest.ciphertext.size:
        raise ReceiptRefusedError("it is for another length", reason="length")
    if receipt.ciphertext.sha256 != manifest.ciphertext.sha256:
        raise ReceiptRefusedError("it is for another digest", reason="digest")
    if receipt.station != manifest.station:
        raise ReceiptRefusedError("it names another station for this manifest", reason="station")
    if set(receipt.recipients) != set(manifest.recipients):
        raise ReceiptRefusedError("it names other recipients", reason="recipients")


def _check_other_upload(receipt: Receipt, manifest: Manifest) -> None:
    if receipt.ciphertext.sha256 == manifest.ciphertext.sha256:
        raise ReceiptRefusedError(
            "it names another manifest for this station's ciphertext", reason="other-manifest"
        )
    if not set(receipt.recipients) >= set(manifest.recipients):
        raise ReceiptRefusedError(
            "it is for another upload of this clip, which not all of this station's "
            "recipients can open",
            reason="recipients",
        )


def _verify(
    token: str,
    keys: Mapping[str, VerifyKey],
    statement: type[_StatementT],
    refused: type[StatementError],
) -> _StatementT:
    if len(token) > MAX_STATEMENT:
        raise refused(f"it is longer than {MAX_STATEMENT} characters", reason="too-large")
    header = _header(token, refused)
    if header.get("alg") != "EdDSA":
        raise refused("it is not signed with EdDSA", reason="algorithm")
    if "crit" in header:
        raise refused("it asks for an extension that dockd does not know", reason="extension")
    key = keys.get(str(header.get("kid")))
    if key is None:
        raise refused("it is signed by a key that is not known here", reason="unknown-key")
    try:
        payload = PyJWS().decode(token, key.public, algorithms=["EdDSA"])
    except jwt.InvalidSignatureError as error:
        raise refused("its signature does not match its content", reason="signature") from error
    except jwt.InvalidTokenError as error:
        raise refused("it is not a signed statement", reason="malformed") from error
    parsed = _parse(payload, statement, refused)
    if header.get("typ") != parsed.typ:
        raise refused("its header does not name its type", reason="content")
    return parsed


def _parse(
    payload: bytes, statement: type[_StatementT], refused: type[StatementError]
) -> _StatementT:
    try:
        parsed = statement.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "payload"
        raise refused(f"{place}: {first['msg'].lower()}", reason="content") from error
    # The defaults are for those who make one; who reads one has to be told.
    if not {"typ", "v"} <= parsed.model_fields_set:
        raise refused("it does not say its type and version", reason="content")
    return parsed


def _header(token: str, refused: type[StatementError]) -> dict[str, Any]:
    try:
        return PyJWS().get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError) as error:
        raise refused("it is not a signed statement", reason="malformed") from error


def _kid(token: str) -> str:
    return str(PyJWS().get_unverified_header(token)["kid"])
