"""The SQLite file under the ledger: its connection, durability and migrations."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from dockd.base.errors import LedgerError, LedgerVersionError
from dockd.station.ledger.schema import MIGRATIONS, view_of_clips


class Database:
    """A connection that any thread may use, one transaction at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open it, creating or migrating it as needed.

        Args:
            path: the file.
            read_only: change nothing; the file must exist.

        Raises:
            LedgerError: it can't be opened; LedgerVersionError: a newer dockd wrote it.
        """
        self.read_only = read_only
        self.lock = threading.RLock()
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
        with self.reading():
            version = self._version(path)
            if read_only and (view := view_of_clips(version)):
                self._db.execute(view)
        if not read_only and version < len(MIGRATIONS):
            self._migrate(path)

    def close(self) -> None:
        """Close the database."""
        with self.lock:
            self._db.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock while something is read.

        Raises:
            LedgerError: SQLite failed.
        """
        with self.lock:
            try:
                yield
            except sqlite3.Error as error:
                raise _explained(error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes durable together, or none.

        Raises:
            LedgerError: SQLite failed; nothing has changed.
        """
        with self.lock:
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

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement, inside a transaction or while the lock is held."""
        return self._db.execute(statement, values)

    def paged(self, query: str, after: int = 0) -> Iterator[sqlite3.Row]:
        """Yield a query's rows after a key, its first column; the lock is free between pages."""
        while True:
            with self.reading():
                rows = self._db.execute(f"{query} LIMIT 1000", (after,)).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

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
        with self.transaction():
            for statements in MIGRATIONS[self._version(path) :]:
                for statement in statements:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def faults(self) -> list[str]:
        """Return what SQLite finds wrong with the file, at most ten faults; blocks.

        Raises:
            LedgerError: it can't be read.
        """
        with self.reading():
            rows = self._db.execute("PRAGMA integrity_check(10)").fetchall()
        return [row[0] for row in rows if row[0] != "ok"]


def _explained(error: sqlite3.Error) -> LedgerError:
    return LedgerError(str(error), hint="check the disk that holds the ledger; dockd retries")
