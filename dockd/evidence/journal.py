"""The journal: a hash chain in which each entry contains the digest of the previous one.

An entry's digest is the SHA-256 of its members except ``hash``, as JSON with sorted keys,
without white space and with unescaped non-ASCII characters, in UTF-8. The first entry's
``prev`` is 64 zeros. Edits and deletions break the chain; a truncated chain lacks heads that
manifests have brought to the receiver.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dockd.base.errors import JournalBrokenError
from dockd.evidence.statements import JournalHead

GENESIS = JournalHead(seq=0, hash="0" * 64)
"""The head of an empty journal."""


@dataclass(frozen=True)
class Entry:
    """One event."""

    seq: int
    at: str
    event: str
    camera: str | None
    clip: int | None
    detail: Mapping[str, Any]
    prev: str
    hash: str

    def as_json(self) -> str:
        """Return the entry as one line of JSON, as ``dockd journal`` prints it."""
        return canonical(asdict(self))

    @property
    def head(self) -> JournalHead:
        """The chain's head when this entry is the last one."""
        return JournalHead(seq=self.seq, hash=self.hash)


_ENTRY = TypeAdapter(Entry)


def canonical(members: Mapping[str, Any]) -> str:
    """Return JSON in the canonical form that is hashed."""
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def link(
    head: JournalHead,
    *,
    at: str,
    event: str,
    camera: str | None,
    clip: int | None,
    detail: Mapping[str, Any],
) -> Entry:
    """Return the entry that follows a head."""
    members = {
        "seq": head.seq + 1,
        "at": at,
        "event": event,
        "camera": camera,
        "clip": clip,
        "detail": dict(detail),
        "prev": head.hash,
    }
    digest = hashlib.sha256(canonical(members).encode()).hexdigest()
    return Entry(head.seq + 1, at, event, camera, clip, detail, head.hash, digest)


def parse(line: str) -> Entry:
    """Read an entry from a line that ``as_json`` wrote, with or without the line's end.

    Raises:
        JournalBrokenError: it is no entry, or not in the form of ``as_json``, so that two
            readers might interpret it differently.
    """
    text = line.removesuffix("\n")
    try:
        entry = _ENTRY.validate_json(text, strict=True)
    except ValidationError as error:
        raise JournalBrokenError(f"not an entry: {line[:60]!r}") from error
    if entry.as_json() != text:
        raise JournalBrokenError(f"entry {entry.seq} is not in the form in which it was hashed")
    return entry


def verify(entries: Iterable[Entry], anchors: Iterable[JournalHead] = ()) -> JournalHead:
    """Check a whole chain, from its first entry, and return its head.

    Args:
        entries: all entries in order.
        anchors: heads from manifests that the chain must contain.

    Raises:
        JournalBrokenError: an entry was edited, removed or inserted, or the chain ends before
            an anchor.
    """
    named = _named(anchors)
    head = GENESIS
    _check_named(head, named)
    for entry in entries:
        relinked = link(
            head,
            at=entry.at,
            event=entry.event,
            camera=entry.camera,
            clip=entry.clip,
            detail=entry.detail,
        )
        if relinked != entry:
            raise JournalBrokenError(f"entry {entry.seq} does not follow entry {head.seq}")
        head = entry.head
        _check_named(head, named)
    if named:
        raise JournalBrokenError(
            f"it ends at entry {head.seq}, but a manifest names entry {max(named)}"
        )
    return head


def _named(anchors: Iterable[JournalHead]) -> dict[int, bytes]:
    """Return the digests in manifests, by entry number; as bytes, since there are very many."""
    named: dict[int, bytes] = {}
    for anchor in anchors:
        digest = bytes.fromhex(anchor.hash)
        if named.setdefault(anchor.seq, digest) != digest:
            raise _contradicts(anchor.seq)
    return named


def _check_named(head: JournalHead, named: dict[int, bytes]) -> None:
    digest = bytes.fromhex(head.hash)
    if named.pop(head.seq, digest) != digest:
        raise _contradicts(head.seq)


def _contradicts(seq: int) -> JournalBrokenError:
    return JournalBrokenError(f"entry {seq} is not the one that a manifest names")
