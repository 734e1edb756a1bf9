"""The uploads under way: who writes to which, which are complete, which are given up."""

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from dockd.clock import Clock
from dockd.events import UPLOAD_CREATED, UPLOAD_EXPIRED
from dockd.logs import emit
from dockd.manifest import Manifest
from dockd.receiver import problems
from dockd.receiver.body import Body, End
from dockd.receiver.config import StoreConfig
from dockd.receiver.problems import RequestError
from dockd.receiver.recovery import recover
from dockd.receiver.room import Room
from dockd.receiver.stations import Stations
from dockd.receiver.store import Outcome, Sign, Store
from dockd.receiver.upload import Upload
from dockd.receiver.verifier import Faults, Verification, Verifier
from dockd.receiver.writing import Checksum, Verdict, write_body

LOCK_SECONDS = 5.0
"""How long a request waits for an upload that another one writes to."""
MAX_WAIT = 30
"""Seconds that a request waits for a verification, at most."""
SWEEP_SECONDS = 60.0
"""How often expired uploads are looked for."""
MAX_UNFINISHED = 1000
"""Unfinished uploads of one station at once."""
MAX_REMEMBERED = 1000
"""Stored uploads whose addresses still answer, for clients that missed the last response."""


class Uploads:
    """The uploads of one store; everything here runs on one event loop."""

    def __init__(
        self, store: Store, stations: Stations, sign: Sign, config: StoreConfig, clock: Clock
    ) -> None:
        self.store = store
        self.faults = Faults(clock)
        self.stopping = asyncio.Event()
        self._stations = stations
        self._expiry = timedelta(seconds=config.upload_expiry_seconds)
        self._clock = clock
        self._uploads: dict[str, Upload] = {}
        self._room = Room(store, self._uploads, config.reserve)
        self._stored: dict[str, Upload] = {}
        self._creating: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._verifier = Verifier(
            store, sign, self.faults, config.verify_concurrency, self._verified
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Pick up what earlier runs left, and give up what has expired, until the end."""
        for upload in await asyncio.to_thread(recover, self.store, self._stations):
            self._uploads[upload.id] = upload
            if upload.complete:
                self._verifier.finish(upload)
        sweeper = asyncio.create_task(self._sweep_forever())
        try:
            yield
        finally:
            self.stop()
            sweeper.cancel()
            await self._verifier.close()

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

    def find(self, upload_id: str) -> Upload:
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
            RequestError: the clip is here already, or there is no room.
        """
        async with self._creating[manifest.station.id]:
            known = await asyncio.to_thread(self.store.has, manifest)
            for upload in self._of_station(manifest.station.id):
                if upload.record.manifest_token == token:
                    await self.remove(upload)
            if known or self._arrived(manifest):
                raise RequestError(problems.CLIP_STORED, "nothing needs to be uploaded")
            if len(self._of_station(manifest.station.id)) >= MAX_UNFINISHED:
                raise RequestError(
                    problems.TOO_MANY_UPLOADS,
                    f"there are {MAX_UNFINISHED} of {manifest.station.id}",
                    hint="they expire, or the station finishes them",
                    headers={"Retry-After": "60"},
                )
            async with self._room.promised(manifest.ciphertext.size):
                record = await asyncio.to_thread(self.store.incoming.create, token, metadata)
                upload = Upload(record, manifest, 0, self._clock.now())
                self._uploads[upload.id] = upload
        emit(UPLOAD_CREATED, **upload.names, size=upload.length)
        if upload.complete:
            self._verifier.finish(upload)
        return upload

    async def current_offset(self, upload: Upload) -> int:
        """Return how many bytes have arrived; a request that is writing has to end first."""
        if not upload.complete:
            async with self._held(upload):
                pass
        return upload.offset

    async def append(
        self, upload: Upload, offset: int, body: Body, size: int | None, checksum: Checksum | None
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
        if upload.complete:
            upload.check_fits(offset, size)
            return
        async with self._held(upload, body):
            upload.check_fits(offset, size)
            if upload.complete:
                return
            await self._room.check_written()
            # The checksum of a whole clip is the manifest's digest, for which the clip is
            # read back from the disk anyway: that one reading serves both.
            whole = size == upload.length and checksum is not None and checksum.is_of(upload)
            await self._write(upload, body, None if whole else checksum)
        if upload.complete:
            verification = self._verifier.finish(upload)
            if whole:
                await self._wait_for(verification, MAX_WAIT)
                self._check_kept(upload)
        if body.end is not End.COMPLETE:
            raise self._broken_off(body)

    def _check_kept(self, upload: Upload) -> None:
        if upload.id not in self._uploads and upload.id not in self._stored:
            raise RequestError(problems.CHECKSUM_MISMATCH, "the upload was discarded")

    async def remove(self, upload: Upload) -> bool:
        """Give up an unfinished upload; a complete one stays, and False is returned.

        Raises:
            RequestError: another request has it.
        """
        if upload.complete:
            return False
        async with self._held(upload):
            if upload.complete:
                return False
            await asyncio.to_thread(self.store.incoming.discard, upload.id)
            del self._uploads[upload.id]
            return True

    async def receipt(self, manifest: Manifest, token: str, wait: float) -> str | None:
        """Return the receipt for a brought manifest; None while verification runs.

        Args:
            manifest: the manifest, checked.
            token: its compact form, which is kept before the receipt is given.
            wait: seconds to wait for a verification that runs.

        Raises:
            RequestError: the clip has to be uploaded.
            OSError: the disk failed during verification.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        while (receipt := await asyncio.to_thread(self.store.claim, manifest, token)) is None:
            verification = await self._verification(manifest, token)
            await self._wait_for(verification, max(deadline - now(), 0))
            if self.stopping.is_set() or not verification.done():
                return None
            if (failure := verification.result()) is not None:
                raise failure
        return receipt

    async def _verification(self, manifest: Manifest, token: str) -> Verification:
        """Return what a manifest's receipt has to wait for next."""
        if await asyncio.to_thread(self.store.has, manifest):
            return self._verifier.admit(manifest, token)
        upload = self._arrived(manifest)
        if upload is None:
            raise RequestError(problems.CLIP_NOT_STORED, "it has to be uploaded")
        return self._verifier.finish(upload)

    async def stored_receipt(self, clip_id: str) -> str | None:
        """Return the receipt of a clip's first copy, if it is stored."""
        return await asyncio.to_thread(self.store.receipt, clip_id)

    async def free_bytes(self) -> int:
        """Return the free space of the store's disk in bytes."""
        return await asyncio.to_thread(self.store.free_bytes)

    async def sweep(self) -> None:
        """Give up the uploads that have expired, and verify again where the disk had failed."""
        for upload in list(self._uploads.values()):
            if upload.complete:
                self._verifier.finish(upload)
                continue
            if upload.lock.locked() or self.expires(upload) > self._clock.now():
                continue
            with contextlib.suppress(RequestError):
                if await self.remove(upload):
                    emit(UPLOAD_EXPIRED, **upload.names, offset=upload.offset)

    async def _sweep_forever(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except OSError as error:
                self.faults.refusal(error)

    def _of_station(self, station_id: str) -> list[Upload]:
        return [
            upload
            for upload in self._uploads.values()
            if not upload.complete and upload.manifest.station.id == station_id
        ]

    def _arrived(self, manifest: Manifest) -> Upload | None:
        """Return a complete upload that will do for a manifest, once it is verified."""
        wanted = set(manifest.recipients)
        for upload in self._uploads.values():
            same = upload.manifest.clip_id == manifest.clip_id
            if same and upload.complete and set(upload.manifest.recipients) >= wanted:
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
        fd = await asyncio.to_thread(self.store.incoming.open, upload.id)
        try:
            verdict = await write_body(self.store.files, fd, upload, body, checksum)
        finally:
            upload.offset, upload.written = os.fstat(fd).st_size, 0
            upload.touched = self._clock.now()
            os.close(fd)
        if verdict is Verdict.TOO_LONG:
            raise upload.too_long()
        if verdict is Verdict.DAMAGED:
            raise RequestError(problems.CHECKSUM_MISMATCH, "the chunk was discarded")

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
        del self._uploads[upload.id]
        if outcome is not None:
            self._stored[upload.id] = upload
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


def _locked() -> RequestError:
    return RequestError(
        problems.UPLOAD_LOCKED, "what arrived was kept", headers={"Retry-After": "1"}
    )


def _stopping() -> RequestError:
    return RequestError(problems.STOPPING, "what arrived was kept", headers={"Retry-After": "5"})
