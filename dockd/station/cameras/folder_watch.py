"""Watches folders by inotify, or by polling where inotify is exhausted."""

import asyncio
import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent
from watchdog.events import FileSystemEventHandler as EventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from dockd.base.errors import SourceError
from dockd.base.incidents import Incidents
from dockd.station import events

_POLL_EVERY = 2.0
_POLL_INSTEAD_EVERY = 10.0
"""Seconds between polls where inotify is exhausted: there may be many such folders."""
_NO_WATCH = (OSError, RuntimeError)
"""Too many inotify watches or instances, descriptors or threads."""
_SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
_NO_ROOM = (
    'raise fs.inotify.max_user_instances and max_user_watches (sysctl), or set watch = "polling"'
)
_SHUT = "make sure that the user dockd may read all of its subfolders; see dockd check"


class Unwatched:
    """The folders that inotify can't watch, reported once for all of them."""

    def __init__(self, incidents: Incidents) -> None:
        self._folders: set[str] = set()
        self._incidents = incidents.scope("unwatched")

    def add(self, camera: str, error: Exception) -> None:
        """Record that a folder is polled instead."""
        self._folders.add(camera)
        reason, hint = str(error), _NO_ROOM
        if isinstance(error, OSError):
            reason = error.strerror or reason
            hint = hint if error.errno in _SHORT_OF else _SHUT
        short = SourceError(f"{camera} is polled: {reason}", hint=hint)
        polled = events.folder_polled(camera=camera, folders=len(self._folders))
        self._incidents.failed(polled, short)

    def remove(self, camera: str) -> None:
        """Record that a folder is no longer docked."""
        if camera in self._folders:
            self._folders.remove(camera)
            if not self._folders:
                self._incidents.recovered(events.folder_polled)


def start_watch(
    path: Path,
    changed: asyncio.Event,
    loop: asyncio.AbstractEventLoop,
    no_room: Callable[[Exception], None],
    *,
    polls: bool,
) -> BaseObserver | None:
    """Start a watch, by polling on request or if inotify fails; blocks.

    None: only the regular scans detect changes.

    Args:
        path: the folder.
        changed: set on the event loop at every change.
        loop: the event loop.
        no_room: called on the event loop with inotify's error.
        polls: whether to poll without trying inotify.
    """
    hints = _Hints(changed, loop)
    if not polls:
        try:
            return _started(Observer(), path, hints)
        except _NO_WATCH as error:
            loop.call_soon_threadsafe(no_room, error)
    every = _POLL_EVERY if polls else _POLL_INSTEAD_EVERY
    try:
        return _started(PollingObserver(timeout=every), path, hints)
    except _NO_WATCH:
        return None


def end_watch(observer: BaseObserver) -> None:
    """End a watch and wait until its thread has ended; blocks."""
    observer.stop()
    observer.join()


class _Hints(EventHandler):
    """Forwards the watch's events from its thread to the event loop."""

    def __init__(self, changed: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self._changed = changed
        self._loop = loop

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in {"opened", "closed_no_write"}:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon is shutting down
            self._loop.call_soon_threadsafe(self._changed.set)


def _started(observer: BaseObserver, path: Path, hints: _Hints) -> BaseObserver:
    """Start an observer of a folder, and end it on failure."""
    try:
        observer.schedule(hints, str(path), recursive=True)
        observer.start()
    except BaseException:
        with contextlib.suppress(RuntimeError):  # its thread was not started
            end_watch(observer)
        raise
    return observer
