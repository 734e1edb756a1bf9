"""``dockd run`` on disks that never answer: ``python -m tests.station.hanging CONFIG WHAT``.

WHAT is ``camera``, where every reading of a file called ``hangs.mp4`` hangs, ``ledger``, where it
is the entry of a spooled clip, ``spool``, where it is the question for its free space by what
takes clips in, or ``status``, where it is the same question by what shows the station's status.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dockd.base.clock import Clock
from dockd.base.randomness import Randomness
from dockd.host.files import Files
from dockd.station import daemon
from dockd.station.app import Seams
from dockd.station.ledger.ingests import Ingests
from dockd.station.ledger.ledger import Ledger

_readv = os.readv


def _hang() -> None:
    threading.Event().wait()


def _readv_or_hang(fd: int, buffers: Sequence[Any], /) -> int:
    if Path(f"/proc/self/fd/{fd}").readlink().name == "hangs.mp4":
        _hang()
    return _readv(fd, buffers)


class HangingIngests(Ingests):
    """Ingests of a ledger whose disk hangs at the first spooled clip."""

    def spooled(self, *_: Any) -> None:
        with self._db.lock:
            _hang()


def _hanging(path: Path, clock: Clock, randomness: Randomness) -> Ledger:
    ledger = Ledger(path, clock, randomness)
    ledger.ingests = HangingIngests(
        ledger.database, ledger.journal, ledger.queries, ledger.clips, clock
    )
    return ledger


class HangingSpool(Files):
    """A spool's disk that hangs when it is asked for its free space, and says so by a file."""

    def __init__(self, told: Path, *, asked_by_status: bool) -> None:
        self._told = told
        self._asked_by_status = asked_by_status

    def free_bytes(self, folder: Path) -> int:
        if threading.current_thread().name.startswith("control") == self._asked_by_status:
            self._told.touch()
            _hang()
        return super().free_bytes(folder)


if __name__ == "__main__":
    config, what = sys.argv[1:]
    seams = Seams()
    if what == "camera":
        os.readv = _readv_or_hang  # type: ignore[assignment]
    else:
        daemon._STOP_SECONDS = daemon._LEAVE_SECONDS = 1.0
    if what == "ledger":
        seams.ledger = _hanging
    elif what != "camera":
        told = Path(config).with_name("hangs")
        seams.files = HangingSpool(told, asked_by_status=what == "status")
    sys.exit(daemon.main(Path(config), seams))
