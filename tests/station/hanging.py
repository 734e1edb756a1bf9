"""``dockd run`` for which every reading of a file called ``hangs.mp4`` never returns."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dockd import daemon

_readv = os.readv


def _readv_or_hang(fd: int, buffers: Sequence[Any], /) -> int:
    if Path(f"/proc/self/fd/{fd}").readlink().name == "hangs.mp4":
        threading.Event().wait()
    return _readv(fd, buffers)


if __name__ == "__main__":
    os.readv = _readv_or_hang  # type: ignore[assignment]
    sys.exit(daemon.run(Path(sys.argv[1])))
