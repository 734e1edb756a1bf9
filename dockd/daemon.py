"""The daemon's process: starts a station, answers signals, talks to systemd."""

import asyncio
import contextlib
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dockd import config as configuration
from dockd import events
from dockd.config import Config
from dockd.errors import ConfigError
from dockd.fencing import explained
from dockd.logs import configure as configure_logs
from dockd.logs import emit, emit_error, last_words
from dockd.memory import keep_buffers
from dockd.notify import Notifier
from dockd.station import Seams, Station
from dockd.threads import left_behind

_STOP_SECONDS = 20.0
"""Seconds that a stop may take; after them it is a crash, which the next start makes up for."""
_THREADS = 64
"""Blocking calls at once: ingests, disk and ledger, with room to spare."""


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
        emit_error(events.DAEMON_FAILED, error)
        last_words()
        raise
    configure_logs(level=config.log.level, style=config.log.style)
    keep_buffers()
    _allow_descriptors()
    code = 0
    try:
        asyncio.run(_run(config_path, config, seams or Seams()))
    except Exception as error:  # noqa: BLE001  # the boundary of the daemon
        failure = explained(error)
        emit_error(events.DAEMON_FAILED, failure)
        code = failure.exit_code
    finally:
        last_words()
    if left_behind():
        os._exit(code)  # Python would wait for what may never return
    return code


def _allow_descriptors() -> None:
    """Raise the limit of open files to what is allowed: watches of many folders take some each."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(config_path: Path, config: Config, seams: Seams) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    signals = _Signals(loop)
    notifier = Notifier()
    proven: Config | None = None
    while True:
        try:
            made = await asyncio.to_thread(Station, config, seams)
            station = asyncio.create_task(made.run(notifier))
            changed = await _supervise(station, signals, config_path, notifier)
        except Exception as error:
            if proven is None:
                raise
            # What only shows at work, such as a folder that can't be used.
            emit_error(events.CONFIG_REFUSED, explained(error))
            config, proven = proven, None
            continue
        if changed is None:
            emit(events.DAEMON_STOPPED)
            return
        config, proven = changed, config
        configure_logs(level=config.log.level, style=config.log.style)
        emit(events.CONFIG_RELOADED)


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
            emit(events.DAEMON_STOPPING, signal=signals.stop)
            notifier.stopping()
            if not await _ended(station):
                emit(events.DAEMON_CUT_SHORT, seconds=_STOP_SECONDS)
                last_words()
                os._exit(0)
            return None
        try:
            changed = await asyncio.to_thread(configuration.load, config_path)
            await asyncio.to_thread(Station, changed)
        except Exception as error:  # noqa: BLE001  # a file that is to come ends no work
            emit_error(events.CONFIG_REFUSED, explained(error))
            continue
        notifier.reloading()
        await _end(station)
        return changed


async def _end(station: asyncio.Task[None]) -> None:
    station.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await station


async def _ended(station: asyncio.Task[None]) -> bool:
    """End a station; false if that takes too long, as with a disk that doesn't answer."""
    station.cancel()
    await asyncio.wait({station}, timeout=_STOP_SECONDS)
    if station.done() and not station.cancelled():
        station.result()
    return station.done()


class _Signals:
    """SIGTERM and SIGINT stop, SIGHUP reads the configuration again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.told = asyncio.Event()
        self.stop: str | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self.told.set)

    def _stop(self, name: str) -> None:
        self.stop = name
        self.told.set()
