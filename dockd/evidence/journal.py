"""The hash chain over what happened: each entry names the digest of the one before it.

An entry's digest is the SHA-256 of its members but ``hash``, as JSON with sorted keys, no
white space and non-ASCII characters as they are, in UTF-8. The first entry's ``prev`` is
64 zeros. Edits and deletions break the chain; a shortened chain no longer holds the heads
that manifests have carried to the receiver.
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
    """One thing that happened."""

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
        """The chain's head once this entry is its last."""
        return JournalHead(seq=self.seq, hash=self.hash)


_ENTRY = TypeAdapter(Entry)


def canonical(members: Mapping[str, Any]) -> str:
    """Return JSON in the one form that is hashed."""
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
        JournalBrokenError: it is no entry, or not written as ``as_json`` does, so that two
            readers might see different things in it.
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
        anchors: heads that the chain must hold, out of manifests.

    Raises:
        JournalBrokenError: an entry was edited, removed or put in, or the chain is shorter
            than an anchor says.
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
    """Return what manifests name, by its number; as bytes, since there are very many of them."""
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
