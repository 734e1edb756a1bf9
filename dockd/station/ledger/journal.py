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
    """What a manifest says of its station's journal."""

    head: JournalHead
    """Where it stood when the manifest was signed."""
    previous: JournalHead
    """Where it stood in the manifest that the same key had signed before."""


class Journal:
    """The hash-chained journal, and what manifests say of it."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._signed: dict[str, Anchoring] = {}
        """What was signed last by each key in this run, entered or not."""

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
        """Return where the journal stands."""
        with self._db.reading():
            return self._head()

    def entries(self, after: int = 0) -> Iterator[journal.Entry]:
        """Yield the journal's entries behind a sequence number, in order.

        Raises:
            JournalBrokenError: what is stored is no entry.
        """
        return map(
            _entry, self._db.paged("SELECT * FROM journal WHERE seq > ? ORDER BY seq", after)
        )

    def record(
        self, event: str, camera: str | None = None, clip: int | None = None, **detail: Any
    ) -> int:
        """Append to the journal what changes no state; returns the entry's number."""
        with self._db.transaction():
            self.append(event, camera, clip, **detail)
            return self._head().seq

    def anchors(self) -> Iterator[JournalHead]:
        """Yield the journal heads that this station's manifests carry.

        Not those of clips that were taken in out of the spool: an earlier ledger's journal.

        Raises:
            JournalBrokenError: what is stored is no manifest.
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
                raise JournalBrokenError(f"clip {row['id']} has no manifest of dockd's") from error

    def holds(self, head: JournalHead) -> bool:
        """Say whether the journal has an entry, with this content."""
        with self._db.reading():
            row = self._db.execute("SELECT hash FROM journal WHERE seq = ?", (head.seq,)).fetchone()
        return head == journal.GENESIS or (row is not None and row["hash"] == head.hash)

    def next_anchor(self, kid: str) -> Anchoring:
        """Return what the next manifest that a key signs says of the journal.

        Clips are sealed side by side, and each follows the one that was signed before it,
        whether that has been entered yet or not.
        """
        with self._db.lock:
            head, last = self.head(), self._last_anchor(kid)
            # Two that were signed at the same entry follow the same one.
            before = last.previous if last.head.seq == head.seq else last.head
            self._signed[kid] = Anchoring(head, before)
            return self._signed[kid]

    def last_anchor(self, kid: str) -> JournalHead:
        """Return the head in the newest manifest that a key has signed, as far as is known.

        That of an empty journal, where it has signed none. The first time, all manifests are
        read, and others have their turns at the ledger meanwhile.
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
                # Also where there is none: looking for it takes a while.
                with self._db.transaction():
                    self._enter_anchor(kid, entered)
        return max(entered, self._signed.get(kid, entered), key=lambda one: one.head.seq)

    def _found_anchor(self, kid: str) -> Anchoring:
        """Look for it in a ledger that an earlier version of dockd wrote."""
        query = "SELECT id, manifest FROM clips WHERE id > ? AND manifest IS NOT NULL ORDER BY id"
        manifests = self._manifests(query, skip_others=True)
        signed = (one.journal for one in manifests if one.station.kid == kid)
        newest = max(signed, key=lambda head: head.seq, default=journal.GENESIS)
        return Anchoring(newest, journal.GENESIS)

    def remember_anchor(self, manifest: Manifest) -> None:
        """Keep what a manifest says of the journal, inside an open transaction."""
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
        """Check the whole chain against what the manifests say of it.

        Raises:
            JournalBrokenError: entries were edited, removed or put in.
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
