"""The daemon's process: starts a station, answers signals, talks to systemd."""

import asyncio
import contextlib
import resource
import signal
from pathlib import Path

from dockd.base.errors import ConfigError, explained
from dockd.base.logs import configure as configure_logs
from dockd.base.logs import last_words
from dockd.base.threads import in_thread, shared_pool
from dockd.host.memory import keep_buffers
from dockd.host.notify import Notifier
from dockd.host.stopping import Deadline, abandon_calls
from dockd.station import config as configuration
from dockd.station import events
from dockd.station.app import Seams, Station
from dockd.station.config import Config

_STOP_SECONDS = 20.0
"""Seconds that a shutdown may take; then it is a crash, from which the next start recovers."""
_LEAVE_SECONDS = 5.0
"""Seconds that the remaining threads may take to return."""
_START_AGAIN = 75
"""The exit code if a reload exceeds its time: systemd then starts the daemon, which reloads it."""
_THREADS = 64
"""Concurrent blocking calls: ingests, disk and ledger, with room to spare."""


def main(config_path: Path, seams: Seams | None = None) -> int:
    """Run the daemon as this process, which ends even if calls hang; see ``run``."""
    code = run(config_path, seams)
    abandon_calls(code)
    Deadline(_LEAVE_SECONDS, events.daemon_cut_short).begin(code)
    return code


def run(config_path: Path, seams: Seams | None = None) -> int:
    """Run the daemon until SIGTERM or SIGINT.

    Returns:
        The exit code; an error has been logged.

    Raises:
        ConfigError: invalid configuration.
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
    deadline = Deadline(_STOP_SECONDS, events.daemon_cut_short)
    try:
        return asyncio.run(_run(config_path, config, seams or Seams(), deadline))
    finally:
        deadline.over()
        last_words()


def _allow_descriptors() -> None:
    """Raise the limit of open files to the maximum: every watched folder takes some."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(config_path: Path, config: Config, seams: Seams, deadline: Deadline) -> int:
    loop = asyncio.get_running_loop()
    shared_pool(_THREADS)
    try:
        await _work(config_path, config, seams, _Signals(loop, deadline))
    except Exception as error:  # noqa: BLE001  # the boundary of the daemon
        failure = explained(error)
        events.daemon_failed(failure)
        # asyncio waits for the threads of abandoned calls.
        deadline.begin(failure.exit_code)
        return failure.exit_code
    return 0


async def _work(config_path: Path, config: Config, seams: Seams, signals: "_Signals") -> None:
    notifier = Notifier()
    proven: Config | None = None
    made: Station | None = None
    while True:
        try:
            made = await in_thread(Station, config, seams)
            station = asyncio.create_task(made.run(notifier))
            changed = await _supervise(station, signals, config_path, notifier)
        except Exception as error:
            if proven is None or (made is not None and made.works):
                raise
            # Errors that only occur at run time, such as an unusable folder.
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
    """Let a station run until shutdown, or until a changed configuration, which is returned.

    Raises:
        DockdError, or an unexpected error: the station could not start.
    """
    while True:
        signalled = asyncio.create_task(signals.signalled.wait())
        await asyncio.wait({station, signalled}, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        if station.done():
            station.result()
        signals.signalled.clear()
        if signals.stop is not None:
            events.daemon_stopping(signal=signals.stop)
            notifier.stopping()
            await _end(station)
            return None
        try:
            changed = await in_thread(configuration.load, config_path)
            await in_thread(Station, changed)
        except Exception as error:  # noqa: BLE001  # a bad configuration file must not end the running station
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


class _Signals:
    """SIGTERM and SIGINT shut down, SIGHUP reloads the configuration."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: Deadline) -> None:
        self.signalled = asyncio.Event()
        self.deadline = deadline
        self.stop: str | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self.signalled.set)

    def _stop(self, name: str) -> None:
        self.stop = name
        self.deadline.begin(0)
        self.signalled.set()
