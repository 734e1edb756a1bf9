"""Proves offline that a clip, its manifest, its receipt and the journal belong together."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dockd import journal
from dockd.age import Identity, open_stream
from dockd.errors import DockdError, JournalBrokenError, StatementError
from dockd.keys import VerifyKey
from dockd.manifest import (
    Content,
    Manifest,
    Receipt,
    statement_sha256,
    verify_manifest,
    verify_receipt,
)

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class Exhibits:
    """What was handed in; what is missing is not checked."""

    manifest: str
    station_keys: Sequence[VerifyKey]
    receipt: str | None = None
    receiver_keys: Sequence[VerifyKey] = ()
    clip: Path | None = None
    identities: Sequence[Identity] = ()
    journal: Path | None = None


def prove(exhibits: Exhibits) -> Iterator[Finding]:
    """Check the exhibits one after the other; one that can't be read is a finding as well.

    A finding that the others build on and that doesn't hold ends the proof.
    """
    try:
        manifest = verify_manifest(
            exhibits.manifest, {key.kid: key for key in exhibits.station_keys}
        )
    except StatementError as error:
        yield Finding("manifest", holds=False, detail=error.message)
        return
    yield Finding(
        "manifest", holds=True, detail=f"clip {manifest.clip_id}, signed by {manifest.station.id}"
    )
    stored = manifest.ciphertext
    if exhibits.receipt is not None:
        try:
            receipt = verify_receipt(exhibits.receipt, exhibits.receiver_keys, exhibits.manifest)
        except StatementError as error:
            yield Finding("receipt", holds=False, detail=error.message)
            return
        yield _receipt(receipt)
        stored = receipt.ciphertext
    if exhibits.clip is not None:
        yield _ciphertext(exhibits.clip, stored)
        if exhibits.identities:
            yield _plaintext(exhibits.clip, exhibits.identities, manifest)
    if exhibits.journal is not None:
        yield _journal(exhibits.journal, exhibits, manifest)


def _receipt(receipt: Receipt) -> Finding:
    detail = f"{receipt.receiver.id} re-read and kept it at {receipt.stored_at}"
    return Finding("receipt", holds=True, detail=detail)


def _ciphertext(clip: Path, expected: Content) -> Finding:
    try:
        with clip.open("rb") as file:
            content = _content(iter(lambda: file.read(_BLOCK), b""))
    except OSError as error:
        return Finding("ciphertext", holds=False, detail=f"{clip}: {error.strerror}")
    return _compare("ciphertext", content, expected)


def _plaintext(clip: Path, identities: Sequence[Identity], manifest: Manifest) -> Finding:
    try:
        with clip.open("rb") as file:
            content = _content(open_stream(file, identities))
    except OSError as error:
        return Finding("plaintext", holds=False, detail=f"{clip}: {error.strerror}")
    except DockdError as error:
        return Finding("plaintext", holds=False, detail=error.message)
    return _compare("plaintext", content, manifest.plaintext)


def _journal(path: Path, exhibits: Exhibits, manifest: Manifest) -> Finding:
    """Check the chain, that the manifest's anchor is in it, and that it tells of the clip."""
    told = {"clip.spooled": ("manifest_sha256", statement_sha256(exhibits.manifest))}
    if exhibits.receipt is not None:
        told["clip.acknowledged"] = ("receipt_sha256", statement_sha256(exhibits.receipt))
    try:
        with path.open(encoding="utf-8") as lines:
            head = journal.verify(_telling(map(journal.parse, lines), told), [manifest.journal])
    except OSError as error:
        return Finding("journal", holds=False, detail=f"{path}: {error.strerror}")
    except (JournalBrokenError, UnicodeDecodeError) as error:
        return Finding("journal", holds=False, detail=str(error))
    if told:
        return Finding("journal", holds=False, detail=f"it has no {' and no '.join(told)} for it")
    return Finding(
        "journal", holds=True, detail=f"unbroken up to entry {head.seq}, and tells of this clip"
    )


def _telling(
    entries: Iterable[journal.Entry], told: dict[str, tuple[str, str]]
) -> Iterator[journal.Entry]:
    """Pass entries on, and cross off what they tell."""
    for entry in entries:
        member, digest = told.get(entry.event, ("", ""))
        if member and entry.detail.get(member) == digest:
            del told[entry.event]
        yield entry


def _content(blocks: Iterable[bytes]) -> Content:
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size += len(block)
    return Content(sha256=digest.hexdigest(), size=size)


def _compare(what: str, content: Content, expected: Content) -> Finding:
    if content == expected:
        return Finding(what, holds=True, detail=f"{content.size} bytes, SHA-256 {content.sha256}")
    return Finding(
        what,
        holds=False,
        detail=f"{content.size} bytes with SHA-256 {content.sha256},"
        f" instead of {expected.size} with {expected.sha256}",
    )
