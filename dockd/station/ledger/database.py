"""The SQLite file under the ledger: durability, migrations, and the journal in it."""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dockd.base.clock import Clock, timestamp
from dockd.base.errors import (
    JournalBrokenError,
    LedgerError,
    LedgerVersionError,
    ManifestRefusedError,
)
from dockd.base.randomness import Randomness
from dockd.evidence import journal
from dockd.evidence.statements import JournalHead, Manifest, read_unverified_manifest
from dockd.station.ledger.schema import MIGRATIONS, view_of_clips


class Anchoring(NamedTuple):
    """What a manifest says of its station's journal."""

    head: JournalHead
    """Where it stood when the manifest was signed."""
    previous: JournalHead
    """Where it stood in the manifest that the same key had signed before."""


class Database:
    """A connection that any thread may use, one transaction at a time."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        randomness: Randomness | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        """Open it, creating or migrating it as needed.

        Args:
            path: the file.
            clock: what entries of the journal are dated by.
            randomness: where numbers of wipes come from.
            read_only: leave it as it is; it must be there.

        Raises:
            LedgerError: it can't be opened; LedgerVersionError: a newer dockd wrote it.
        """
        self._clock = clock
        self._randomness = randomness or Randomness()
        self._lock = threading.RLock()
        self._read_only = read_only
        self._signed: dict[str, Anchoring] = {}
        """What was signed last by each key in this run, entered or not."""
        mode = "ro" if read_only else "rwc"
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.row_factory = sqlite3.Row
            if not read_only:
                path.chmod(0o600)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA cache_size = -4096")
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"{path}: {error}", hint="check the disk and the file's mode"
            ) from error
        with self._reading():
            version = self._version(path)
            if read_only and (view := view_of_clips(version)):
                self._db.execute(view)
        if not read_only and version < len(MIGRATIONS):
            self._migrate(path)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    # Transactions

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise _explained(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self.commit()
            except sqlite3.Error as error:
                self._roll_back()
                raise _explained(error) from error
            except BaseException:
                self._roll_back()
                raise

    def commit(self) -> None:
        """Make the open transaction durable: the seam at which tests inject faults."""
        self._db.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _version(self, path: Path) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise LedgerVersionError(
                f"{path} has version {version}, this dockd knows {len(MIGRATIONS)}",
                hint="install the dockd that wrote it, or a newer one",
            )
        return version

    def _migrate(self, path: Path) -> None:
        with self._transaction():
            for statements in MIGRATIONS[self._version(path) :]:
                for statement in statements:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def faults(self) -> list[str]:
        """Return what SQLite finds wrong with the whole file, at most ten things; blocks.

        Raises:
            LedgerError: it can't be read.
        """
        with self._reading():
            rows = self._db.execute("PRAGMA integrity_check(10)").fetchall()
        return [row[0] for row in rows if row[0] != "ok"]

    def _append(self, event: str, camera: str | None, clip: int | None, **detail: Any) -> None:
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

    # The journal

    def _head(self) -> JournalHead:
        row = self._db.execute("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        return JournalHead(seq=row["seq"], hash=row["hash"]) if row else journal.GENESIS

    def head(self) -> JournalHead:
        """Return where the journal stands."""
        with self._reading():
            return self._head()

    def entries(self, after: int = 0) -> Iterator[journal.Entry]:
        """Yield the journal's entries behind a sequence number, in order.

        Raises:
            JournalBrokenError: what is stored is no entry.
        """
        return map(_entry, self._paged("SELECT * FROM journal WHERE seq > ? ORDER BY seq", after))

    def _paged(self, query: str, after: int = 0) -> Iterator[sqlite3.Row]:
        """Yield what a query selects behind a key, its first column; others get a turn between."""
        while True:
            with self._reading():
                rows = self._db.execute(f"{query} LIMIT 1000", (after,)).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    def record(
        self, event: str, camera: str | None = None, clip: int | None = None, **detail: Any
    ) -> int:
        """Append to the journal what changes no state; returns the entry's number."""
        with self._transaction():
            self._append(event, camera, clip, **detail)
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
        for row in self._paged(query):
            try:
                yield read_unverified_manifest(row["manifest"])
            except ManifestRefusedError as error:
                if skip_others:
                    continue
                # The ledger keeps only what this station has sealed.
                raise JournalBrokenError(f"clip {row['id']} has no manifest of dockd's") from error

    def holds(self, head: JournalHead) -> bool:
        """Say whether the journal has an entry, with this content."""
        with self._reading():
            row = self._db.execute("SELECT hash FROM journal WHERE seq = ?", (head.seq,)).fetchone()
        return head == journal.GENESIS or (row is not None and row["hash"] == head.hash)

    def next_anchor(self, kid: str) -> Anchoring:
        """Return what the next manifest that a key signs says of the journal.

        Clips are sealed side by side, and each follows the one that was signed before it,
        whether that has been entered yet or not.
        """
        with self._lock:
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
        with self._reading():
            row = self._db.execute("SELECT * FROM anchors WHERE kid = ?", (kid,)).fetchone()
        if row is not None:
            entered = Anchoring(
                JournalHead(seq=row["seq"], hash=row["hash"]),
                JournalHead(seq=row["previous_seq"], hash=row["previous_hash"]),
            )
        else:
            entered = self._found_anchor(kid)
            if not self._read_only:
                # Also where there is none: looking for it takes a while.
                with self._transaction():
                    self._enter_anchor(kid, entered)
        return max(entered, self._signed.get(kid, entered), key=lambda one: one.head.seq)

    def _found_anchor(self, kid: str) -> Anchoring:
        """Look for it in a ledger that an earlier version of dockd wrote."""
        query = "SELECT id, manifest FROM clips WHERE id > ? AND manifest IS NOT NULL ORDER BY id"
        manifests = self._manifests(query, skip_others=True)
        signed = (one.journal for one in manifests if one.station.kid == kid)
        newest = max(signed, key=lambda head: head.seq, default=journal.GENESIS)
        return Anchoring(newest, journal.GENESIS)

    def _remember_anchor(self, manifest: Manifest) -> None:
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

    def verify_journal(self) -> JournalHead:
        """Check the whole chain against what the manifests say of it.

        Raises:
            JournalBrokenError: entries were edited, removed or put in.
        """
        return journal.verify(self.entries(), self.anchors())


def _entry(row: sqlite3.Row) -> journal.Entry:
    try:
        detail = json.loads(row["detail"])
        if isinstance(detail, dict) and journal.canonical(detail) == row["detail"]:
            return journal.Entry(**{**dict(row), "detail": detail})
    except (ValueError, RecursionError) as error:
        raise JournalBrokenError(f"entry {row['seq']} has an unreadable detail") from error
    raise JournalBrokenError(f"entry {row['seq']} is not in the form in which it was hashed")


def _explained(error: sqlite3.Error) -> LedgerError:
    return LedgerError(str(error), hint="check the disk that holds the ledger; dockd tries again")
