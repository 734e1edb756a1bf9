"""The anchors of each station key's journal, which only grow and never fork.

Every manifest carries the head of its station's journal, and the head in the manifest before
it, so that the anchors of one key form a chain in whatever order they arrive. A station that
was reset to an older state, or runs twice, signs an anchor that contradicts that chain.

They are kept in ``anchors.db`` (SQLite), which is rebuilt from the stored manifests if it is
missing or damaged.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Protocol

from dockd.base.clock import Clock, timestamp
from dockd.base.errors import HistoryForkedError
from dockd.base.randomness import Randomness
from dockd.evidence.statements import JournalHead, Manifest, statement_sha256
from dockd.receiver import events
from dockd.receiver.index.sqlite import as_os_error, connect, opened, transaction

_TABLE = (
    """
CREATE TABLE IF NOT EXISTS anchors (
    kid TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    previous_seq INTEGER,
    previous_hash TEXT,
    sealed_at TEXT NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    PRIMARY KEY (kid, seq, manifest_sha256)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX IF NOT EXISTS anchors_by_previous ON anchors (kid, previous_seq)",
)
_SIDE_BY_SIDE = timedelta(minutes=10)
"""How far the times of clips that were sealed concurrently may differ from their order."""
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_VERSION = 2
"""What a rebuild reads: 2 includes what version 0.1 of dockd stored."""
_BATCH = 1000
_LOG_SECONDS = 60.0
"""How often the progress of a rebuild is logged."""
_FORKS = """
SELECT kid, MIN(seq) FROM (
    SELECT kid, seq FROM anchors GROUP BY kid, seq HAVING COUNT(DISTINCT hash) > 1
    UNION ALL
    SELECT kid, previous_seq FROM anchors WHERE previous_seq IS NOT NULL
        GROUP BY kid, previous_seq HAVING COUNT(DISTINCT previous_hash) > 1
    UNION ALL
    SELECT kid, seq FROM anchors WHERE previous_seq >= seq
    UNION ALL
    SELECT one.kid, one.seq FROM anchors AS one JOIN anchors AS other
        ON other.kid = one.kid AND other.seq = one.previous_seq
        AND other.hash != one.previous_hash
    UNION ALL
    SELECT kid, seq FROM anchors AS one WHERE EXISTS (
        SELECT 1 FROM anchors AS other WHERE other.kid = one.kid
        AND other.seq > one.previous_seq AND other.seq < one.seq)
    UNION ALL
    SELECT kid, seq FROM (
        SELECT kid, seq, previous_seq, sealed_at, MIN(sealed_at) OVER (
            PARTITION BY kid ORDER BY seq GROUPS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) AS later FROM anchors
    ) WHERE previous_seq IS NULL
        AND later <= strftime('%Y-%m-%dT%H:%M:%fZ', sealed_at, '-10 minutes')
) GROUP BY kid
"""
"""The keys whose anchors contradict each other in any of the ways of ``_contradictions``."""
_HINT = (
    "its ledger was rolled back, or two stations use one key: give the station a new key; see"
    " docs/operate.md"
)


class Manifests(Protocol):
    """A walk through the stored manifests."""

    read: int
    """How many have been read."""
    failed: int
    """How many could not be read now."""

    def __iter__(self) -> Iterator[tuple[Manifest, str]]:
        """Yield each manifest and its SHA-256."""


class Anchors:
    """The anchors of every station key; safe to use from any thread."""

    def __init__(
        self,
        path: Path,
        manifests: Callable[[], Manifests],
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        """Open them, and rebuild them if necessary, which may take hours in a large store.

        Args:
            path: the database.
            manifests: begins a walk through all that are stored.
            clock: measures the time between log lines.
            randomness: makes the name of a damaged database.

        Raises:
            OSError: they can't be opened.
        """
        self._lock, self._asking = threading.Lock(), threading.Lock()
        with as_os_error(path):
            self._db = opened(path, randomness or Randomness(), _read_through, _damaged)
            if self._db.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
                self._rebuild(manifests(), clock or Clock())
            # In WAL, readers don't wait for the writer.
            self._reader = connect(path)

    def close(self) -> None:
        """Close them."""
        with self._lock, self._asking:
            self._reader.close()
            self._db.close()

    def newest(self, kid: str) -> JournalHead | None:
        """Return the newest anchor of a key, if it has one.

        Raises:
            OSError: the disk failed.
        """
        with self._reading() as reader:
            row = reader.execute(
                "SELECT seq, hash FROM anchors WHERE kid = ? ORDER BY seq DESC LIMIT 1", (kid,)
            ).fetchone()
        return None if row is None else JournalHead(seq=row[0], hash=row[1])

    def check(self, manifest: Manifest, token: str) -> None:
        """Check that a manifest's anchor agrees with everything its key has signed before.

        Raises:
            HistoryForkedError: it does not.
            OSError: the disk failed.
        """
        with self._reading() as reader:
            _check(reader, manifest, statement_sha256(token))

    def record(self, manifest: Manifest, token: str) -> None:
        """Store a manifest's anchor durably; raises as :meth:`check` does."""
        sha256 = statement_sha256(token)
        with self._lock, as_os_error(Path("anchors.db")), transaction(self._db):
            _check(self._db, manifest, sha256)
            self._insert(manifest, sha256)

    def _insert(self, manifest: Manifest, sha256: str) -> None:
        head, previous = manifest.journal, manifest.previous
        self._db.execute(
            "INSERT OR IGNORE INTO anchors VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                manifest.station.kid,
                head.seq,
                head.hash,
                None if previous is None else previous.seq,
                None if previous is None else previous.hash,
                manifest.sealed_at,
                sha256,
            ),
        )

    def _rebuild(self, manifests: Manifests, clock: Clock) -> None:
        """Read the stored manifests; what can't be read now is read at the next start."""
        for statement in _TABLE:
            self._db.execute(statement)
        stations: dict[str, str] = {}
        """Whose key each is, by its manifests."""
        logged = clock.monotonic()
        events.receiver_anchors_rebuilding(manifests=0)
        remaining = iter(manifests)
        while batch := list(islice(remaining, _BATCH)):
            self._insert_all(batch)
            stations.update((one.station.kid, one.station.id) for one, _ in batch)
            if clock.monotonic() - logged >= _LOG_SECONDS:
                logged = clock.monotonic()
                events.receiver_anchors_rebuilding(manifests=manifests.read)
        for kid, seq in self._db.execute(_FORKS).fetchall():
            station = stations.get(kid, "")
            events.receiver_history_forked(station=station, kid=kid, seq=seq, hint=_HINT)
        events.receiver_anchors_rebuilt(manifests=manifests.read, unreadable=manifests.failed)
        if not manifests.failed:
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def _insert_all(self, batch: Iterable[tuple[Manifest, str]]) -> None:
        with transaction(self._db):
            for manifest, sha256 in batch:
                self._insert(manifest, sha256)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._asking, as_os_error(Path("anchors.db")):
            yield self._reader


def _read_through(db: sqlite3.Connection) -> None:
    # SQLite's own quick_check reports intact tables without row ids as damaged (3.40).
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'anchors_by_previous'").fetchone():
        db.execute("SELECT SUM(LENGTH(hash)) FROM anchors").fetchone()
        db.execute(
            "SELECT SUM(previous_seq) FROM anchors INDEXED BY anchors_by_previous"
        ).fetchone()


def _damaged(aside: Path, why: str) -> None:
    events.receiver_anchors_damaged(file=str(aside), detail=why)


def _check(db: sqlite3.Connection, manifest: Manifest, sha256: str) -> None:
    def first(where: str, *arguments: object) -> int | None:
        row = db.execute(
            f"SELECT seq FROM anchors WHERE kid = ? AND {where} LIMIT 1",  # noqa: S608  # literals
            (manifest.station.kid, *arguments),
        ).fetchone()
        return None if row is None else int(row[0])

    if first("seq = ? AND manifest_sha256 = ?", manifest.journal.seq, sha256) is not None:
        return
    if manifest.previous is not None and manifest.previous.seq >= manifest.journal.seq:
        raise _forked(manifest, f"after one at entry {manifest.previous.seq}")
    for where, arguments, why in _contradictions(manifest):
        other = first(where, *arguments)
        if other is not None:
            raise _forked(manifest, f"and one that it signed before names entry {other}: {why}")


def _contradictions(manifest: Manifest) -> Iterator[tuple[str, tuple[object, ...], str]]:
    """Yield what no anchor of the same key may match, as SQL, its arguments and its meaning."""
    head, previous = manifest.journal, manifest.previous
    here = head.seq, head.hash
    yield "seq = ? AND hash != ?", here, "the same entry with different content"
    yield (
        "previous_seq = ? AND previous_hash != ?",
        here,
        "it followed an entry with different content",
    )
    yield "previous_seq < ? AND seq > ?", (head.seq, head.seq), "it claims that none came before it"
    if previous is None:
        # Without a chain, only the order of sealing tells a late arrival from a step back.
        sealed_at = datetime.fromisoformat(manifest.sealed_at)
        if sealed_at - _BEGINNING >= _SIDE_BY_SIDE:
            earlier = timestamp(sealed_at - _SIDE_BY_SIDE)
            yield "seq > ? AND sealed_at <= ?", (head.seq, earlier), "that was sealed earlier"
    else:
        before = previous.seq, previous.hash
        yield "seq = ? AND hash != ?", before, "this one follows different content"
        yield (
            "seq > ? AND seq < ?",
            (previous.seq, head.seq),
            "this one claims that none came before it",
        )


def _forked(manifest: Manifest, why: str) -> HistoryForkedError:
    return HistoryForkedError(
        f"{manifest.station.id} sent a manifest at entry {manifest.journal.seq} of its journal,"
        f" {why}",
        hint=_HINT,
    )
