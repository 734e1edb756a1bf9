"""Kills a process at the N-th step that matters, for every N.

A process under test makes :class:`Crossings` from its environment, works on
:class:`CrashingFiles`, and calls ``cross`` around whatever else must survive, such as a
request. ``DOCKD_CRASH_AT`` says at which crossing it kills itself, ``DOCKD_CRASH_LOG``
names a file to which the name of each crossing is appended.
"""

import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dockd.host.files import Files


class Crossings:
    """Counts the steps of a process, and ends it with SIGKILL at one of them."""

    def __init__(self, at: int = 0, log: Path | None = None) -> None:
        self._at = at
        self._log = log
        self._count = 0
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls) -> "Crossings":
        """Read where to crash; nowhere, if nothing is set."""
        log = os.environ.get("DOCKD_CRASH_LOG")
        return cls(int(os.environ.get("DOCKD_CRASH_AT", "0")), Path(log) if log else None)

    def cross(self, name: str) -> None:
        """Take a step; the process may end here."""
        with self._lock:
            self._count += 1
            if self._log is not None:
                with self._log.open("a") as log:
                    log.write(f"{self._count}\t{name}\n")
            if self._count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Cross before and after something."""
        self.cross(f"before {name}")
        yield
        self.cross(f"after {name}")


class CrashingFiles(Files):
    """File operations with a crossing before and after each durable step."""

    def __init__(self, crossings: Crossings) -> None:
        self._crossings = crossings

    def create(self, path: Path) -> int:
        with self._crossings.around(f"create {_kind(path)}"):
            return super().create(path)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        with self._crossings.around(f"write {_open_file(fd)}"):
            super().write(fd, data)

    def write_at(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        with self._crossings.around(f"write_at {_open_file(fd)}"):
            return super().write_at(fd, buffers, offset)

    def truncate(self, fd: int, size: int) -> None:
        with self._crossings.around(f"truncate {_open_file(fd)}"):
            super().truncate(fd, size)

    def fsync(self, fd: int) -> None:
        with self._crossings.around(f"fsync {_open_file(fd)}"):
            super().fsync(fd)

    def fsync_folder(self, folder: Path) -> None:
        with self._crossings.around(f"fsync_folder {_kind(folder)}"):
            super().fsync_folder(folder)

    def make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        with self._crossings.around(f"make_folder {_kind(folder)}"):
            super().make_folder(folder)

    def publish(self, part: Path, final: Path) -> None:
        with self._crossings.around(f"publish {_kind(final)}"):
            super().publish(part, final)

    def remove(self, path: Path) -> None:
        with self._crossings.around(f"remove {_kind(path)}"):
            super().remove(path)

    def unlink_at(self, folder_fd: int, name: bytes) -> None:
        with self._crossings.around(f"unlink_at {_kind(os.fsdecode(name))}"):
            super().unlink_at(folder_fd, name)

    def rename_at(
        self, folder_fd: int, name: bytes, new_name: bytes, *, durably: bool = True
    ) -> None:
        with self._crossings.around(f"rename_at {_kind(os.fsdecode(new_name))}"):
            super().rename_at(folder_fd, name, new_name, durably=durably)


def _open_file(fd: int) -> str:
    return _kind(Path(f"/proc/self/fd/{fd}").readlink())


def _kind(path: Path | str) -> str:
    """Return a file's name without what differs from run to run."""
    return re.sub(r"\b([0-9a-f]{2}|[0-9a-f]{8,})\b", "*", Path(path).name)
