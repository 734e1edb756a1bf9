"""The station: makes its parts from a configuration, connects them, and runs them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from dockd import __version__
from dockd.base.clock import Clock, timestamp
from dockd.base.concurrency import on_threads, to_the_end
from dockd.base.errors import (
    JournalBrokenError,
    LedgerBusyError,
    LedgerError,
)
from dockd.base.fencing import Fence
from dockd.base.randomness import Randomness
from dockd.base.threads import in_thread
from dockd.evidence.age import parse_recipients
from dockd.evidence.keys import SigningKey, VerifyKey, receiver_keys
from dockd.host.files import Files
from dockd.host.locks import exclusive
from dockd.host.notify import Heartbeats, Notifier, feed
from dockd.host.timesync import is_synchronised
from dockd.station import events
from dockd.station.cameras import Source
from dockd.station.cameras.devices import Udev
from dockd.station.cameras.folder import FolderSource
from dockd.station.cameras.folder_watch import Unwatched
from dockd.station.cameras.mounting import Mounter
from dockd.station.cameras.places import Places
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.udev import SystemUdev
from dockd.station.cameras.udisks import UdisksMounter
from dockd.station.cameras.usb import UsbSource
from dockd.station.config import Config
from dockd.station.control.metrics import Metrics
from dockd.station.control.orders import Orders
from dockd.station.control.server import Control
from dockd.station.control.snapshot import Parts
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import PENDING, State
from dockd.station.model import Standing
from dockd.station.pipeline import recovery, upload
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.cleaning import Cleaning
from dockd.station.pipeline.confirming import Confirmations
from dockd.station.pipeline.dockings import Dockings
from dockd.station.pipeline.history import History
from dockd.station.pipeline.intake import Intake, Seal
from dockd.station.pipeline.pauses import Pauses
from dockd.station.pipeline.upload import Uploader
from dockd.station.reports import (
    CameraGone,
    ClipConcluded,
    ClipSpooled,
    HoldsChanged,
    JournalDoubted,
    Reports,
)
from dockd.station.spool import Spool
from dockd.station.targets import Target
from dockd.station.targets.bandwidth import Limiter, current_limit
from dockd.station.targets.health import TargetHealth
from dockd.station.targets.http import open_client
from dockd.station.targets.tus import TusTarget

_JOURNAL_PAUSE = 60.0
"""Seconds until a journal that could not be read is checked again."""


@dataclass
class Seams:
    """What a test may replace: clocks, randomness, disks, the ledger's commits, the network."""

    clock: Clock = field(default_factory=Clock)
    randomness: Randomness = field(default_factory=Randomness)
    files: Files = field(default_factory=Files)
    ledger: Callable[[Path, Clock, Randomness], Ledger] = Ledger
    transport: httpx.AsyncBaseTransport | None = None
    synchronised: Callable[[], Awaitable[bool | None]] = is_synchronised
    udev: Callable[[], Udev] = SystemUdev
    mounter: Callable[[Clock], Mounter] = UdisksMounter


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
        self._key = SigningKey.load(config.station.key_file, "station")
        earlier = [VerifyKey.load(path, "station") for path in config.station.earlier_keys]
        self._own_keys = [self._key.verify_key, *earlier]
        self._receiver_keys = receiver_keys(config.target.receiver_keys, self._key)
        self.works = False
        """Whether it has started, which proves its configuration."""
        self._client = open_client(config.target, transport=self._seams.transport)
        self._places = Places()
        self._dockings: Dockings | None = None
        self._reports = Reports()
        self._counts: dict[State, int] = {}
        metrics = Metrics()
        self.activity = Activity(self._seams.clock, metrics)
        self.control = Control(config, metrics, self.activity.incidents, self._seams.randomness)

    async def run(self, notifier: Notifier) -> None:
        """Work until cancelled.

        Args:
            notifier: takes the readiness, the status and the watchdog's heartbeats.

        Raises:
            LedgerError, SpoolError, ConfigError: the station can't start.
        """
        config, seams = self._config, self._seams
        async with contextlib.AsyncExitStack() as stack:
            only_one = on_threads(_only_one(config.station.state, seams.files))
            await stack.enter_async_context(only_one)
            await stack.enter_async_context(self.control.serving())
            opened = on_threads(_open(seams, config.ledger_path))
            ledger = await stack.enter_async_context(opened)
            spool = Spool(
                config.spool_folder,
                budget=config.spool.budget,
                reserve=config.spool.reserve,
                files=seams.files,
                clock=seams.clock,
                incidents=self.activity.incidents,
            )
            await to_the_end(recovery.recover, ledger, spool, config.station.id, self._own_keys)
            synchronised = await seams.synchronised()
            await to_the_end(
                recovery.renew,
                *(ledger, spool, self._key, seams.clock.now()),
                synchronised=synchronised,
            )
            target = self._open_target()
            stack.push_async_callback(target.aclose)
            await self._work(ledger, spool, target, notifier)

    def _open_target(self) -> Target:
        config, clock = self._config.target, self._seams.clock

        def rate() -> int:
            now = clock.now().astimezone().time()
            return current_limit(config.bandwidth, config.schedule, now)

        health = TargetHealth(config.url, clock, self.activity.incidents)
        return TusTarget(config, self._client, Limiter(clock, rate), clock, health)

    async def _work(
        self,
        ledger: Ledger,
        spool: Spool,
        target: Target,
        notifier: Notifier,
    ) -> None:
        config, clock, incidents = self._config, self._seams.clock, self.activity.incidents
        randomness = self._seams.randomness
        history = History(
            ledger,
            target,
            clock,
            incidents,
            kid=self._key.kid,
            receiver_keys=self._receiver_keys,
            reports=self._reports,
            randomness=randomness,
        )
        confirmations = Confirmations(target, self._receiver_keys, clock, self._reports, randomness)
        uploader = Uploader(
            ledger,
            spool,
            target,
            clock,
            self.activity,
            config=config.target,
            confirmations=confirmations,
            reports=self._reports,
            randomness=randomness,
        )
        pauses = await in_thread(Pauses, ledger, clock, incidents, self._reports)
        if pauses.holds_uploads:
            uploader.hold()
        intake = Intake(
            ledger,
            spool,
            Seal(config.station.id, self._key, self._recipients),
            clock,
            self.activity,
            config=config.ingest,
            reports=self._reports,
        )
        cleaning = Cleaning(
            ledger,
            self._seams.files,
            clock,
            self.activity,
            policy=config.wipe.policy,
            receiver_keys=self._receiver_keys,
            confirmations=confirmations,
            holds=[pauses, history],
        )
        self._dockings = dockings = Dockings(
            ledger,
            intake,
            cleaning,
            clock,
            self.activity,
            synchronised=self._seams.synchronised,
        )
        self._introduce(target)
        parts = Parts(
            config=config,
            clock=clock,
            spool=spool,
            uploader=uploader,
            pauses=pauses,
            activity=self.activity,
            dockings=dockings.current,
            since=timestamp(clock.now()),
        )
        orders = Orders(ledger, spool, uploader, pauses, dockings.current, clock)
        unknown = recovery.Unknown(spool, clock, incidents)
        heartbeats = Heartbeats(clock)
        beat = heartbeats.part("uploader", upload.SILENCE)
        keep = Fence(clock, incidents).keep
        async with asyncio.TaskGroup() as group:
            acting = partial(self._act_on_reports, dockings, uploader, history, pauses)
            group.create_task(keep("reports", acting))
            group.create_task(keep("journal", lambda: self._check_journal(ledger)))
            group.create_task(keep("spool", unknown.run))
            group.create_task(keep("history", history.run))
            group.create_task(keep("pauses", pauses.run))
            group.create_task(keep("control", lambda: self.control.work(parts, orders)))
            group.create_task(keep("uploader", lambda: uploader.run(beat), beat))
            if config.folders:
                group.create_task(keep("places", self._places.run))
            for source in self._sources():
                beat = heartbeats.part(source.name, source.silence)
                run = partial(source.run, dockings.dock, beat)
                group.create_task(keep(source.name, run, beat))
            self.works = True
            notifier.ready()
            feeding = partial(feed, notifier, heartbeats, self._probe(ledger), self._status, clock)
            group.create_task(keep("watchdog", feeding))

    def _introduce(self, target: Target) -> None:
        config = self._config
        events.daemon_started(
            version=__version__, station=config.station.id, target=config.target.url
        )
        if config.wipe.policy == "overwrite":
            events.wipe_overwrites(hint="destroy the medium where a clip must be unreadable")
        if not target.gives_receipts:
            events.target_gives_no_receipts(target=config.target.url)

    async def _act_on_reports(
        self, dockings: Dockings, uploader: Uploader, history: History, pauses: Pauses
    ) -> None:
        """Pass reports on to the parts that they concern, until cancelled."""
        while True:
            match await self._reports.next():
                case ClipSpooled():
                    uploader.look_again()
                case ClipConcluded(camera=camera):
                    dockings.clip_concluded(camera)
                case HoldsChanged():
                    uploader.hold() if pauses.holds_uploads else uploader.release()
                    dockings.holds_changed()
                case JournalDoubted():
                    history.doubted()
                case CameraGone(camera=camera, place=place):
                    dockings.gone(camera, place)

    def _sources(self) -> list[Source]:
        config, clock = self._config, self._seams.clock
        profiles = {profile.name: Profile(profile) for profile in config.profiles}
        unwatched = Unwatched(self.activity.incidents)
        sources: list[Source] = [
            FolderSource(
                folder,
                profiles[folder.profile],
                clock,
                self.activity.incidents,
                unwatched=unwatched,
                reports=self._reports,
                places=self._places,
            )
            for folder in config.folders
        ]
        if any(profile.usb for profile in config.profiles):
            sources.append(
                UsbSource(
                    config.usb,
                    config.profiles,
                    config.bays,
                    self._seams.udev(),
                    self._seams.mounter(clock),
                    clock,
                    self.activity.incidents,
                    self._reports,
                )
            )
        return sources

    def _probe(self, ledger: Ledger) -> Callable[[], Awaitable[None]]:
        """Return a small piece of real work: a query of the ledger on a worker thread."""

        async def probe() -> None:
            # An error is a response too; a restart would not repair the ledger.
            with contextlib.suppress(LedgerError):
                self._counts = await in_thread(ledger.queries.counts)

        return probe

    def _status(self) -> str:
        """Return the station's status in one line."""
        pending = sum(count for state, count in self._counts.items() if state in PENDING)
        docked = list(self._dockings.current.values()) if self._dockings else []
        safe = sum(docking.standing is Standing.SAFE for docking in docked)
        stuck = sum(docking.standing is Standing.STUCK for docking in docked)
        return (
            f"{len(docked)} cameras docked, {safe} safe to take, {stuck} need operator action;"
            f" {pending} clips pending"
        )

    async def _check_journal(self, ledger: Ledger) -> None:
        """Check the whole chain in the background; a broken one is reported, and blocks nothing.

        A journal that can't be read is not evidence of tampering; that check is retried.
        """
        clock, incidents = self._seams.clock, self.activity.incidents.scope("journal")
        while True:
            try:
                await in_thread(ledger.journal.verify)
            except JournalBrokenError as error:
                incidents.failed(events.journal_broken(), error)
            except LedgerError as error:
                incidents.failed(events.journal_unreadable(), error, retry_in=_JOURNAL_PAUSE)
                await clock.sleep(_JOURNAL_PAUSE)
                continue
            incidents.recovered(events.journal_unreadable)
            return


@contextlib.contextmanager
def _open(seams: Seams, path: Path) -> Iterator[Ledger]:
    with contextlib.closing(seams.ledger(path, seams.clock, seams.randomness)) as opened:
        yield opened


@contextlib.contextmanager
def _only_one(state: Path, files: Files) -> Iterator[None]:
    """Hold the state folder's lock, creating the folder.

    Raises:
        LedgerBusyError: another dockd has it; LedgerError: the folder can't be used.
    """
    with contextlib.ExitStack() as held:
        try:
            files.make_folder(state)
            held.enter_context(exclusive(state / "lock"))
        except BlockingIOError as error:
            raise LedgerBusyError(str(state), hint="stop the other dockd first") from error
        except OSError as error:
            raise LedgerError(f"{state}: {error.strerror}", hint="check station.state") from error
        yield
