"""The daemon's process: starts a station, answers signals, talks to systemd."""

import asyncio
import contextlib
import os
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dockd.base.errors import ConfigError, explained
from dockd.base.logs import configure as configure_logs
from dockd.base.logs import last_words
from dockd.base.threads import left_behind
from dockd.host.memory import keep_buffers
from dockd.host.notify import Notifier
from dockd.station import config as configuration
from dockd.station import events
from dockd.station.app import Seams, Station
from dockd.station.config import Config

_STOP_SECONDS = 20.0
"""Seconds that a stop may take; after them it is a crash, which the next start makes up for."""
_LEAVE_SECONDS = 5.0
"""Seconds that threads which nobody waits for any more may take to return."""
_START_AGAIN = 75
"""The exit code where a reload was cut short: systemd starts the daemon, and so reloads it."""
_THREADS = 64
"""Blocking calls at once: ingests, disk and ledger, with room to spare."""


def main(config_path: Path, seams: Seams | None = None) -> int:
    """Run the daemon as this process, which ends then whatever hangs; see ``run``."""
    code = run(config_path, seams)
    if left_behind():
        os._exit(code)  # Python would wait for what may never return
    _Deadline(_LEAVE_SECONDS).begin(code)
    return code


def run(config_path: Path, seams: Seams | None = None) -> int:
    """Run the daemon until it is told to stop.

    Returns:
        The exit code; an error has been logged.

    Raises:
        ConfigError: the configuration has mistakes.
    """
    try:
        config = configuration.load(config_path)
    except ConfigError as error:
        configure_logs()
        events.daemon_failed(error)
        last_words()
        raise
    configure_logs(level=config.log.level, style=config.log.style)
    keep_buffers()
    _allow_descriptors()
    deadline = _Deadline(_STOP_SECONDS)
    try:
        return asyncio.run(_run(config_path, config, seams or Seams(), deadline))
    finally:
        deadline.over()
        last_words()


def _allow_descriptors() -> None:
    """Raise the limit of open files to what is allowed: watches of many folders take some each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(config_path: Path, config: Config, seams: Seams, deadline: "_Deadline") -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    try:
        await _work(config_path, config, seams, _Signals(loop, deadline))
    except Exception as error:  # noqa: BLE001  # the boundary of the daemon
        failure = explained(error)
        events.daemon_failed(failure)
        # asyncio waits for the threads of what was given up.
        deadline.begin(failure.exit_code)
        return failure.exit_code
    return 0


async def _work(config_path: Path, config: Config, seams: Seams, signals: "_Signals") -> None:
    notifier = Notifier()
    proven: Config | None = None
    made: Station | None = None
    while True:
        try:
            made = await asyncio.to_thread(Station, config, seams)
            station = asyncio.create_task(made.run(notifier))
            changed = await _supervise(station, signals, config_path, notifier)
        except Exception as error:
            if proven is None or (made is not None and made.works):
                raise
            # What only shows at work, such as a folder that can't be used.
            events.config_refused(explained(error))
            config, proven, made = proven, None, None
            continue
        if changed is None:
            events.daemon_stopped()
            return
        config, proven, made = changed, config, None
        configure_logs(level=config.log.level, style=config.log.style)
        events.config_reloaded()


async def _supervise(
    station: asyncio.Task[None], signals: "_Signals", config_path: Path, notifier: Notifier
) -> Config | None:
    """Let a station work until a stop, or until a changed configuration, which is returned.

    Raises:
        DockdError, or whatever nobody foresaw: the station could not start.
    """
    while True:
        told = asyncio.create_task(signals.told.wait())
        await asyncio.wait({station, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if station.done():
            station.result()
        signals.told.clear()
        if signals.stop is not None:
            events.daemon_stopping(signal=signals.stop)
            notifier.stopping()
            await _end(station)
            return None
        try:
            changed = await asyncio.to_thread(configuration.load, config_path)
            await asyncio.to_thread(Station, changed)
        except Exception as error:  # noqa: BLE001  # a file that is to come ends no work
            events.config_refused(explained(error))
            continue
        notifier.reloading()
        signals.deadline.begin(_START_AGAIN)
        await _end(station)
        if signals.stop is None:
            signals.deadline.over()
        return changed


async def _end(station: asyncio.Task[None]) -> None:
    station.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await station


class _Deadline:
    """Ends the process as in a crash where a stop takes too long: a disk may never answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._code = 0
        self._timer: threading.Timer | None = None

    def begin(self, code: int) -> None:
        """Give a stop its time, if one has not begun; the last exit code counts."""
        self._code = code
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._cut_short)
            self._timer.daemon = True
            self._timer.start()

    def over(self) -> None:
        """Give it no end: it has come to its own, or nothing stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut_short(self) -> None:
        events.daemon_cut_short(seconds=self._seconds)
        last_words()
        os._exit(self._code)


class _Signals:
    """SIGTERM and SIGINT stop, SIGHUP reads the configuration again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: _Deadline) -> None:
        self.told = asyncio.Event()
        self.deadline = deadline
        self.stop: str | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self.told.set)

    def _stop(self, name: str) -> None:
        self.stop = name
        self.deadline.begin(0)
        self.told.set()
