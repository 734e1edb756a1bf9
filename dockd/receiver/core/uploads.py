"""What the receiver does with uploads: begun, appended to, verified, expired."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

from dockd.base.clock import Clock
from dockd.base.events import daemon_part_failed
from dockd.base.incidents import Incidents
from dockd.evidence.sealed import implausible
from dockd.evidence.statements import Manifest, statement_sha256
from dockd.receiver import events
from dockd.receiver.config import StoreConfig
from dockd.receiver.core.appending import Appending
from dockd.receiver.core.archive import Archive
from dockd.receiver.core.clocks import check_clocks
from dockd.receiver.core.errors import Reason, RefusedError
from dockd.receiver.core.faults import Faults
from dockd.receiver.core.receipts import ReceiptDesk
from dockd.receiver.core.recovery import recover
from dockd.receiver.core.room import LOOK_AGAIN_SECONDS, SHARE, Room
from dockd.receiver.core.shares import StationSlots
from dockd.receiver.core.stations import Stations
from dockd.receiver.core.underway import UnderWay
from dockd.receiver.core.upload import Stored, Upload
from dockd.receiver.core.verifier import Verifier
from dockd.receiver.core.workers import Workers

SWEEP_SECONDS = 60.0
"""How often expired uploads are looked for."""
RESTORE_SECONDS = 86400.0
"""How often what was set aside is checked again."""
MAX_UNFINISHED = 1000
"""Unfinished uploads of one station."""
MAX_UNFINISHED_BYTES = 8 * 2**20
"""Bytes of their manifests, which are kept in memory."""
_TOO_MANY_RETRY_AFTER = 60


class Uploads:
    """The uploads of one store; everything here runs on one event loop."""

    def __init__(
        self,
        archive: Archive,
        stations: Stations,
        workers: Workers,
        config: StoreConfig,
        clock: Clock,
        incidents: Incidents,
    ) -> None:
        self.faults = Faults(clock, incidents)
        self.workers = workers
        self._store = store = archive.store
        self.log = archive.log
        self._stations = stations
        self._clock = clock
        self._incidents = incidents.scope("part")
        self._under_way = UnderWay(timedelta(seconds=config.upload_expiry_seconds), clock)
        self._creating: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots = StationSlots(config.verify_concurrency, several=stations.several)
        self.room = Room(
            store,
            self._under_way.uploads,
            config.reserve,
            SHARE if stations.several else 1.0,
            self.workers,
            clock,
            incidents,
        )
        self._verifier = Verifier(
            archive,
            self.faults,
            self.workers,
            clock,
            self._slots,
            self._under_way.verified,
        )
        self.receipts = ReceiptDesk(
            store,
            archive.anchors,
            self._under_way,
            self._verifier,
            self.faults,
            self.workers,
            clock,
        )
        appending = Appending(
            store, self._under_way, self.room, self._verifier, self.workers, clock
        )
        self.append = appending.append

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Resume what earlier runs left, and give up what has expired, until the end."""
        for upload in await self.workers.write(recover, self._store, self._stations):
            self._under_way.add(upload)
            if upload.complete:
                self._verifier.finish(upload)
        await self.room.look()
        background = [
            asyncio.create_task(task)
            for task in (
                self._repeatedly("sweep", SWEEP_SECONDS, self.sweep, SWEEP_SECONDS),
                self._repeatedly("restore", RESTORE_SECONDS, self._restore),
                self._repeatedly("disk", LOOK_AGAIN_SECONDS, self.watch_disk),
                self.log.run(),
            )
        ]
        try:
            yield
        finally:
            self.stop()
            for task in background:
                task.cancel()
            await self._verifier.close()
            await self.log.close()
            self.workers.close()

    def stop(self) -> None:
        """End what runs, keeping every byte that has arrived."""
        self._store.stop()
        self._under_way.stop()

    @property
    def stopping(self) -> bool:
        """Whether the receiver is shutting down."""
        return self._under_way.stopping.is_set()

    @property
    def unfinished(self) -> int:
        """The number of uploads that are not stored yet."""
        return len(self._under_way.uploads)

    def find(self, upload_id: str) -> Upload | Stored:
        """Return an upload, or one that was stored recently.

        Raises:
            RefusedError: there is none by that id.
        """
        return self._under_way.find(upload_id)

    def expires(self, upload: Upload) -> datetime:
        """Return when an unfinished upload expires."""
        return self._under_way.expires(upload)

    async def create(self, manifest: Manifest, token: str, metadata: str) -> Upload:
        """Begin an upload; an earlier one by the very same manifest is given up.

        Raises:
            RefusedError: it is here already, is impossible, or there is no room.
            ClocksDifferError, HistoryForkedError: no receipt could be signed for it.
            OSError: the disk failed.
        """
        if reason := implausible(manifest):
            raise RefusedError(Reason.MANIFEST_IMPLAUSIBLE, reason)
        check_clocks(manifest, self._clock.now())
        await self.receipts.check_history(manifest, token)
        station = manifest.station.id
        async with self._creating[station]:
            known = await self._is_stored(manifest, token)
            for upload in self._under_way.of(station):
                if upload.record.manifest_token == token:
                    await self.remove(upload)
            if known or self._under_way.arrived(token):
                raise RefusedError(Reason.ALREADY_STORED, "nothing needs to be uploaded")
            self._check_share(station, token)
            async with self.room.promise(station, manifest.ciphertext.size):
                record = await self.workers.write(self._store.incoming.create, token, metadata)
                upload = Upload(record, manifest, 0, self._clock.now())
                self._under_way.add(upload)
        events.receiver_upload_created(**upload.names, size=upload.length)
        return upload

    async def _is_stored(self, manifest: Manifest, token: str) -> bool:
        if self._verifier.is_damaged(statement_sha256(token)):
            return False
        return await self.workers.ask(self._store.find, manifest, token) is not None

    def _check_share(self, station: str, token: str) -> None:
        """Check that a station has few enough uploads for one more.

        Raises:
            RefusedError: it has too many.
        """
        own = self._under_way.of(station)
        size = sum(len(upload.record.manifest_token) for upload in own) + len(token)
        if len(own) >= MAX_UNFINISHED or size > MAX_UNFINISHED_BYTES:
            raise RefusedError(
                Reason.TOO_MANY_UPLOADS,
                f"there are {len(own)} of {station}, including those being read back",
                hint="they expire unless the station finishes them",
                retry_after=_TOO_MANY_RETRY_AFTER,
            )

    async def current_offset(self, upload: Upload | Stored) -> int:
        """Return how many bytes have arrived; a request that is writing is ended first."""
        if isinstance(upload, Upload) and not upload.complete:
            async with self._under_way.held(upload):
                pass
        return upload.offset

    async def metadata(self, upload: Upload | Stored) -> str:
        """Return the ``Upload-Metadata`` that an upload was created with."""
        return await self.workers.ask(self._store.incoming.metadata, upload.id)

    async def remove(self, upload: Upload | Stored) -> bool:
        """Give up an unfinished upload; a complete one stays, and False is returned.

        Raises:
            RefusedError: another request has it.
        """
        if isinstance(upload, Stored) or upload.complete:
            return False
        if upload.id not in self._under_way.uploads:
            return False
        async with self._under_way.held(upload):
            if upload.complete:
                return False
            await self.workers.write(self._store.incoming.discard, upload.id)
            self._under_way.drop(upload)
            return True

    async def sweep(self) -> None:
        """Give up expired uploads, and verify again where the disk had failed."""
        for upload in list(self._under_way.uploads.values()):
            if upload.complete:
                self._verifier.finish(upload)
                continue
            if not self._under_way.is_expired(upload):
                continue
            try:
                if await self.remove(upload):
                    events.receiver_upload_expired(**upload.names, offset=upload.offset)
            except RefusedError:
                pass  # a client has come back to it
            except OSError as error:
                self.faults.note(error, "write")

    async def _restore(self) -> None:
        """Check what was set aside, one copy at a time, in turns with the stations' clips."""
        for name in await self.workers.ask(self._store.aside):
            if self.stopping:
                return
            try:
                async with self._slots.slot(""):
                    await self.workers.read(self._store.restore, name)
            except OSError as error:
                self.faults.note(error, "read")

    async def watch_disk(self) -> None:
        """Check the room on the disk, and whether it works again after an error."""
        await self.room.watch()
        if self.faults.is_old:
            try:
                await self.workers.write(self._store.incoming.try_write)
            except OSError as error:
                self.faults.note(error, "write")
            else:
                self.faults.none()

    async def _repeatedly(
        self, part: str, seconds: float, work: Callable[[], Awaitable[None]], after: float = 0.0
    ) -> None:
        """Do a part of the work at intervals, whatever becomes of it."""
        if after:
            await self._clock.sleep(after)
        while True:
            with self._incidents.within(part).fence(daemon_part_failed(part=part)):
                await work()
            await self._clock.sleep(seconds)
