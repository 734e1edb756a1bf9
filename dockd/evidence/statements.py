"""The signed statements: a station's manifest, a receiver's receipt and its answers.

All are JSON Web Signatures in compact form, see ``dockd.jws``: a JSON payload whose ``typ``
and ``v`` say what it is, the first in the header as well. Members that a reader doesn't know
are ignored. docs/formats.md describes every member.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dockd.base.errors import ManifestRefusedError, ReceiptRefusedError, StatementError
from dockd.evidence import jws
from dockd.evidence.keys import SigningKey, VerifyKey

MOST_CLOCK_DIFFERENCE = timedelta(hours=26)
"""The tolerated clock difference of station and receiver: any two wrong time zones."""


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _one(value: int) -> int:
    if value != 1:
        raise ValueError("incompatible version")
    return value


Digest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\A\P{Cc}+\z")]
Moment = Annotated[
    str,
    Field(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\z"),
    AfterValidator(_moment),
]
NONCE_PATTERN = r"[A-Za-z0-9_-]{22,86}"
"""At least 128 random bits in base64url."""
Nonce = Annotated[str, Field(pattern=rf"\A{NONCE_PATTERN}\z")]
Version = Annotated[int, AfterValidator(_one)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Content(_Part):
    """The SHA-256 and the length of some bytes."""

    sha256: Digest
    size: Annotated[int, Field(ge=0)]

    @classmethod
    def of(cls, blocks: Iterable[bytes | memoryview]) -> Self:
        """Hash and count bytes, block by block."""
        digest, size = hashlib.sha256(), 0
        for block in blocks:
            digest.update(block)
            size += len(block)
        return cls(sha256=digest.hexdigest(), size=size)


class Signer(_Part):
    """A signer: a name, and the thumbprint of the key."""

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
    """The file on the camera when it was read."""

    path: str
    """Relative to the camera's root; bytes that aren't UTF-8 as ``\\xNN``. A very long one is
    abbreviated: its beginning, an ellipsis and its end."""
    path_sha256: Digest | None = None
    """Of the whole path's bytes, if ``path`` is abbreviated."""
    kind: Literal["video", "sidecar"]
    modified_at: Moment
    metadata: dict[str, str] = {}
    event: bool = False


class JournalHead(_Part):
    """A head of the station's journal: an anchor of its hash chain."""

    seq: Annotated[int, Field(ge=0)]
    hash: Digest


class ClockFacts(_Part):
    """How reliable the times in a manifest are."""

    synchronised: bool | None = None
    """Whether the station's clock was synchronised with a time server; None: unknown."""
    camera_ahead_seconds: Annotated[float, Field(ge=0)] = 0.0
    """By how much the camera's newest file time was in the station's future."""


class LeftAlone(_Part):
    """The files on the camera that no rule of its profile selects or ignores."""

    files: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0)]


class Manifest(_Part):
    """A station's statement about one clip."""

    typ: Literal["dockd.manifest"] = "dockd.manifest"
    v: Version = 1
    clip_id: Digest
    station: Signer
    camera: CameraIdentity
    docking: Name
    place: str = ""
    """Where the camera was docked: a bay, a USB port, a folder."""
    device: dict[str, str] = {}
    """Facts about the device, such as its USB ids and its file systems."""
    file: FileFacts
    plaintext: Content
    ciphertext: Content
    recipients: Annotated[list[Digest], Field(min_length=1)]
    """SHA-256 of each recipient's canonical ``age1…`` string."""
    sealed_at: Moment
    clock: ClockFacts = ClockFacts()
    """The clocks when it was sealed."""
    left_alone: LeftAlone | None = None
    """Unmatched files when the clip was found; None: unknown."""
    journal: JournalHead
    previous: JournalHead | None = None
    """The anchor in the previous manifest of this key; None: the first one, or unknown."""


class Receipt(_Part):
    """A receiver's statement that it has read back and durably stored a clip's ciphertext."""

    typ: Literal["dockd.receipt"] = "dockd.receipt"
    v: Version = 1
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


class Answer(_Part):
    """A receiver's statement, in response to one request, that a receipt is valid now."""

    typ: Literal["dockd.answer"] = "dockd.answer"
    v: Version = 1
    nonce: Nonce
    """The request's nonce, so that no older answer is accepted."""
    clip_id: Digest
    manifest_sha256: Digest
    receipt_sha256: Digest
    receiver: Signer
    read_at: Moment
    """When the ciphertext was last read back from the disk and hashed."""
    answered_at: Moment


class Anchor(_Part):
    """A receiver's statement, in response to one request, of a station's latest journal head."""

    typ: Literal["dockd.anchor"] = "dockd.anchor"
    v: Version = 1
    nonce: Nonce
    station: Signer
    journal: JournalHead | None
    """The latest anchor in the manifests of this key; None: there is none."""
    receiver: Signer
    answered_at: Moment


_StatementT = TypeVar("_StatementT", Manifest, Receipt, Answer, Anchor)


def derive_clip_id(camera_id: str, plaintext_sha256: str) -> str:
    r"""Return the id of a content on a camera, wherever it is docked.

    The same as ``printf 'dockd clip v1\n%s\n%s\n' CAMERA SHA256 | sha256sum``.
    """
    text = f"dockd clip v1\n{camera_id}\n{plaintext_sha256}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def sign(statement: Manifest | Receipt | Answer | Anchor, key: SigningKey) -> str:
    """Sign a statement; returns a compact JWS."""
    payload = json.dumps(statement.model_dump(), ensure_ascii=False, separators=(",", ":"))
    return jws.sign(payload, statement.typ, key)


def statement_sha256(token: str) -> str:
    """Return the digest by which statements refer to a compact statement."""
    return hashlib.sha256(token.encode()).hexdigest()


def verify_manifest(token: str, keys: Mapping[str, VerifyKey]) -> Manifest:
    """Verify a manifest's form, its signature by one of ``keys`` (by kid) and its clip id.

    Raises:
        ManifestRefusedError: it is invalid; ``reason`` says why.
    """
    manifest, kid = _verify(token, keys, Manifest, ManifestRefusedError)
    if manifest.station.kid != kid:
        raise ManifestRefusedError("it names a key that did not sign it", reason="signer")
    if manifest.clip_id != derive_clip_id(manifest.camera.id, manifest.plaintext.sha256):
        raise ManifestRefusedError("its clip id is not that of its content", reason="clip-id")
    return manifest


def verify_receipt(token: str, keys: Iterable[VerifyKey], manifest_token: str) -> Receipt:
    """Verify that a receipt is for exactly the ciphertext of a manifest of this station.

    A receipt for another station's upload of the same clip is refused: a receiver can't
    decrypt that upload, so it may contain anything.

    Args:
        token: the receipt, as the receiver sent it.
        keys: the pinned receiver keys.
        manifest_token: the station's own manifest of the clip.

    Raises:
        ReceiptRefusedError: it is invalid; ``reason`` says why.
    """
    receipt = _of_receiver(token, keys, Receipt)
    manifest = read_unverified_manifest(manifest_token)
    if receipt.clip_id != manifest.clip_id:
        raise ReceiptRefusedError("it is for another clip", reason="other-clip")
    if receipt.plaintext != manifest.plaintext:
        raise ReceiptRefusedError("it is for another plaintext", reason="plaintext")
    if receipt.manifest_sha256 != statement_sha256(manifest_token):
        raise ReceiptRefusedError(
            f"it is for another upload of this clip, by {receipt.station.id} under manifest"
            f" {receipt.manifest_sha256}",
            reason="other-manifest",
        )
    if receipt.ciphertext.size != manifest.ciphertext.size:
        raise ReceiptRefusedError("it is for another length", reason="length")
    if receipt.ciphertext.sha256 != manifest.ciphertext.sha256:
        raise ReceiptRefusedError("it is for another digest", reason="digest")
    if receipt.station != manifest.station:
        raise ReceiptRefusedError("it names another station for this manifest", reason="station")
    if set(receipt.recipients) != set(manifest.recipients):
        raise ReceiptRefusedError("it names other recipients", reason="recipients")
    if is_sealed_later(manifest, _time(receipt.stored_at)):
        raise ReceiptRefusedError(
            f"it states that the clip was stored at {receipt.stored_at}, before it was sealed at"
            f" {manifest.sealed_at}",
            reason="stored-before-sealed",
        )
    return receipt


def verify_answer(
    token: str, keys: Iterable[VerifyKey], *, nonce: str, receipt_token: str
) -> Answer:
    """Verify a receiver's answer that a receipt is valid now.

    Args:
        token: the answer, as the receiver sent it.
        keys: the pinned receiver keys.
        nonce: the request's nonce.
        receipt_token: the verified receipt.

    Raises:
        ReceiptRefusedError: it answers another request; ``reason`` says why.
    """
    answer = _of_receiver(token, keys, Answer)
    if answer.nonce != nonce:
        raise ReceiptRefusedError("it answers another question", reason="nonce")
    if answer.receipt_sha256 != statement_sha256(receipt_token):
        raise ReceiptRefusedError("the answer is about another receipt", reason="other-receipt")
    return answer


def verify_anchor(token: str, keys: Iterable[VerifyKey], *, nonce: str, kid: str) -> Anchor:
    """Verify a receiver's statement about the journal of a station's key.

    Raises:
        ReceiptRefusedError: it answers another request; ``reason`` says why.
    """
    anchor = _of_receiver(token, keys, Anchor)
    if anchor.nonce != nonce:
        raise ReceiptRefusedError("it answers another question", reason="nonce")
    if anchor.station.kid != kid:
        raise ReceiptRefusedError("it is about another station", reason="station")
    return anchor


def is_sealed_later(manifest: Manifest, moment: datetime) -> bool:
    """Return whether a manifest was sealed after a moment, even with wrong time zones."""
    return _time(manifest.sealed_at) - moment > MOST_CLOCK_DIFFERENCE


def read_unverified_manifest(token: str) -> Manifest:
    """Read a manifest without verification: for own ones, from the own ledger.

    Raises:
        ManifestRefusedError: it is not a manifest.
    """
    statement = jws.read(token, ManifestRefusedError)
    return _parse(statement.payload, Manifest, ManifestRefusedError)


def verify_receipt_alone(token: str, keys: Iterable[VerifyKey]) -> Receipt:
    """Check that a receiver signed a receipt, whatever clip it is for.

    Raises:
        ReceiptRefusedError: it didn't; ``reason`` says why.
    """
    return _of_receiver(token, keys, Receipt)


def read_unverified_receipt(token: str) -> Receipt:
    """Read a receipt without verification: for own ones, from the own store.

    Raises:
        ReceiptRefusedError: it is not a receipt.
    """
    statement = jws.read(token, ReceiptRefusedError)
    return _parse(statement.payload, Receipt, ReceiptRefusedError)


_ReceiverT = TypeVar("_ReceiverT", Receipt, Answer, Anchor)


def _of_receiver(token: str, keys: Iterable[VerifyKey], statement: type[_ReceiverT]) -> _ReceiverT:
    parsed, kid = _verify(token, {key.kid: key for key in keys}, statement, ReceiptRefusedError)
    if parsed.receiver.kid != kid:
        raise ReceiptRefusedError("it names a key that did not sign it", reason="signer")
    return parsed


def _verify(
    token: str,
    keys: Mapping[str, VerifyKey],
    statement: type[_StatementT],
    refused: type[StatementError],
) -> tuple[_StatementT, str]:
    checked = jws.verify(token, keys, refused)
    parsed = _parse(checked.payload, statement, refused)
    if checked.header.get("typ") != parsed.typ:
        raise refused("its header does not name its type", reason="content")
    return parsed, checked.kid


def _parse(
    payload: bytes, statement: type[_StatementT], refused: type[StatementError]
) -> _StatementT:
    try:
        members: dict[str, Any] = jws.load_json(payload)
    except ValueError as error:
        raise refused(f"payload: {error}", reason="content") from error
    try:
        parsed = statement.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "payload"
        raise refused(f"{place}: {first['msg'].lower()}", reason="content") from error
    # The defaults are for writers; a statement that is read must state them.
    if not {"typ", "v"} <= parsed.model_fields_set:
        raise refused("it does not state its type and version", reason="content")
    return parsed


def _time(moment: str) -> datetime:
    return datetime.fromisoformat(moment)
