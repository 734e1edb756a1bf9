"""The station: makes the parts from a configuration, wires them, and answers signals."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx

from dockd import __version__, events
from dockd import config as configuration
from dockd.activity import Activity
from dockd.age import parse_recipients
from dockd.bandwidth import Limiter, current_limit
from dockd.cleaning import Cleaning
from dockd.clock import Clock
from dockd.config import Config
from dockd.docking import Docking
from dockd.errors import (
    ConfigError,
    DockdError,
    KeyFileError,
    LedgerBusyError,
    LedgerError,
    SourceError,
)
from dockd.files import Files
from dockd.intake import Intake, Seal
from dockd.keys import SigningKey, VerifyKey
from dockd.ledger import Ledger
from dockd.logs import Repeats, emit, emit_error
from dockd.logs import configure as configure_logs
from dockd.memory import keep_buffers
from dockd.model import Clip
from dockd.sources import Media, Source
from dockd.sources.folder import FolderSource
from dockd.sources.profile import Profile
from dockd.spool import Spool
from dockd.targets import Target
from dockd.targets.http import open_client
from dockd.targets.tus import TusTarget
from dockd.upload import Uploader

_THREADS = 24
"""Blocking calls at once: ingests, disk and ledger, with room to spare."""


@dataclass
class Seams:
    """What a test may replace: clocks, disks, the ledger's commits, the network."""

    clock: Clock = field(default_factory=Clock)
    files: Files = field(default_factory=Files)
    ledger: Callable[[Path, Clock], Ledger] = Ledger
    transport: httpx.AsyncBaseTransport | None = None


class Station:
    """One configuration at work."""

    def __init__(self, config: Config, seams: Seams | None = None) -> None:
        """Load keys and certificates; nothing is connected to or opened yet.

        Raises:
            KeyFileError: one can't be used.
        """
        self._config = config
        self._seams = seams or Seams()
        self._recipients = parse_recipients(config.encryption.recipients)
        self._key = SigningKey.load(config.station.key_file)
        self._receiver_keys = [VerifyKey.load(path) for path in config.target.receiver_keys]
        self._client = open_client(config.target, transport=self._seams.transport)
        self._dockings: dict[str, Docking] = {}
        self._trouble = Repeats(self._seams.clock, events.CAMERA_FAILED, events.CAMERA_RECOVERED)
        self.activity = Activity()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            LedgerError, SpoolError, ConfigError: the station can't start.
        """
        config, seams = self._config, self._seams
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_only_one(config.station.state, seams.files))
            ledger = seams.ledger(config.ledger_path, seams.clock)
            stack.callback(ledger.close)
            spool = Spool(
                config.spool_folder,
                budget=config.spool.budget,
                reserve=config.spool.reserve,
                files=seams.files,
                clock=seams.clock,
            )
            await asyncio.to_thread(_recover, ledger, spool)
            target = self._open_target()
            stack.push_async_callback(target.aclose)
            await self._work(ledger, spool, target)

    def _open_target(self) -> Target:
        config, clock = self._config.target, self._seams.clock

        def rate() -> int:
            now = datetime.now().astimezone().time()
            return current_limit(config.bandwidth, config.schedule, now)

        return TusTarget(config, self._client, Limiter(clock, rate), clock)

    async def _work(self, ledger: Ledger, spool: Spool, target: Target) -> None:
        config, clock = self._config, self._seams.clock
        uploader = Uploader(
            ledger,
            spool,
            target,
            clock,
            self.activity,
            config=config.target,
            receiver_keys=self._receiver_keys,
            settled=self._clip_settled,
        )
        intake = Intake(
            ledger,
            spool,
            Seal(config.station.id, self._key, self._recipients),
            clock,
            self.activity,
            config=config.ingest,
            spooled=uploader.look_again,
        )
        cleaning = Cleaning(
            ledger,
            self._seams.files,
            clock,
            policy=config.wipe.policy,
            receiver_keys=self._receiver_keys,
        )

        async def dock(media: Media) -> None:
            await self._fenced(Docking(media, ledger, intake, cleaning, clock))

        emit(
            events.DAEMON_STARTED,
            version=__version__,
            station=config.station.id,
            target=config.target.url,
        )
        if not target.gives_receipts:
            emit(events.TARGET_GIVES_NO_RECEIPTS, target=config.target.url)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check_journal(ledger))
            group.create_task(uploader.run())
            for source in _sources(config, clock):
                group.create_task(source.run(dock))

    async def _fenced(self, docking: Docking) -> None:
        """Run a docking; what goes wrong with one camera stays with it."""
        camera = docking.media.camera.id
        self._dockings[camera] = docking
        try:
            await docking.run()
        except DockdError as error:
            self._trouble.failure(camera, error=error, camera=camera)
        except OSError as error:
            failure = SourceError(f"{camera}: {error}", hint="check the camera; dockd tries again")
            self._trouble.failure(camera, error=failure, camera=camera)
        except Exception:  # noqa: BLE001  # the boundary of one camera
            emit(events.CAMERA_CRASHED, camera=camera, exc_info=True)
        else:
            self._trouble.success(camera, camera=camera)
        finally:
            del self._dockings[camera]

    async def _check_journal(self, ledger: Ledger) -> None:
        """Check the whole chain beside the work: a broken one is told, and holds nothing up."""
        try:
            await asyncio.to_thread(ledger.verify_journal)
        except LedgerError as error:
            emit_error(events.JOURNAL_BROKEN, error)

    def _clip_settled(self, clip: Clip) -> None:
        docking = self._dockings.get(clip.camera.id)
        if docking is not None:
            docking.clip_settled()


def run(config_path: Path, seams: Seams | None = None) -> int:
    """Run the daemon until it is told to stop.

    Returns:
        The exit code; an error has been logged.

    Raises:
        ConfigError: the configuration has mistakes.
    """
    config = configuration.load(config_path)
    configure_logs(level=config.log.level, style=config.log.style)
    keep_buffers()
    try:
        asyncio.run(_run(config_path, config, seams or Seams()))
    except DockdError as error:
        emit_error(events.DAEMON_FAILED, error)
        return error.exit_code
    return 0


async def _run(config_path: Path, config: Config, seams: Seams) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    signals = _Signals(loop)
    proven: Config | None = None
    while True:
        station = asyncio.create_task(Station(config, seams).run())
        try:
            changed = await _supervise(station, signals, config_path)
        except DockdError as error:
            if proven is None:
                raise
            # What only shows at work, such as a folder that can't be used.
            emit_error(events.CONFIG_REFUSED, error)
            config, proven = proven, None
            continue
        if changed is None:
            emit(events.DAEMON_STOPPED)
            return
        config, proven = changed, config
        configure_logs(level=config.log.level, style=config.log.style)
        emit(events.CONFIG_RELOADED)


async def _supervise(
    station: asyncio.Task[None], signals: "_Signals", config_path: Path
) -> Config | None:
    """Let a station work until a stop, or until a changed configuration, which is returned.

    Raises:
        DockdError: the station could not start.
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
            await _end(station)
            return None
        try:
            changed = configuration.load(config_path)
            Station(changed)
        except (ConfigError, KeyFileError) as error:
            emit_error(events.CONFIG_REFUSED, error)
            continue
        await _end(station)
        return changed


async def _end(station: asyncio.Task[None]) -> None:
    station.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await station


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


@contextlib.contextmanager
def _only_one(state: Path, files: Files) -> Iterator[None]:
    """Hold the state folder's lock, creating the folder.

    Raises:
        LedgerBusyError: another dockd has it; LedgerError: the folder can't be used.
    """
    try:
        files.make_folder(state)
        fd = os.open(state / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"{state}: {error.strerror}", hint="check station.state") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LedgerBusyError(str(state), hint="stop the other dockd first") from error
    else:
        yield
    finally:
        os.close(fd)


def _recover(ledger: Ledger, spool: Spool) -> None:
    """Bring ledger and spool back together after whatever ended the last run."""
    ledger.recover()
    clips = ledger.in_spool()
    expected = {str(clip.ciphertext_sha256): int(clip.ciphertext_size or 0) for clip in clips}
    missing = spool.recover(expected)
    for clip in clips:
        if clip.ciphertext_sha256 in missing:
            ledger.spool_lost(clip, "spool.damaged", "missing from the spool, or of another size")


def _sources(config: Config, clock: Clock) -> list[Source]:
    profiles = {profile.name: Profile(profile) for profile in config.profiles}
    return [FolderSource(folder, profiles[folder.profile], clock) for folder in config.folders]
