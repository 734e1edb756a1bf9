"""Where in the statement log each receipt is, and which ones still have to be entered.

They are kept in ``log.db`` (SQLite). If it is missing or damaged, what is to be entered is found
in the store, and positions in the log itself.
"""

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import count, islice
from pathlib import Path

from dockd.base.randomness import Randomness
from dockd.evidence.statements import Manifest
from dockd.receiver import events
from dockd.receiver.index.sqlite import as_os_error, opened, transaction

_TABLES = (
    "CREATE TABLE IF NOT EXISTS positions (receipt_sha256 TEXT PRIMARY KEY, position INTEGER"
    " NOT NULL UNIQUE) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS expected (manifest_sha256 TEXT PRIMARY KEY, clip_id TEXT NOT NULL)"
    " STRICT, WITHOUT ROWID",
)
_VERSION = 1
_BATCH = 1000

Expected = tuple[str, str]
"""The SHA-256 of a manifest whose receipt is to be entered, and its clip id."""


class Positions:
    """What is known of the log's entries; safe to use from any thread."""

    def __init__(
        self,
        path: Path,
        manifests: Callable[[], Iterable[tuple[Manifest, str]]],
        randomness: Randomness | None = None,
    ) -> None:
        """Open them; if there are none, each stored manifest's receipt is expected.

        Args:
            path: the database.
            manifests: begins a walk through all stored manifests, with their digests.
            randomness: makes the name of a damaged database.

        Raises:
            OSError: they can't be opened.
        """
        self._path = path
        self._lock = threading.Lock()
        with as_os_error(path):
            self._db = opened(path, randomness or Randomness(), _read_through, _damaged)
            if self._db.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
                for statement in _TABLES:
                    self._db.execute(statement)
                remaining = iter(manifests())
                while batch := list(islice(remaining, _BATCH)):
                    with transaction(self._db):
                        for manifest, sha256 in batch:
                            self._expect(sha256, manifest.clip_id)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close them."""
        with self._lock:
            self._db.close()

    def expect(self, manifest_sha256: str, clip_id: str) -> None:
        """Note durably that a manifest's receipt is to be entered, before it is signed.

        Raises:
            OSError: the disk failed.
        """
        with self._lock, as_os_error(self._path):
            self._expect(manifest_sha256, clip_id)

    def expected(self, after: str, most: int) -> list[Expected]:
        """Return receipts that are to be entered; some may never have been signed.

        Args:
            after: the manifest's SHA-256 that they follow, in order; none at first.
            most: how many.

        Raises:
            OSError: the disk failed.
        """
        with self._lock, as_os_error(self._path):
            return self._db.execute(
                "SELECT manifest_sha256, clip_id FROM expected WHERE manifest_sha256 > ?"
                " ORDER BY manifest_sha256 LIMIT ?",
                (after, most),
            ).fetchall()

    def settle(self, manifests: Collection[str]) -> None:
        """Note that nothing of some manifests is to be entered any more.

        Raises:
            OSError: the disk failed.
        """
        with self._lock, as_os_error(self._path), transaction(self._db):
            self._settle(manifests)

    def enter(self, receipts: Sequence[str], first: int, settled: Collection[str] = ()) -> None:
        """Note that receipts are in the log, one after the other.

        Args:
            receipts: the SHA-256 of each.
            first: the position of the first one.
            settled: manifests of which nothing more is to be entered.

        Raises:
            OSError: the disk failed.
        """
        with self._lock, as_os_error(self._path), transaction(self._db):
            self._db.executemany(
                "INSERT OR IGNORE INTO positions VALUES (?, ?)",
                zip(receipts, count(first), strict=False),
            )
            self._settle(settled)

    @property
    def size(self) -> int:
        """How many of the log's entries are known.

        Raises:
            OSError: the disk failed.
        """
        with self._lock, as_os_error(self._path):
            newest = self._db.execute("SELECT MAX(position) FROM positions").fetchone()[0]
        return 0 if newest is None else newest + 1

    def position(self, receipt_sha256: str) -> int | None:
        """Return where a receipt is in the log; None if it isn't there yet.

        Raises:
            OSError: the disk failed.
        """
        with self._lock, as_os_error(self._path):
            row = self._db.execute(
                "SELECT position FROM positions WHERE receipt_sha256 = ?", (receipt_sha256,)
            ).fetchone()
        return None if row is None else int(row[0])

    def _expect(self, manifest_sha256: str, clip_id: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO expected VALUES (?, ?)", (manifest_sha256, clip_id))

    def _settle(self, manifests: Collection[str]) -> None:
        self._db.executemany(
            "DELETE FROM expected WHERE manifest_sha256 = ?", [(one,) for one in manifests]
        )


def _read_through(db: sqlite3.Connection) -> None:
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'expected'").fetchone():
        db.execute("SELECT SUM(position) FROM positions").fetchone()
        db.execute("SELECT SUM(LENGTH(clip_id)) FROM expected").fetchone()


def _damaged(aside: Path, why: str) -> None:
    events.receiver_positions_damaged(file=str(aside), detail=why)
