"""How the index opens its SQLite databases, and what becomes of a damaged one."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from dockd.base.randomness import Randomness

Check = Callable[[sqlite3.Connection], None]
"""Reads through whatever a database holds; an error shows that it is damaged."""


def opened(
    path: Path, randomness: Randomness, check: Check, damaged: Callable[[Path, str], None]
) -> sqlite3.Connection:
    """Open a database; a damaged one is set aside and replaced by an empty one.

    Args:
        path: the database.
        randomness: makes the name of a damaged one.
        check: reads it through.
        damaged: reports where a damaged one was put, and why.

    Raises:
        sqlite3.OperationalError: the disk failed.
    """
    try:
        return _intact(path, check)
    except sqlite3.OperationalError:
        raise  # the disk, not what is on it
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.{randomness.hex(8)}.damaged")
        # The write-ahead log first: it would be taken for that of the new database.
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        damaged(aside, str(error))
        return _intact(path, check)


def connect(path: Path) -> sqlite3.Connection:
    """Connect to a database, without implicit transactions, for use from any thread."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done within, or undo it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def as_os_error(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as those of a disk."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error


def _intact(path: Path, check: Check) -> sqlite3.Connection:
    db = connect(path)
    try:
        path.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        check(db)
    except BaseException:
        db.close()
        raise
    return db
