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
from pathlib import Path

from dockd.errors import HistoryForkedError, ManifestRefusedError
from dockd.manifest import JournalHead, Manifest, read_unverified_manifest, statement_sha256

_TABLE = """
CREATE TABLE anchors (
    kid TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    previous_seq INTEGER,
    previous_hash TEXT,
    sealed_at TEXT NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    PRIMARY KEY (kid, seq, manifest_sha256)
) STRICT, WITHOUT ROWID
"""
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
        self._lock = threading.Lock()
        path = store / "anchors.db"
        with _as_os_error(path):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if self._db.execute("PRAGMA user_version").fetchone() == (0,):
                self._rebuild(store)

    def close(self) -> None:
        """Close them."""
        with self._lock:
            self._db.close()

    def newest(self, kid: str) -> JournalHead | None:
        """Return the newest anchor of a key, if it has one.

        Raises:
            OSError: the disk failed.
        """
        with self._reading():
            row = self._db.execute(
                "SELECT seq, hash FROM anchors WHERE kid = ? ORDER BY seq DESC LIMIT 1", (kid,)
            ).fetchone()
        return None if row is None else JournalHead(seq=row[0], hash=row[1])

    def check(self, manifest: Manifest, token: str) -> None:
        """Check that a manifest's anchor agrees with all that its key has signed before.

        Raises:
            HistoryForkedError: it doesn't.
            OSError: the disk failed.
        """
        with self._reading():
            self._check(manifest, statement_sha256(token))

    def record(self, manifest: Manifest, token: str) -> None:
        """Keep a manifest's anchor durably; raises as :meth:`check` does."""
        sha256 = statement_sha256(token)
        with self._reading():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check(manifest, sha256)
                self._insert(manifest, sha256)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _check(self, manifest: Manifest, sha256: str) -> None:
        kid, head = manifest.station.kid, manifest.journal
        if self._first("kid = ? AND seq = ? AND manifest_sha256 = ?", kid, head.seq, sha256):
            return
        if manifest.previous is not None and manifest.previous.seq >= head.seq:
            raise _forked(manifest, f"after one at entry {manifest.previous.seq}")
        for where, arguments, why in _contradictions(manifest):
            other = self._first(f"kid = ? AND {where}", kid, *arguments)
            if other is not None:
                raise _forked(manifest, f"and one that it signed names entry {other}: {why}")

    def _first(self, where: str, *arguments: object) -> int | None:
        row = self._db.execute(
            f"SELECT seq FROM anchors WHERE {where} LIMIT 1",  # noqa: S608  # literals
            arguments,
        ).fetchone()
        return None if row is None else int(row[0])

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
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(_TABLE)
        for path in (store / "clips").glob("*/*/*.jws"):
            token = path.read_text(encoding="ascii", errors="replace")
            with contextlib.suppress(ManifestRefusedError):  # receipts lie beside them
                self._insert(read_unverified_manifest(token), statement_sha256(token))
        self._db.execute("PRAGMA user_version = 1")
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, _as_os_error(Path("anchors.db")):
            yield


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
        yield "seq > ? AND sealed_at <= ?", (head.seq, manifest.sealed_at), "that was sealed before"
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
