"""The uploads under way: who writes to which, which are complete, which are given up."""

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from dockd.base.clock import Clock
from dockd.base.concurrency import finished
from dockd.base.errors import ClocksDifferError, HistoryForkedError, UploadDamagedError
from dockd.base.events import daemon_part_failed
from dockd.base.incidents import Incidents
from dockd.evidence.statements import JournalHead, Manifest, statement_sha256
from dockd.receiver import events
from dockd.receiver.config import StoreConfig
from dockd.receiver.core.anchors import Anchors
from dockd.receiver.core.clocks import check_clocks
from dockd.receiver.core.recovery import recover
from dockd.receiver.core.room import LOOK_AGAIN_SECONDS, SHARE, Room
from dockd.receiver.core.sealing import BEGINNING, begins_as_age, implausible
from dockd.receiver.core.shares import FairSlots
from dockd.receiver.core.upload import Stored, Upload, check_fits, too_long
from dockd.receiver.core.verifier import Faults, Verification, Verifier
from dockd.receiver.core.workers import Workers
from dockd.receiver.http import problems
from dockd.receiver.http.body import Body, End
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.stations import Stations
from dockd.receiver.store.disk import Outcome, Sign, Store
from dockd.receiver.store.writing import Checksum, Verdict, write_body

LOCK_SECONDS = 5.0
"""How long a request waits for an upload that another one writes to."""
MAX_WAIT = 30
"""Seconds that a request waits for a verification, at most."""
QUEUE_SECONDS = 30
"""When to ask again for a clip that can't even wait to be read back."""
SWEEP_SECONDS = 60.0
"""How often expired uploads are looked for."""
RESTORE_SECONDS = 86400.0
"""How often what was set aside is looked at again."""
MAX_UNFINISHED = 1000
"""Uploads of one station that are not stored yet, at once."""
MAX_UNFINISHED_BYTES = 8 * 2**20
"""Bytes of their manifests, which are kept in memory."""
MAX_LISTED = 100
"""Receipts of one clip that are returned at once."""
MAX_REMEMBERED = 1000
"""Stored uploads whose addresses still answer, for clients that missed the last response."""


@dataclass(frozen=True)
class Held:
    """A receipt, and when the ciphertext that it is for was last read back."""

    receipt: str
    read_at: datetime


@dataclass(frozen=True)
class Wait:
    """The clip is here, and its bytes have still to be read back."""

    seconds: int
    """When to ask again."""


class Uploads:
    """The uploads of one store; everything here runs on one event loop."""

    def __init__(
        self,
        store: Store,
        anchors: Anchors,
        stations: Stations,
        sign: Sign,
        config: StoreConfig,
        clock: Clock,
    ) -> None:
        self.store = store
        self.faults = Faults(clock)
        self.stopping = asyncio.Event()
        self.workers = Workers(config.verify_concurrency, clock)
        self._anchors = anchors
        self._stations = stations
        self._expiry = timedelta(seconds=config.upload_expiry_seconds)
        self._clock = clock
        self._incidents = Incidents(clock).scope("part")
        self._uploads: dict[str, Upload] = {}
        self.room = Room(
            store,
            self._uploads,
            config.reserve,
            SHARE if stations.several else 1.0,
            self.workers,
            clock,
        )
        self._stored: dict[str, Stored] = {}
        self._creating: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots = FairSlots(config.verify_concurrency, several=stations.several)
        self._verifier = Verifier(
            store,
            sign,
            anchors.record,
            self.faults,
            self.workers,
            clock,
            self._slots,
            self._verified,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Pick up what earlier runs left, and give up what has expired, until the end."""
        for upload in await self.workers.write(recover, self.store, self._stations):
            self._uploads[upload.id] = upload
            if upload.complete:
                self._verifier.finish(upload)
        await self.room.look()
        background = [
            asyncio.create_task(task)
            for task in (
                self._again_and_again("sweep", SWEEP_SECONDS, self.sweep, SWEEP_SECONDS),
                self._again_and_again("restore", RESTORE_SECONDS, self._restore),
                self._again_and_again("disk", LOOK_AGAIN_SECONDS, self.watch_disk),
            )
        ]
        try:
            yield
        finally:
            self.stop()
            for task in background:
                task.cancel()
            await self._verifier.close()
            self.workers.close()

    def stop(self) -> None:
        """End what runs, keeping every byte that has arrived."""
        self.stopping.set()
        self.store.stop()
        for upload in self._uploads.values():
            if upload.body is not None:
                upload.body.stop()

    @property
    def unfinished(self) -> int:
        """How many uploads there are that aren't stored yet."""
        return len(self._uploads)

    def find(self, upload_id: str) -> Upload | Stored:
        """Return an upload, or one that was stored lately.

        Raises:
            RequestError: there is none by that id.
        """
        upload = self._uploads.get(upload_id) or self._stored.get(upload_id)
        if upload is None:
            raise _unknown()
        return upload

    def expires(self, upload: Upload) -> datetime:
        """Return when an unfinished upload is given up."""
        return upload.touched + self._expiry

    async def create(self, manifest: Manifest, token: str, metadata: str) -> Upload:
        """Begin an upload; one that the very same manifest began before is given up.

        Raises:
            RequestError: it is here already, can't be what it says, or there is no room.
        """
        if reason := implausible(manifest):
            raise RequestError(problems.MANIFEST_REFUSED, reason)
        try:
            check_clocks(manifest, self._clock.now())
        except ClocksDifferError as error:
            raise _clocks_differ(error) from error
        await self.check_history(manifest, token)
        station = manifest.station.id
        async with self._creating[station]:
            known = await self._is_stored(manifest, token)
            for upload in self._begun_by(station):
                if upload.record.manifest_token == token:
                    await self.remove(upload)
            if known or self._arrived(token):
                raise RequestError(problems.CLIP_STORED, "nothing needs to be uploaded")
            await self._check_share(manifest, token)
            async with self.room.promise(station, manifest.ciphertext.size):
                record = await self.workers.write(self.store.incoming.create, token, metadata)
                upload = Upload(record, manifest, 0, self._clock.now())
                self._uploads[upload.id] = upload
        events.receiver_upload_created(**upload.names, size=upload.length)
        return upload

    async def check_history(self, manifest: Manifest, token: str) -> None:
        """Check that a manifest goes on with what its station signed before.

        Raises:
            RequestError: it contradicts that.
        """
        try:
            await self.workers.ask(self._anchors.check, manifest, token)
        except HistoryForkedError as error:
            raise _forked(error) from error

    async def newest_anchor(self, kid: str) -> JournalHead | None:
        """Return the newest anchor of a station's key, if there is one."""
        return await self.workers.ask(self._anchors.newest, kid)

    async def _is_stored(self, manifest: Manifest, token: str) -> bool:
        if self._verifier.is_damaged(statement_sha256(token)):
            return False
        return await self.workers.ask(self.store.find, manifest, token) is not None

    async def _check_share(self, manifest: Manifest, token: str) -> None:
        """Check what a station has already of what all share.

        Raises:
            RequestError: it has too much.
        """
        station = manifest.station.id
        own = [upload for upload in self._uploads.values() if upload.station == station]
        size = sum(len(upload.record.manifest_token) for upload in own) + len(token)
        if len(own) >= MAX_UNFINISHED or size > MAX_UNFINISHED_BYTES:
            raise RequestError(
                problems.TOO_MANY_UPLOADS,
                f"there are {len(own)} of {station}, with those that are being read back",
                hint="they expire, or the station finishes them",
                headers={"Retry-After": "60"},
            )

    async def current_offset(self, upload: Upload | Stored) -> int:
        """Return how many bytes have arrived; a request that is writing has to end first."""
        if isinstance(upload, Upload) and not upload.complete:
            async with self._held(upload):
                pass
        return upload.offset

    async def metadata(self, upload: Upload | Stored) -> str:
        """Return the ``Upload-Metadata`` that an upload was created with."""
        return await self.workers.ask(self.store.incoming.metadata, upload.id)

    async def append(
        self,
        upload: Upload | Stored,
        offset: int,
        body: Body,
        size: int | None,
        checksum: Checksum | None,
    ) -> None:
        """Write a body at the end of an upload; what arrived of a broken one is kept.

        Args:
            upload: where to.
            offset: where the client believes that the upload ends.
            body: the bytes.
            size: how many there will be, if that is known.
            checksum: what they must hash to, if the client said so.

        Raises:
            RequestError: nothing of the body was kept, or it did not arrive whole.
        """
        if isinstance(upload, Stored) or upload.complete:
            check_fits(upload, offset, size)
            return
        async with self._held(upload, body):
            check_fits(upload, offset, size)
            if upload.complete:
                return
            await self.room.check_written()
            # The checksum of a whole clip is the manifest's digest, for which the clip is
            # read back from the disk anyway: that one reading serves both.
            whole = size == upload.length and checksum is not None and checksum.is_of(upload)
            await self._write(upload, body, None if whole else checksum)
            await self._check_beginning(upload, offset)
        if upload.complete:
            verification = self._verifier.finish(upload)
            if whole:
                await self._wait_for(verification, MAX_WAIT)
                self._check_kept(upload)
        if body.end is not End.COMPLETE:
            raise self._broken_off(body)

    async def _check_beginning(self, upload: Upload, offset: int) -> None:
        """Give up an upload whose first bytes show that it is no age file.

        Raises:
            RequestError: they do.
        """
        part = self.store.incoming.part(upload.id)
        if offset >= BEGINNING or await self.workers.ask(begins_as_age, part):
            return
        await self.workers.write(self.store.incoming.discard, upload.id)
        self._uploads.pop(upload.id, None)
        error = UploadDamagedError("it does not begin as an age file does")
        events.receiver_upload_refused(error, **upload.names)
        raise RequestError(problems.NOT_SEALED, error.detail)

    def _check_kept(self, upload: Upload) -> None:
        if upload.id not in self._uploads and upload.id not in self._stored:
            raise RequestError(problems.CHECKSUM_MISMATCH, "the upload was discarded")

    async def remove(self, upload: Upload | Stored) -> bool:
        """Give up an unfinished upload; a complete one stays, and False is returned.

        Raises:
            RequestError: another request has it.
        """
        if isinstance(upload, Stored) or upload.complete or upload.id not in self._uploads:
            return False
        async with self._held(upload):
            if upload.complete:
                return False
            await self.workers.write(self.store.incoming.discard, upload.id)
            del self._uploads[upload.id]
            return True

    async def receipt(self, manifest: Manifest, token: str, wait: float) -> Held | Wait:
        """Return the receipt of the upload that a manifest brought, once it is read back.

        Args:
            manifest: the manifest, checked.
            token: its compact form.
            wait: seconds to wait for a verification that runs.

        Raises:
            RequestError: the clip has to be uploaded.
            OSError: the disk failed.
        """
        await self.check_history(manifest, token)
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        sha256 = statement_sha256(token)
        while True:
            copy = await self.workers.ask(self.store.find, manifest, token)
            read_at = self._verifier.read_at(sha256)
            if copy is not None and copy.receipt is not None and read_at is not None:
                return Held(copy.receipt, read_at)
            verification: Verification | None
            if (upload := self._arrived(token)) is not None:
                verification = self._verifier.finish(upload)
            elif copy is not None:
                verification = self._verifier.confirm(copy)
            else:
                raise RequestError(problems.CLIP_NOT_STORED, "it has to be uploaded")
            if verification is None:
                return Wait(QUEUE_SECONDS)
            await self._wait_for(verification, max(deadline - now(), 0))
            if self.stopping.is_set() or not verification.done():
                return Wait(1)
            self._raise_failure(verification)

    def _raise_failure(self, verification: Verification) -> None:
        match verification.result():
            case None:
                pass
            case HistoryForkedError() as error:
                raise _forked(error)
            case ClocksDifferError() as error:
                raise _clocks_differ(error)
            case UploadDamagedError() as error:
                detail = f"{error.detail}; it has to be uploaded again"
                raise RequestError(problems.CLIP_NOT_STORED, detail, hint=error.hint)
            case failure:
                raise self.faults.answer(failure)

    async def stored_receipts(
        self, clip_id: str, of: Callable[[str], bool] = lambda _station: True
    ) -> list[tuple[str, str]]:
        """Return a clip's newest receipts, newest first, each with the name of its station.

        Args:
            clip_id: which clip.
            of: says of a station's name whether its receipts are meant.
        """

        def read() -> list[tuple[str, str]]:
            meant = (one for one in self.store.receipts(clip_id) if of(one[0].id))
            return [(station.id, token) for station, token in islice(meant, MAX_LISTED)]

        return await self.workers.ask(read)

    async def sweep(self) -> None:
        """Give up the uploads that have expired, and verify again where the disk had failed."""
        for upload in list(self._uploads.values()):
            if upload.complete:
                self._verifier.finish(upload)
                continue
            if upload.lock.locked() or self.expires(upload) > self._clock.now():
                continue
            try:
                if await self.remove(upload):
                    events.receiver_upload_expired(**upload.names, offset=upload.offset)
            except RequestError:
                pass  # somebody has come back to it
            except OSError as error:
                self.faults.note(error, "write")

    async def _restore(self) -> None:
        """Look at what was set aside, one copy at a time, in turns with the stations' clips."""
        for stem in await self.workers.ask(self.store.aside):
            if self.stopping.is_set():
                return
            try:
                async with self._slots.slot(""):
                    await self.workers.read(self.store.restore, stem)
            except OSError as error:
                self.faults.note(error, "read")

    async def watch_disk(self) -> None:
        """Look at the room on the disk, and whether it works again after an error."""
        await self.room.watch()
        if self.faults.is_old:
            try:
                await self.workers.write(self.store.incoming.try_write)
            except OSError as error:
                self.faults.note(error, "write")
            else:
                self.faults.none()

    async def _again_and_again(
        self, part: str, seconds: float, work: Callable[[], Awaitable[None]], after: float = 0.0
    ) -> None:
        """Do a part of the work at intervals, whatever becomes of it."""
        if after:
            await self._clock.sleep(after)
        while True:
            with self._incidents.within(part).fence(daemon_part_failed(part=part)):
                await work()
            await self._clock.sleep(seconds)

    def _begun_by(self, station_id: str) -> list[Upload]:
        return [
            upload
            for upload in self._uploads.values()
            if not upload.complete and upload.station == station_id
        ]

    def _arrived(self, token: str) -> Upload | None:
        """Return the complete upload that a manifest brought, if there is one."""
        for upload in self._uploads.values():
            if upload.complete and upload.record.manifest_token == token:
                return upload
        return None

    @contextlib.asynccontextmanager
    async def _held(self, upload: Upload, body: Body | None = None) -> AsyncIterator[None]:
        """Hold an upload alone.

        The newest request wins: a client that comes back must not wait for its own broken
        connection to be noticed, so a body that is being written is asked to end.
        """
        upload.turn += 1
        turn = upload.turn
        if upload.body is not None:
            upload.body.stop()
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                await upload.lock.acquire()
        except TimeoutError:
            raise _locked() from None
        try:
            if upload.id not in self._uploads:
                raise _unknown()
            if body is not None and upload.turn != turn:
                raise _locked()
            if self.stopping.is_set():
                raise _stopping()
            upload.body = body
            yield
        finally:
            upload.body = None
            upload.lock.release()

    async def _write(self, upload: Upload, body: Body, checksum: Checksum | None) -> None:
        fd = await self.workers.ask(self.store.incoming.open, upload.id)
        try:
            await self._align(upload, fd)
            verdict = await write_body(self.store.files, self.workers, fd, upload, body, checksum)
        finally:
            try:
                await finished(self.workers.ask(os.close, fd))
            except OSError:
                upload.written = 0  # what network file systems and quotas say only now
                raise
            finally:
                if upload.written:  # a body of no bytes renews nothing
                    upload.touched = self._clock.now()
                upload.offset, upload.written = upload.offset + upload.written, 0
        if verdict is Verdict.TOO_LONG:
            raise too_long(upload)
        if verdict is Verdict.DAMAGED:
            raise RequestError(problems.CHECKSUM_MISMATCH, "the chunk was discarded")

    async def _align(self, upload: Upload, fd: int) -> None:
        """Have a part end where its upload does, whatever an error has left of earlier writes.

        Raises:
            RequestError: the disk has lost bytes; the client is told where to go on.
            OSError: the disk failed.
        """
        ends = (await self.workers.ask(os.fstat, fd)).st_size
        if ends > upload.offset:
            await self.workers.write(self.store.files.truncate, fd, upload.offset)
        elif ends < upload.offset:
            expected, upload.offset = upload.offset, ends
            check_fits(upload, expected, None)

    def _broken_off(self, body: Body) -> RequestError:
        if self.stopping.is_set():
            return _stopping()
        if body.end is End.STOPPED:
            return _locked()
        detail = "what arrived was kept"
        return RequestError(problems.TOO_SLOW, detail, headers={"Connection": "close"})

    def _verified(self, upload: Upload, outcome: Outcome | None) -> None:
        if outcome is Outcome.STOPPED:
            return
        self._uploads.pop(upload.id, None)
        if outcome is not None:
            self._stored[upload.id] = Stored(upload.id, upload.station, upload.length)
            if len(self._stored) > MAX_REMEMBERED:
                del self._stored[next(iter(self._stored))]

    async def _wait_for(self, verification: Verification, seconds: float) -> None:
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait(
                {verification, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stopping.cancel()


def _unknown() -> RequestError:
    return RequestError(problems.UPLOAD_UNKNOWN, "create it again")


def _forked(error: HistoryForkedError) -> RequestError:
    return RequestError(problems.HISTORY_FORKED, error.detail, hint=error.hint)


def _clocks_differ(error: ClocksDifferError) -> RequestError:
    headers = {"Retry-After": "300"}
    return RequestError(problems.CLOCKS_DIFFER, error.detail, hint=error.hint, headers=headers)


def _locked() -> RequestError:
    return RequestError(
        problems.UPLOAD_LOCKED, "what arrived was kept", headers={"Retry-After": "1"}
    )


def _stopping() -> RequestError:
    return RequestError(problems.STOPPING, "what arrived was kept", headers={"Retry-After": "5"})
