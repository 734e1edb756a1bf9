"""``dockd run`` on disks that never answer: ``python -m tests.station.hanging CONFIG WHAT``.

WHAT is ``camera``, where every reading of a file called ``hangs.mp4`` hangs, or ``ledger``,
where it is the entry of a spooled clip.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dockd import daemon
from dockd.ledger import Ledger
from dockd.station import Seams

_readv = os.readv


def _hang() -> None:
    threading.Event().wait()


def _readv_or_hang(fd: int, buffers: Sequence[Any], /) -> int:
    if Path(f"/proc/self/fd/{fd}").readlink().name == "hangs.mp4":
        _hang()
    return _readv(fd, buffers)


class HangingLedger(Ledger):
    """A ledger whose disk hangs at the first spooled clip."""

    def spooled(self, *_: Any) -> None:
        with self._lock:
            _hang()


if __name__ == "__main__":
    config, what = sys.argv[1:]
    seams = Seams()
    if what == "camera":
        os.readv = _readv_or_hang  # type: ignore[assignment]
    else:
        seams.ledger = HangingLedger
        daemon._STOP_SECONDS = 1.0
    sys.exit(daemon.run(Path(config), seams))
