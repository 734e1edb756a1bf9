"""Verifies offline that a clip, its manifest, its receipt and the journal belong together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dockd.base.errors import DockdError, JournalBrokenError, StatementError
from dockd.evidence import journal
from dockd.evidence.age import Identity, open_stream
from dockd.evidence.jws import MAX_STATEMENT
from dockd.evidence.keys import VerifyKey
from dockd.evidence.statements import (
    Content,
    JournalHead,
    Manifest,
    statement_sha256,
    verify_manifest,
    verify_receipt,
)

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Verification:
    """The result of one check."""

    what: str
    holds: bool
    detail: str
    checked: bool = True
    """False if something relevant was not checked; that is no failure."""


@dataclass(frozen=True)
class Exhibits:
    """The given files and trusted keys; missing files are not checked."""

    manifest: Path
    station_keys: Sequence[VerifyKey]
    receipt: Path | None = None
    receiver_keys: Sequence[VerifyKey] = ()
    clip: Path | None = None
    identities: Sequence[Identity] = ()
    journal: Path | None = None
    anchors: Sequence[Path] = ()
    """Further manifests of the key, whose heads the journal must contain."""


def prove(exhibits: Exhibits) -> Iterator[Verification]:
    """Check the exhibits one after the other; an unreadable one is a failure as well.

    A failure that later checks depend on ends the verification.
    """
    station_keys = {key.kid: key for key in exhibits.station_keys}
    try:
        token = _statement(exhibits.manifest)
        manifest = verify_manifest(token, station_keys)
    except (OSError, StatementError) as error:
        yield _failed("manifest", exhibits.manifest, error)
        return
    yield Verification(
        "manifest", holds=True, detail=f"clip {manifest.clip_id}, signed by {manifest.station.id}"
    )
    entries = _ClipEntries(clip_spooled=token)
    stored = manifest.ciphertext
    if exhibits.receipt is not None:
        try:
            receipt_token = _statement(exhibits.receipt)
            receipt = verify_receipt(receipt_token, exhibits.receiver_keys, token)
        except (OSError, StatementError) as error:
            yield _failed("receipt", exhibits.receipt, error)
            return
        detail = (
            f"{receipt.receiver.id} read back and stored the upload of {receipt.station.id}"
            f" at {receipt.stored_at}"
        )
        yield Verification("receipt", holds=True, detail=detail)
        entries.expect_acknowledged(receipt_token)
        stored = receipt.ciphertext
    if exhibits.clip is not None:
        yield _ciphertext(exhibits.clip, stored)
    if exhibits.clip is not None and exhibits.identities:
        yield _plaintext(exhibits.clip, exhibits.identities, manifest)
    else:
        detail = "not checked: no identity given"
        yield Verification("plaintext", holds=True, detail=detail, checked=False)
    heads = _heads(manifest)
    for path in exhibits.anchors:
        try:
            anchor = verify_manifest(_statement(path), station_keys)
        except (OSError, StatementError) as error:
            yield _failed("anchor", path, error)
            continue
        heads += _heads(anchor)
        detail = f"{anchor.station.id} signed entry {anchor.journal.seq} at {anchor.sealed_at}"
        yield Verification("anchor", holds=True, detail=detail)
    if exhibits.journal is not None:
        yield _journal(exhibits.journal, heads, entries)


def _heads(manifest: Manifest) -> list[JournalHead]:
    """Return the journal heads in a manifest."""
    previous = [] if manifest.previous is None else [manifest.previous]
    return [*previous, manifest.journal]


def _statement(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(2 * MAX_STATEMENT).decode("ascii", "replace").strip()


def _ciphertext(clip: Path, expected: Content) -> Verification:
    try:
        with clip.open("rb") as file:
            content = Content.of(iter(partial(file.read, _BLOCK), b""))
    except OSError as error:
        return _failed("ciphertext", clip, error)
    return _compare("ciphertext", content, expected)


def _plaintext(clip: Path, identities: Sequence[Identity], manifest: Manifest) -> Verification:
    try:
        with clip.open("rb") as file:
            content = Content.of(open_stream(file, identities))
    except (OSError, DockdError) as error:
        return _failed("plaintext", clip, error)
    return _compare("plaintext", content, manifest.plaintext)


class _ClipEntries:
    """A journal's entries about one clip from its ``clip.spooled`` on.

    Earlier ones are anchored by the clip's own manifest.
    """

    def __init__(self, *, clip_spooled: str) -> None:
        self.missing = {"clip.spooled": ("manifest_sha256", statement_sha256(clip_spooled))}
        """The required events that were not found yet, and the digest that each must contain."""
        self.last = 0
        """The number of the clip's last entry."""
        self._clip: int | None = None

    def expect_acknowledged(self, receipt: str) -> None:
        """Require an entry about a receipt as well."""
        self.missing["clip.acknowledged"] = ("receipt_sha256", statement_sha256(receipt))

    def followed(self, entries: Iterable[journal.Entry]) -> Iterator[journal.Entry]:
        """Yield all entries, and record those of the clip."""
        for entry in entries:
            member, digest = self.missing.get(entry.event, ("", ""))
            named = bool(member) and entry.detail.get(member) == digest
            if named and entry.event == "clip.spooled":
                self._clip = entry.clip
            if self._clip is not None and entry.clip == self._clip:
                self.last = entry.seq
                if named:
                    del self.missing[entry.event]
            yield entry


def _journal(path: Path, heads: Sequence[JournalHead], entries: _ClipEntries) -> Verification:
    """Check the chain, that it contains the anchors, and the clip's entries."""
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            end = journal.verify(entries.followed(map(journal.parse, lines)), heads)
    except (OSError, JournalBrokenError, UnicodeDecodeError) as error:
        return _failed("journal", path, error)
    if entries.missing:
        missing = " and no ".join(entries.missing)
        return Verification("journal", holds=False, detail=f"it has no {missing} for this clip")
    witnessed = max(head.seq for head in heads)
    detail = (
        f"intact up to entry {end.seq}, anchored by signed manifests up to entry {witnessed};"
        f" the last entry about this clip is {entries.last},"
        f" {'within' if entries.last <= witnessed else 'beyond'} that"
    )
    return Verification("journal", holds=True, detail=detail)


def _compare(what: str, content: Content, expected: Content) -> Verification:
    if content == expected:
        return Verification(
            what, holds=True, detail=f"{content.size} bytes, SHA-256 {content.sha256}"
        )
    return Verification(
        what,
        holds=False,
        detail=f"{content.size} bytes with SHA-256 {content.sha256},"
        f" instead of {expected.size} with {expected.sha256}",
    )


def _failed(what: str, path: Path, error: Exception) -> Verification:
    reason = error.strerror if isinstance(error, OSError) else error
    return Verification(what, holds=False, detail=f"{path}: {reason}")
