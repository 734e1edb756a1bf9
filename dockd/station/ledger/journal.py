"""The journal in the ledger: append-only, hash-chained, anchored by manifests."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from dockd.base.clock import Clock, timestamp
from dockd.base.errors import JournalBrokenError, ManifestRefusedError
from dockd.evidence import journal
from dockd.evidence.statements import JournalHead, Manifest, read_unverified_manifest
from dockd.station.ledger.database import Database


class Anchoring(NamedTuple):
    """What a manifest states about its station's journal."""

    head: JournalHead
    """The journal's head when the manifest was signed."""
    previous: JournalHead
    """The head in the previous manifest that was signed with the same key."""


class Journal:
    """The hash-chained journal, and the anchors in manifests."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._signed: dict[str, Anchoring] = {}
        """The newest anchoring signed with each key in this run, recorded or not."""

    def append(self, event: str, camera: str | None, clip: int | None, **detail: Any) -> None:
        """Append an entry inside an open transaction."""
        entry = journal.link(
            self._head(),
            at=timestamp(self._clock.now()),
            event=event,
            camera=camera,
            clip=clip,
            detail=detail,
        )
        self._db.execute(
            "INSERT INTO journal (seq, at, event, camera, clip, detail, prev, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.seq,
                entry.at,
                event,
                camera,
                clip,
                journal.canonical(detail),
                entry.prev,
                entry.hash,
            ),
        )

    def _head(self) -> JournalHead:
        row = self._db.execute("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        return JournalHead(seq=row["seq"], hash=row["hash"]) if row else journal.GENESIS

    def head(self) -> JournalHead:
        """Return the journal's head."""
        with self._db.reading():
            return self._head()

    def entries(self, after: int = 0) -> Iterator[journal.Entry]:
        """Yield the journal's entries after a sequence number, in order.

        Raises:
            JournalBrokenError: a stored entry is invalid.
        """
        return map(
            _entry, self._db.paged("SELECT * FROM journal WHERE seq > ? ORDER BY seq", after)
        )

    def record(
        self, event: str, camera: str | None = None, clip: int | None = None, **detail: Any
    ) -> int:
        """Append an entry that changes no state; return its number."""
        with self._db.transaction():
            self.append(event, camera, clip, **detail)
            return self._head().seq

    def anchors(self) -> Iterator[JournalHead]:
        """Yield the journal heads in this station's manifests.

        Clips that were taken in from the spool are left out: theirs name an earlier ledger's
        journal.

        Raises:
            JournalBrokenError: a stored manifest is invalid.
        """
        query = (
            "SELECT id, manifest FROM clips WHERE id > ? AND manifest IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.clip = clips.id"
            " AND journal.event = 'clip.spooled' AND journal.detail LIKE '%\"recovered\":true%')"
            " ORDER BY id"
        )
        return (manifest.journal for manifest in self._manifests(query))

    def _manifests(self, query: str, *, skip_others: bool = False) -> Iterator[Manifest]:
        for row in self._db.paged(query):
            try:
                yield read_unverified_manifest(row["manifest"])
            except ManifestRefusedError as error:
                if skip_others:
                    continue
                # The ledger keeps only what this station has sealed.
                raise JournalBrokenError(f"the manifest of clip {row['id']} is invalid") from error

    def holds(self, head: JournalHead) -> bool:
        """Return whether the journal has an entry with this content."""
        with self._db.reading():
            row = self._db.execute("SELECT hash FROM journal WHERE seq = ?", (head.seq,)).fetchone()
        return head == journal.GENESIS or (row is not None and row["hash"] == head.hash)

    def next_anchor(self, kid: str) -> Anchoring:
        """Return the anchoring for the next manifest to be signed with a key.

        Clips are sealed concurrently, and each follows the one that was signed before it, whether
        that is recorded yet or not.
        """
        with self._db.lock:
            head, last = self.head(), self._last_anchor(kid)
            # Manifests that were signed at the same head have the same previous one.
            before = last.previous if last.head.seq == head.seq else last.head
            self._signed[kid] = Anchoring(head, before)
            return self._signed[kid]

    def last_anchor(self, kid: str) -> JournalHead:
        """Return the head in the newest known manifest that was signed with a key.

        It is that of an empty journal if there is none. The first time, all manifests are read,
        while other threads can use the ledger.
        """
        return self._last_anchor(kid).head

    def _last_anchor(self, kid: str) -> Anchoring:
        with self._db.reading():
            row = self._db.execute("SELECT * FROM anchors WHERE kid = ?", (kid,)).fetchone()
        if row is not None:
            entered = Anchoring(
                JournalHead(seq=row["seq"], hash=row["hash"]),
                JournalHead(seq=row["previous_seq"], hash=row["previous_hash"]),
            )
        else:
            entered = self._found_anchor(kid)
            if not self._db.read_only:
                # Also if there is none, as the search takes a while.
                with self._db.transaction():
                    self._enter_anchor(kid, entered)
        return max(entered, self._signed.get(kid, entered), key=lambda one: one.head.seq)

    def _found_anchor(self, kid: str) -> Anchoring:
        """Search for it in a ledger that was written by an earlier version of dockd."""
        query = "SELECT id, manifest FROM clips WHERE id > ? AND manifest IS NOT NULL ORDER BY id"
        manifests = self._manifests(query, skip_others=True)
        signed = (one.journal for one in manifests if one.station.kid == kid)
        newest = max(signed, key=lambda head: head.seq, default=journal.GENESIS)
        return Anchoring(newest, journal.GENESIS)

    def remember_anchor(self, manifest: Manifest) -> None:
        """Record a manifest's anchoring, inside an open transaction."""
        previous = manifest.previous or journal.GENESIS
        self._enter_anchor(manifest.station.kid, Anchoring(manifest.journal, previous))

    def _enter_anchor(self, kid: str, anchoring: Anchoring) -> None:
        head, previous = anchoring
        self._db.execute(
            "INSERT INTO anchors (kid, seq, hash, previous_seq, previous_hash)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (kid) DO UPDATE SET seq = excluded.seq,"
            " hash = excluded.hash, previous_seq = excluded.previous_seq,"
            " previous_hash = excluded.previous_hash WHERE excluded.seq > seq",
            (kid, head.seq, head.hash, previous.seq, previous.hash),
        )

    def verify(self) -> JournalHead:
        """Check the whole chain, and against the anchors in manifests.

        Raises:
            JournalBrokenError: entries were edited, removed or inserted.
        """
        return journal.verify(self.entries(), self.anchors())

    def last_event(self, clip: int) -> str | None:
        """Return the kind of the newest entry about a clip, inside an open transaction."""
        row = self._db.execute(
            "SELECT event FROM journal WHERE clip = ? ORDER BY seq DESC LIMIT 1", (clip,)
        ).fetchone()
        return row["event"] if row else None


def _entry(row: sqlite3.Row) -> journal.Entry:
    try:
        detail = json.loads(row["detail"])
        if isinstance(detail, dict) and journal.canonical(detail) == row["detail"]:
            return journal.Entry(**{**dict(row), "detail": detail})
    except (ValueError, RecursionError) as error:
        raise JournalBrokenError(f"entry {row['seq']} has an unreadable detail") from error
    raise JournalBrokenError(f"entry {row['seq']} is not in the form in which it was hashed")
