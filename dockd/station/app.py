"""The station: makes the parts from a configuration, wires them, and lets them work."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx

from dockd import __version__
from dockd.base.clock import Clock, timestamp
from dockd.base.concurrency import on_threads, to_the_end
from dockd.base.errors import (
    CameraRefusedError,
    JournalBrokenError,
    LedgerBusyError,
    LedgerError,
    SourceError,
    explained,
)
from dockd.base.fencing import Fence
from dockd.base.incidents import Scope
from dockd.evidence.age import parse_recipients
from dockd.evidence.keys import SigningKey, VerifyKey, receiver_keys
from dockd.host.files import Files
from dockd.host.locks import exclusive
from dockd.host.notify import Heartbeats, Notifier, feed
from dockd.host.timesync import is_synchronised
from dockd.station import events
from dockd.station.cameras import Media, Source
from dockd.station.cameras.devices import Udev
from dockd.station.cameras.folder import FolderSource, Unwatched
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
from dockd.station.model import PENDING, Camera, Clip, Standing, State
from dockd.station.pipeline import recovery, upload
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.cleaning import Cleaning
from dockd.station.pipeline.confirming import Confirmations
from dockd.station.pipeline.docking import Docking
from dockd.station.pipeline.history import History
from dockd.station.pipeline.intake import Intake, Seal
from dockd.station.pipeline.pauses import Pauses
from dockd.station.pipeline.upload import Uploader
from dockd.station.spool import Spool
from dockd.station.targets import Target
from dockd.station.targets.bandwidth import Limiter, current_limit
from dockd.station.targets.http import open_client
from dockd.station.targets.tus import TusTarget

USB_SILENCE = 120.0
"""Seconds by which a look at the USB ports may be late."""
_JOURNAL_PAUSE = 60.0
"""Seconds until a journal that could not be read is checked again."""


@dataclass
class Seams:
    """What a test may replace: clocks, disks, the ledger's commits, the network."""

    clock: Clock = field(default_factory=Clock)
    files: Files = field(default_factory=Files)
    ledger: Callable[[Path, Clock], Ledger] = Ledger
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
        """Whether it has begun to work: its configuration can be worked by."""
        self._client = open_client(config.target, transport=self._seams.transport)
        self._places = Places()
        self._dockings: dict[str, Docking] = {}
        self._counts: dict[State, int] = {}
        metrics = Metrics()
        self.activity = Activity(self._seams.clock, metrics)
        self.control = Control(config, metrics, self.activity.incidents)

    async def run(self, notifier: Notifier) -> None:
        """Work until cancelled.

        Args:
            notifier: is told when the work has begun, and how it goes.

        Raises:
            LedgerError, SpoolError, ConfigError: the station can't start.
        """
        config, seams = self._config, self._seams
        async with contextlib.AsyncExitStack() as stack:
            only_one = on_threads(_only_one(config.station.state, seams.files))
            await stack.enter_async_context(only_one)
            await stack.enter_async_context(self.control.serving())
            opened = on_threads(_open(seams.ledger, config.ledger_path, seams.clock))
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
            now = datetime.now().astimezone().time()
            return current_limit(config.bandwidth, config.schedule, now)

        return TusTarget(config, self._client, Limiter(clock, rate), clock)

    async def _work(
        self,
        ledger: Ledger,
        spool: Spool,
        target: Target,
        notifier: Notifier,
    ) -> None:
        config, clock = self._config, self._seams.clock
        history = History(
            ledger,
            target,
            clock,
            self.activity.incidents,
            kid=self._key.kid,
            receiver_keys=self._receiver_keys,
            settled=self._all_settled,
        )
        confirmations = Confirmations(target, self._receiver_keys, clock, forked=history.doubted)
        uploader = Uploader(
            ledger,
            spool,
            target,
            clock,
            self.activity,
            config=config.target,
            confirmations=confirmations,
            settled=self._clip_settled,
        )

        def held_or_not() -> None:
            uploader.hold() if pauses.holds("uploads") else uploader.release()
            self._all_settled()

        pauses = await asyncio.to_thread(
            Pauses, ledger, clock, self.activity.incidents, held_or_not
        )
        held_or_not()
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
            self.activity,
            policy=config.wipe.policy,
            receiver_keys=self._receiver_keys,
            confirmations=confirmations,
            held=lambda: pauses.holds("wipes") or history.holds_wipes,
        )

        async def dock(media: Media) -> None:
            docking = Docking(
                media,
                ledger,
                intake,
                cleaning,
                clock,
                activity=self.activity,
                synchronised=self._seams.synchronised,
            )
            await self._fenced(docking)

        events.daemon_started(
            version=__version__,
            station=config.station.id,
            target=config.target.url,
        )
        if config.wipe.policy == "overwrite":
            events.wipe_overwrites(hint="destroy the medium where a clip must be unreadable")
        if not target.gives_receipts:
            events.target_gives_no_receipts(target=config.target.url)
        parts = Parts(
            config=config,
            clock=clock,
            spool=spool,
            uploader=uploader,
            pauses=pauses,
            activity=self.activity,
            dockings=self._dockings,
            since=timestamp(clock.now()),
        )
        orders = Orders(ledger, spool, uploader, pauses, self._dockings, clock)
        heartbeats = Heartbeats(clock)
        async with asyncio.TaskGroup() as group:
            keep = Fence(clock, self.activity.incidents).keep
            beat = heartbeats.part("uploader", upload.SILENCE)
            group.create_task(keep("journal", lambda: self._check_journal(ledger)))
            unknown = recovery.Unknown(spool, clock, self.activity.incidents)
            group.create_task(keep("spool", unknown.run))
            group.create_task(keep("history", history.run))
            group.create_task(keep("pauses", pauses.run))
            group.create_task(keep("control", lambda: self.control.work(parts, orders)))
            group.create_task(keep("uploader", lambda: uploader.run(beat), beat))
            if config.folders:
                group.create_task(keep("places", self._places.run))
            for source in self._sources(heartbeats):
                group.create_task(keep(source.name, partial(source.run, dock), source.beat))
            self.works = True
            notifier.ready()
            feeding = partial(feed, notifier, heartbeats, self._probe(ledger), self._status, clock)
            group.create_task(keep("watchdog", feeding))

    async def _fenced(self, docking: Docking) -> None:
        """Run a docking; what goes wrong with one camera stays with it."""
        camera, place = docking.media.camera.id, docking.media.place
        if camera in self._dockings:
            refusal = CameraRefusedError(
                f"{camera} is docked already, at {self._dockings[camera].media.place}",
                hint="give one of the two another serial or profile",
            )
            profile, serial = docking.media.camera.profile, docking.media.camera.serial
            refused = events.camera_refused(place=place, profile=profile, serial=serial)
            self._refused_at(camera, place).failed(refused, refusal)
            return
        self._refused_at(camera, place).recovered(
            events.camera_refused, events.camera_recovered(camera=camera)
        )
        incidents = self.activity.incidents.scope("camera", camera)
        docking.works = lambda: incidents.recovered(events.camera_failed)
        self._dockings[camera] = docking
        try:
            await docking.run()
        except OSError as error:
            failure = SourceError(f"{camera}: {error}", hint="check the camera; dockd tries again")
            incidents.failed(events.camera_failed(camera=camera), failure)
        except Exception as error:  # noqa: BLE001  # the boundary of one camera
            incidents.failed(events.camera_failed(camera=camera), explained(error))
        finally:
            del self._dockings[camera]

    def _left(self, camera: Camera, place: str) -> None:
        """Show nothing any more that was wrong with a camera where it no longer is."""
        self._refused_at(camera.id, place).close()
        if camera.id not in self._dockings:
            self.activity.incidents.scope("camera", camera.id).close()

    def _refused_at(self, camera: str, place: str) -> Scope:
        return self.activity.incidents.scope("refused", camera, place)

    def _sources(self, heartbeats: Heartbeats) -> list[Source]:
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
            )
            for folder in config.folders
        ]
        if any(profile.usb for profile in config.profiles):
            beat = heartbeats.part("usb", USB_SILENCE + config.usb.rescan_seconds)
            sources.append(
                UsbSource(
                    config.usb,
                    config.profiles,
                    config.bays,
                    self._seams.udev(),
                    self._seams.mounter(clock),
                    clock,
                    beat,
                    self.activity.incidents,
                )
            )
        for source in sources:
            source.left = self._left
            if isinstance(source, FolderSource):
                source.places = self._places
        return sources

    def _probe(self, ledger: Ledger) -> Callable[[], Awaitable[None]]:
        """Return a small piece of real work: a reading of the ledger on a worker thread."""

        async def probe() -> None:
            # A ledger that can't be read answers too; a restart would not mend it.
            with contextlib.suppress(LedgerError):
                self._counts = await asyncio.to_thread(ledger.counts)

        return probe

    def _status(self) -> str:
        """Say in a sentence how the work goes."""
        pending = sum(count for state, count in self._counts.items() if state in PENDING)
        docked = list(self._dockings.values())
        safe = sum(docking.standing is Standing.SAFE for docking in docked)
        stuck = sum(docking.standing is Standing.STUCK for docking in docked)
        return (
            f"{len(docked)} cameras docked, {safe} safe to take, {stuck} need a person;"
            f" {pending} clips on their way"
        )

    async def _check_journal(self, ledger: Ledger) -> None:
        """Check the whole chain beside the work: a broken one is told, and holds nothing up.

        What can't be read is no sign of tampering, and is tried again.
        """
        clock, incidents = self._seams.clock, self.activity.incidents.scope("journal")
        while True:
            try:
                await asyncio.to_thread(ledger.verify_journal)
            except JournalBrokenError as error:
                incidents.failed(events.journal_broken(), error)
            except LedgerError as error:
                incidents.failed(events.journal_unreadable(), error, retry_in=_JOURNAL_PAUSE)
                await clock.sleep(_JOURNAL_PAUSE)
                continue
            incidents.recovered(events.journal_unreadable)
            return

    def _all_settled(self) -> None:
        for docking in self._dockings.values():
            docking.clip_settled()

    def _clip_settled(self, clip: Clip) -> None:
        docking = self._dockings.get(clip.camera.id)
        if docking is not None:
            docking.clip_settled()


@contextlib.contextmanager
def _open(ledger: Callable[[Path, Clock], Ledger], path: Path, clock: Clock) -> Iterator[Ledger]:
    with contextlib.closing(ledger(path, clock)) as opened:
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
