"""What the receiver knows of each station key's journal: anchors that only grow and never fork.

Every manifest carries the head of its station's journal, and the head in the manifest before
it, so that the anchors of one key form a chain whatever order they arrive in. A station that
was set back to an older state, or goes on twice, signs an anchor that contradicts that chain.

They are kept in ``anchors.db`` (SQLite), which is made anew from the stored manifests where
it is missing.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from dockd.clock import timestamp
from dockd.errors import HistoryForkedError, ManifestRefusedError
from dockd.events import LEFTOVER
from dockd.logs import emit
from dockd.manifest import JournalHead, Manifest, read_unverified_manifest, statement_sha256

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
"""How far the times of clips that were sealed side by side may be from their order."""
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_BATCH = 1000
_HINT = (
    "its ledger was set back, or two stations use one key: give the station a new key; see"
    " docs/operate.md"
)


class Anchors:
    """The anchors of every station key; safe to use from any thread."""

    def __init__(self, store: Path) -> None:
        """Open them.

        Raises:
            OSError: they can't be opened.
        """
        self._lock, self._asking = threading.Lock(), threading.Lock()
        path = store / "anchors.db"
        with _as_os_error(path):
            self._db = _connect(path)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if self._db.execute("PRAGMA user_version").fetchone() == (0,):
                self._rebuild(store)
            # In WAL, who reads doesn't wait for who writes.
            self._reader = _connect(path)

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
        """Check that a manifest's anchor agrees with all that its key has signed before.

        Raises:
            HistoryForkedError: it doesn't.
            OSError: the disk failed.
        """
        with self._reading() as reader:
            _check(reader, manifest, statement_sha256(token))

    def record(self, manifest: Manifest, token: str) -> None:
        """Keep a manifest's anchor durably; raises as :meth:`check` does."""
        sha256 = statement_sha256(token)
        with self._lock, _as_os_error(Path("anchors.db")):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                _check(self._db, manifest, sha256)
                self._insert(manifest, sha256)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

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

    def _rebuild(self, store: Path) -> None:
        """Read the stored manifests; a start that is cut short leaves what it has read so far."""
        for statement in _TABLE:
            self._db.execute(statement)
        manifests = (store / "clips").glob("*/*/*.manifest.jws")
        while batch := list(islice(manifests, _BATCH)):
            self._db.execute("BEGIN IMMEDIATE")
            for path in batch:
                try:
                    token = path.read_text(encoding="ascii", errors="replace")
                    self._insert(read_unverified_manifest(token), statement_sha256(token))
                except (OSError, ManifestRefusedError) as error:
                    emit(LEFTOVER, file=str(path), detail=str(error))
            self._db.execute("COMMIT")
        self._db.execute("PRAGMA user_version = 1")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._asking, _as_os_error(Path("anchors.db")):
            yield self._reader


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


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
            raise _forked(manifest, f"and one that it signed names entry {other}: {why}")


@contextlib.contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error


def _contradictions(manifest: Manifest) -> Iterator[tuple[str, tuple[object, ...], str]]:
    """Yield what no anchor of the same key may be, as SQL, its arguments and its meaning."""
    head, previous = manifest.journal, manifest.previous
    here = head.seq, head.hash
    yield "seq = ? AND hash != ?", here, "the same with another content"
    yield "previous_seq = ? AND previous_hash != ?", here, "it followed another content"
    yield "previous_seq < ? AND seq > ?", (head.seq, head.seq), "it says that none came before it"
    if previous is None:
        # Without a chain, only the order of sealing tells a late arrival from a step back.
        sealed_at = datetime.fromisoformat(manifest.sealed_at)
        if sealed_at - _BEGINNING >= _SIDE_BY_SIDE:
            earlier = timestamp(sealed_at - _SIDE_BY_SIDE)
            yield "seq > ? AND sealed_at <= ?", (head.seq, earlier), "that was sealed before"
    else:
        before = previous.seq, previous.hash
        yield "seq = ? AND hash != ?", before, "this follows another content"
        yield "seq > ? AND seq < ?", (previous.seq, head.seq), "this says that none came before it"


def _forked(manifest: Manifest, why: str) -> HistoryForkedError:
    return HistoryForkedError(
        f"{manifest.station.id} brings a manifest at entry {manifest.journal.seq} of its journal,"
        f" {why}",
        hint=_HINT,
    )
