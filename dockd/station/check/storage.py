"""Ledger, spool and their disks."""

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dockd.base.errors import JournalBrokenError, LedgerError
from dockd.base.findings import Findings, error, failure, ok, warning
from dockd.base.sizes import shown_size
from dockd.host.users import as_user, can_be
from dockd.station.check.subject import Subject
from dockd.station.ledger.ledger import Ledger

_MIB = 2**20
_RUN_AS_SERVICE = "run dockd check as root, or as the user whom the service runs as"


def check_ledger(subject: Subject) -> Findings:
    """Check the whole ledger: SQLite's integrity check, then the journal's chain."""
    path, state = subject.config.ledger_path, subject.config.station.state
    if not os.access(state, os.F_OK):
        yield ok(f"there is no {state} yet; the first start creates it")
        return
    if not os.access(state, os.R_OK | os.X_OK):
        yield warning(f"{state} can't be read", _RUN_AS_SERVICE)
        return
    yield from _writable(subject, state, _files(state))
    if not path.exists():
        yield ok(f"there is no {path} yet; the first start creates it")
        return
    try:
        ledger = Ledger(path, subject.machine.clock, read_only=True)
    except LedgerError as problem:
        yield failure(problem)
        return
    try:
        if faults := ledger.database.faults():
            yield error(
                f"{path} is damaged: {'; '.join(faults)}",
                "stop dockd, keep the file, and restore the latest backup: see docs/operate.md",
            )
            return
        head = ledger.journal.verify()
        yield ok(f"{path} is intact, and so is the journal's chain of {head.seq} entries")
    except JournalBrokenError as problem:
        yield failure(problem, "see docs/operate.md, The journal is broken")
    except LedgerError as problem:
        yield failure(problem)
    finally:
        ledger.close()


def check_spool(subject: Subject) -> Findings:
    """Check that ciphertext can be written, and that the disk has space for the budget."""
    config = subject.config
    folder = config.spool_folder
    try:
        files = _files(folder) if folder.is_dir() else {}
        sizes = [status.st_size for path, status in files.items() if path.suffix == ".age"]
        place = folder if folder.is_dir() else _existing(folder)
        free = subject.machine.files.free_bytes(place)
    except PermissionError as refused:
        yield warning(f"{refused.filename} can't be read", _RUN_AS_SERVICE)
        return
    yield from _writable(subject, place, files)
    used = sum(sizes)
    budget, reserve = config.spool.budget, config.spool.reserve
    said = (
        f"{len(sizes)} clips, {shown_size(used)} of {shown_size(budget)}; {shown_size(free)} free"
    )
    if free <= reserve:
        yield error(
            f"{folder}: the disk is full ({said}; {shown_size(reserve)} stay in reserve)",
            "free disk space, or check why uploads are slow; ingest waits",
        )
    elif used >= budget:
        yield error(
            f"{folder}: the budget is exhausted ({said})",
            "check why uploads are slow, or raise spool.budget; ingest waits",
        )
    elif used + free - reserve < budget:
        yield warning(
            f"{folder}: the disk is full before the budget is exhausted ({said})",
            "free disk space, or lower spool.budget to what is available",
        )
    else:
        yield ok(f"{folder}: {said}")


def _existing(folder: Path) -> Path:
    """Return the nearest existing parent of a folder."""
    return next(parent for parent in folder.parents if parent.is_dir())


def _files(folder: Path) -> dict[Path, os.stat_result]:
    """Return the files of a folder, without those that the daemon removes meanwhile."""
    files = {}
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                files[path] = status
    return files


def _writable(subject: Subject, folder: Path, files: Mapping[Path, os.stat_result]) -> Findings:
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        yield error(
            f"{folder} is on a file system that is mounted read-only",
            "check dmesg for disk errors, then mount it read-write",
        )
        return
    shut = _shut(subject, {folder: folder.stat(), **files})
    if shut:
        more = f" and {len(shut) - 1} more" if len(shut) > 1 else ""
        yield error(
            f"{shut[0]}{more} can't be written by the service's user {subject.uid}",
            f"chown -R {subject.uid} {folder}; chmod -R u=rwX,go= {folder}",
        )


def _shut(subject: Subject, files: Mapping[Path, os.stat_result]) -> list[Path]:
    """Return the files and folders that the service's user can't write."""
    if can_be(subject.uid):
        # The kernel knows better than the modes: of access lists, of the folders above.
        denied = as_user(
            subject.uid, lambda: [path for path in files if not os.access(path, os.R_OK | os.W_OK)]
        )
        return [path for path in denied if path.exists()]
    return [path for path, status in files.items() if not _may_write(subject.uid, status)]


def _may_write(uid: int, status: os.stat_result) -> bool:
    needed = stat.S_IRWXU if stat.S_ISDIR(status.st_mode) else stat.S_IRUSR | stat.S_IWUSR
    return status.st_uid == uid and status.st_mode & needed == needed
