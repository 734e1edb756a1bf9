"""Detects that another folder may be at a path: mounted over, moved or replaced."""

import asyncio
import contextlib
import ctypes
import os
import select
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

_MOUNTINFO = "/proc/self/mountinfo"
_SELF = 0x400 | 0x800 | 0x2000
"""IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT."""
_NAMES = 0x40 | 0x80 | 0x100 | 0x200
"""IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE."""
_IN_ONLYDIR, _IN_MASK_ADD = 0x01000000, 0x20000000
_READ = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class Places:
    """Watches docked folders; without a watch, only regular checks detect changes."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set, and then replaced, whenever a folder may have been replaced."""
        self._inotify = -1
        self._lock = threading.Lock()
        self._watches: Counter[int] = Counter()
        """The number of users of each watch."""

    async def run(self) -> None:
        """Follow mounts and moves until cancelled."""
        loop = asyncio.get_running_loop()
        with _mounts() as mounts, _inotify() as inotify:
            self._begin(inotify)
            loop.add_reader(mounts.fileno(), self._mounted, mounts)
            if inotify >= 0:
                loop.add_reader(inotify, self._moved)
            self._notify()  # folders docked before must be checked
            try:
                await asyncio.Event().wait()
            finally:
                self._begin(-1)
                loop.remove_reader(mounts.fileno())
                if inotify >= 0:
                    loop.remove_reader(inotify)

    def watch(self, folder: Path) -> Callable[[], None]:
        """Watch a folder itself, not its content; returns a function that ends this. Blocks.

        A folder that can't be watched is no error.
        """
        inotify = self._inotify
        watches = [self._add(inotify, folder, _SELF), self._add(inotify, folder.parent, _NAMES)]

        def end() -> None:
            for watch in watches:
                self._remove(inotify, watch)

        return end

    def _add(self, inotify: int, folder: Path, mask: int) -> int:
        if inotify < 0:
            return -1
        mask |= _IN_ONLYDIR | _IN_MASK_ADD
        watch = int(_libc.inotify_add_watch(inotify, os.fsencode(folder), mask))
        with self._lock:
            if watch < 0 or inotify != self._inotify:
                return -1
            self._watches[watch] += 1  # folders may have the same parent
            return watch

    def _remove(self, inotify: int, watch: int) -> None:
        with self._lock:
            if watch < 0 or inotify != self._inotify:
                return
            self._watches[watch] -= 1
            if not self._watches[watch]:
                del self._watches[watch]
                _libc.inotify_rm_watch(inotify, watch)

    def _begin(self, inotify: int) -> None:
        with self._lock:
            self._inotify = inotify
            self._watches.clear()

    def _mounted(self, mounts: select.epoll) -> None:
        mounts.poll(0)
        self._notify()

    def _moved(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._inotify, _READ)
        self._notify()

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


@contextlib.contextmanager
def _mounts() -> Iterator[select.epoll]:
    """Yield a poll object that is ready after every mount or unmount, see proc(5)."""
    with open(_MOUNTINFO, "rb") as mountinfo, select.epoll() as mounts:  # noqa: PTH123
        mounts.register(mountinfo.fileno(), select.EPOLLPRI)
        mounts.poll(0)
        yield mounts


@contextlib.contextmanager
def _inotify() -> Iterator[int]:
    """Yield an inotify instance, -1 if this user has too many."""
    inotify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield inotify
    finally:
        if inotify >= 0:
            os.close(inotify)
