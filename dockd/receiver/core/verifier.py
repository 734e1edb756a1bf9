"""Reads clips back before a receipt or an answer is signed, a few at a time, in fair turns."""

import asyncio
import errno
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from dockd.base.clock import Clock
from dockd.base.errors import (
    ClocksDifferError,
    HistoryForkedError,
    StoreError,
    UploadDamagedError,
    UploadUnreadableError,
)
from dockd.receiver import events
from dockd.receiver.core.archive import Archive
from dockd.receiver.core.clocks import check_clocks
from dockd.receiver.core.faults import Faults, Kind
from dockd.receiver.core.shares import StationSlots
from dockd.receiver.core.upload import Upload
from dockd.receiver.core.workers import Workers
from dockd.receiver.store.protocol import Copy, Outcome

READ_AGAIN_SECONDS = 3600.0
"""How long one reading back is valid for further answers."""
GIVE_UP_SECONDS = 600.0
"""How long bytes may be unreadable before they count as lost; a shorter fault is transient."""
_TRIES = 3
"""How often they have to be tried in that time."""
MAX_QUEUED = 64
"""Stored copies of one station that may wait to be read back."""
_MAX_REMEMBERED = 10_000


Verification = asyncio.Task[Exception | None]
"""Ends with what went wrong, if anything; a new one is started to try again."""


@dataclass
class _Failing:
    since: float
    tries: int = 0


class Verifier:
    """Verifies uploads and stored copies; ``on_done`` gets uploads that are finished.

    Its outcome is None for a damaged one.
    """

    def __init__(
        self,
        archive: Archive,
        faults: Faults,
        workers: Workers,
        clock: Clock,
        slots: StationSlots,
        on_done: Callable[[Upload, Outcome | None], None],
    ) -> None:
        self._archive = archive
        self._store = archive.store
        self._log = archive.log
        self._faults = faults
        self._workers = workers
        self._clock = clock
        self._on_done = on_done
        self._tasks: dict[str, Verification] = {}
        self._slots = slots
        self._read: OrderedDict[str, tuple[float, datetime]] = OrderedDict()
        """When each manifest's copy was read back last, by both clocks."""
        self._damaged: set[str] = set()
        """Manifests whose copies differ from what was signed for."""
        self._failing: dict[str, _Failing] = {}

    def read_at(self, manifest_sha256: str) -> datetime | None:
        """Return when a manifest's copy was read back, if that is recent."""
        when = self._read.get(manifest_sha256)
        if when is None or self._clock.monotonic() - when[0] > READ_AGAIN_SECONDS:
            return None
        return when[1]

    def is_damaged(self, manifest_sha256: str) -> bool:
        """Say whether a manifest's copy is known to be damaged, so that it is uploaded again."""
        return manifest_sha256 in self._damaged

    def finish(self, upload: Upload) -> Verification:
        """Verify a complete upload and store it, unless that runs already."""
        return self._start(upload.id, upload.station, lambda: self._finish(upload), "write")

    def confirm(self, copy: Copy) -> Verification | None:
        """Read a stored copy back, unless that runs; None if too many of its station's wait."""
        station = copy.manifest.station.id
        if copy.manifest_sha256 not in self._tasks and self._slots.waiting(station) >= MAX_QUEUED:
            return None
        return self._start(copy.manifest_sha256, station, lambda: self._confirm(copy), "read")

    async def close(self) -> None:
        """Wait for what runs; ``Store.stop`` interrupts it."""
        await asyncio.gather(*self._tasks.values())

    def _start(
        self, key: str, station: str, work: Callable[[], Awaitable[Exception | None]], kind: Kind
    ) -> Verification:
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._run(key, station, work, kind))
        return self._tasks[key]

    async def _run(
        self, key: str, station: str, work: Callable[[], Awaitable[Exception | None]], kind: Kind
    ) -> Exception | None:
        try:
            async with self._slots.slot(station):
                failure = await work()
        except UploadUnreadableError as error:
            self._faults.note(error, kind)
            return OSError(errno.EIO, error.detail)
        except OSError as error:
            self._faults.note(error, kind)
            return error
        else:
            if failure is None:
                self._faults.works("read", kind)
            return failure
        finally:
            del self._tasks[key]

    async def _finish(self, upload: Upload) -> Exception | None:
        store = self._store
        outcome: Outcome | None = None
        failure: StoreError | None = None
        try:
            # Before the long work; it is checked again before signing.
            check_clocks(upload.manifest, self._clock.now())
            # First: an anchor without its clip is harmless, a clip without its anchor is not.
            await self._workers.record(
                self._archive.admit, upload.manifest, upload.record.manifest_token
            )
            outcome = await self._workers.read(
                store.finish, upload.record, upload.manifest, self._archive.sign
            )
        except ClocksDifferError as error:
            return error  # it stays as it is, until the clocks agree
        except UploadUnreadableError as error:
            if not self._lasts(upload.id):
                raise
            await self._drop(upload)
            aside = await self._workers.write(store.give_up, upload.record, upload.manifest)
            detail = f"{error.detail}; set aside as {aside}"
            failure = UploadUnreadableError(detail, hint=error.hint)
            events.receiver_upload_unreadable(failure, **upload.names)
        except (UploadDamagedError, HistoryForkedError) as error:
            failure = error
            await self._drop(upload)
            await self._workers.write(store.incoming.discard, upload.id)
            events.receiver_upload_refused(error, **upload.names)
        self._failing.pop(upload.id, None)
        if outcome is Outcome.STOPPED:
            return None
        if outcome is not None:
            self._is_sound(upload.manifest_sha256)
            self._log.enter(upload.manifest_sha256, upload.manifest.clip_id)
        if outcome is Outcome.STORED:
            content = upload.manifest.ciphertext
            events.receiver_clip_stored(**upload.names, size=content.size, sha256=content.sha256)
        elif outcome is Outcome.KNOWN:
            events.receiver_clip_known(**upload.names)
        self._on_done(upload, outcome)
        return failure

    async def _drop(self, upload: Upload) -> None:
        clip_id = upload.manifest.clip_id
        await self._workers.record(self._log.drop, upload.manifest_sha256, clip_id)

    async def _confirm(self, copy: Copy) -> Exception | None:
        key = copy.manifest_sha256
        try:
            if not await self._workers.read(self._store.read_back, copy):
                return None
            if copy.receipt is None:
                await self._workers.record(self._log.expect, key, copy.manifest.clip_id)
                await self._workers.write(self._store.renew, copy, self._archive.sign)
                self._log.enter(key, copy.manifest.clip_id)
                events.receiver_receipt_renewed(
                    clip_id=copy.manifest.clip_id,
                    station=copy.manifest.station.id,
                    file=copy.receipt_file,
                )
        except ClocksDifferError as error:
            return error
        except UploadUnreadableError as error:
            if not self._lasts(key):
                raise
            return self._is_not_sound(copy, error)
        except UploadDamagedError as error:
            return self._is_not_sound(copy, error)
        self._failing.pop(key, None)
        if self._is_sound(key):
            events.receiver_copy_restored(clip_id=copy.manifest.clip_id, file=copy.file)
        return None

    def _lasts(self, key: str) -> bool:
        """Note that something could not be read; return whether that has lasted for long."""
        now = self._clock.monotonic()
        failing = self._failing.setdefault(key, _Failing(now))
        failing.tries += 1
        return failing.tries >= _TRIES and now - failing.since >= GIVE_UP_SECONDS

    def _is_sound(self, key: str) -> bool:
        """Note that a manifest's copy was read back; return whether it was known as damaged."""
        self._read[key] = self._clock.monotonic(), self._clock.now()
        self._read.move_to_end(key)
        if len(self._read) > _MAX_REMEMBERED:
            self._read.popitem(last=False)
        known = key in self._damaged
        self._damaged.discard(key)
        return known

    def _is_not_sound(self, copy: Copy, error: UploadDamagedError) -> UploadDamagedError:
        self._read.pop(copy.manifest_sha256, None)
        if copy.manifest_sha256 not in self._damaged:
            self._damaged.add(copy.manifest_sha256)
            events.receiver_copy_damaged(
                clip_id=copy.manifest.clip_id,
                file=copy.file,
                detail=f"{error.detail}; it stays where it is until it is uploaded again",
                hint="check the disk (dmesg); a station that still has the clip uploads it"
                " again, otherwise restore it from a backup",
            )
        return error
