"""``dockd run`` that notes what its event loop asks of a disk, and where; nothing should."""

import asyncio
import builtins
import contextlib
import io
import os
import stat
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import dockd
from dockd.station import daemon
from dockd.station.app import Seams
from dockd.station.ledger.database import Database
from dockd.station.ledger.ledger import Ledger

_SOURCE = str(Path(dockd.__file__).parent)
_CALLS = (
    *("access", "chmod", "fdatasync", "fstat", "fsync", "fstatvfs", "ftruncate", "link"),
    *("listdir", "lstat", "mkdir", "open", "pread", "pwrite", "read", "readlink", "readv"),
    *("rename", "replace", "rmdir", "scandir", "stat", "statvfs", "symlink", "sync"),
    *("truncate", "unlink", "utime", "write"),
)


def _on_the_loop() -> bool:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop().is_running()
    return False


def _stack() -> list[str]:
    """Where dockd is, innermost first."""
    frames = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_SOURCE):
            where = frame.f_code.co_filename.removeprefix(f"{_SOURCE}/")
            frames.append(f"{where}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return frames


def _is_a_disks(arguments: Sequence[object]) -> bool:
    """Say whether a call is about a file or a folder, and not a pipe or a socket."""
    if not arguments or not isinstance(arguments[0], int):
        return True
    mode = _fstat(arguments[0]).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _noted(what: str) -> None:
    if _on_the_loop() and (stack := _stack()):
        _write(NOTES, f"{what}: {' < '.join(stack[:4])}\n".encode())


def _guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*arguments: Any, **keywords: Any) -> Any:
        if _is_a_disks(arguments) and arguments[:1] != ("/proc/self/mountinfo",):
            _noted(f"{call.__name__} {arguments[:1]}")
        return call(*arguments, **keywords)

    return guarded


_write, _fstat = os.write, os.fstat


class GuardedDatabase(Database):
    """A database whose every statement is noted that is not on a thread."""

    def reading(self) -> Any:
        _noted("the ledger's reading")
        return super().reading()

    def transaction(self) -> Any:
        _noted("the ledger's transaction")
        return super().transaction()

    def close(self) -> None:
        """Close it, which may write."""
        _noted("the ledger's end")
        super().close()


def main(config: str) -> int:
    """Run the station, and write a line for each call of a disk on its loop."""
    for name in _CALLS:
        setattr(os, name, _guarded(getattr(os, name)))
    for module in (builtins, io):
        module.open = _guarded(module.open)  # type: ignore[attr-defined]
    return daemon.run(Path(config), Seams(ledger=partial(Ledger, database=GuardedDatabase)))


if __name__ == "__main__":
    NOTES = os.open(sys.argv[2], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    sys.exit(main(sys.argv[1]))
