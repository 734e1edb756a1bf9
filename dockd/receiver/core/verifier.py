"""What is read back on the way to a receipt or an answer, a few at a time, in fair turns."""

import asyncio
import errno
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dockd.base.clock import Clock
from dockd.base.errors import (
    ClocksDifferError,
    HistoryForkedError,
    StoreError,
    StoreFullError,
    UploadDamagedError,
    UploadUnreadableError,
)
from dockd.base.incidents import Incidents
from dockd.evidence.statements import Manifest
from dockd.receiver import events
from dockd.receiver.core.clocks import check_clocks
from dockd.receiver.core.shares import FairSlots
from dockd.receiver.core.upload import Upload
from dockd.receiver.core.workers import Workers
from dockd.receiver.http import problems
from dockd.receiver.http.problems import RequestError
from dockd.receiver.store.disk import Copy, Outcome, Sign, Store

READ_AGAIN_SECONDS = 3600.0
"""How long a reading back does for further answers."""
GIVE_UP_SECONDS = 600.0
"""How long bytes may fail to be read before they count as lost; a shorter fault passes."""
_TRIES = 3
"""How often that has to be tried meanwhile."""
MAX_QUEUED = 64
"""Stored copies of one station that wait to be read back at once."""
QUIET_SECONDS = 60.0
"""How long a disk has to give no error before that counts as the end of them."""
_MAX_REMEMBERED = 10_000


Kind = Literal["read", "write"]
"""What a disk was asked for."""


class Faults:
    """What a failing disk means to a request, and to the log."""

    def __init__(self, clock: Clock) -> None:
        self._incidents = Incidents(clock).scope("store")
        self._clock = clock
        self._failing: set[Kind] = set()
        self._failed_at: float | None = None
        """When it failed last, until that has been told to be over."""

    def refusal(self, error: Exception, kind: Kind) -> RequestError:
        """Note a disk error and return what the client is told."""
        self.note(error, kind)
        return self.answer(error)

    def note(self, error: Exception, kind: Kind) -> None:
        """Note a disk error."""
        self._failing.add(kind)
        self._failed_at = self._clock.monotonic()
        told = StoreError(str(error), hint="look at the store's disk and its mount")
        if _is_full(error):
            told = StoreFullError(str(error), hint="make room on the store's disk")
        self._incidents.failed(events.receiver_store_failed(), told)

    def answer(self, error: Exception) -> RequestError:
        """Return what a client is told of an error that has been noted."""
        problem, detail = problems.STORE_FAILED, "the disk gave an error"
        if _is_full(error):
            problem, detail = problems.STORE_FULL, "the disk is full"
        return RequestError(problem, detail, headers={"Retry-After": "30"})

    @property
    def last(self) -> bool:
        """Whether the disk's last word was an error, in anything that it does."""
        return bool(self._failing)

    @property
    def is_old(self) -> bool:
        """Whether the disk has failed, but not lately: it is to be tried."""
        at = self._failed_at
        return at is not None and self._clock.monotonic() - at >= QUIET_SECONDS

    def works(self, *kinds: Kind) -> None:
        """Note that the disk does this now; what it did not do lately may fail again."""
        self._failing.difference_update(kinds)

    def none(self) -> None:
        """Note that the disk works again, some time after its last error."""
        self._failing.clear()
        self._failed_at = None
        self._incidents.recovered(events.receiver_store_failed)


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


Verification = asyncio.Task[Exception | None]
"""Ends with what went wrong, if anything did; it is started anew to try again."""


@dataclass
class _Failing:
    since: float
    tries: int = 0


class Verifier:
    """Verifies uploads and stored copies; ``on_done`` hears of uploads that came to their end.

    It hears None of one that was damaged.
    """

    def __init__(
        self,
        store: Store,
        sign: Sign,
        admit: Callable[[Manifest, str], None],
        faults: Faults,
        workers: Workers,
        clock: Clock,
        slots: FairSlots,
        on_done: Callable[[Upload, Outcome | None], None],
    ) -> None:
        self._store = store
        self._sign = sign
        self._admit = admit
        self._faults = faults
        self._workers = workers
        self._clock = clock
        self._on_done = on_done
        self._tasks: dict[str, Verification] = {}
        self._slots = slots
        self._read: OrderedDict[str, tuple[float, datetime]] = OrderedDict()
        """When each manifest's copy was read back last, by both clocks."""
        self._damaged: set[str] = set()
        """Manifests whose copies are not what was signed for."""
        self._failing: dict[str, _Failing] = {}

    def read_at(self, manifest_sha256: str) -> datetime | None:
        """Return when a manifest's copy was read back, if that is not long ago."""
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
        """Wait for what runs; ``Store.stop`` makes that short."""
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
            # Before the long work; what is signed in the end is checked again.
            check_clocks(upload.manifest, self._clock.now())
            # First: an anchor without its clip does no harm, a clip without its anchor would.
            await self._workers.record(self._admit, upload.manifest, upload.record.manifest_token)
            outcome = await self._workers.read(
                store.finish, upload.record, upload.manifest, self._sign
            )
        except ClocksDifferError as error:
            return error  # it stays as it is, until the clocks agree
        except UploadUnreadableError as error:
            if not self._lasts(upload.id):
                raise
            aside = await self._workers.write(store.give_up, upload.record, upload.manifest)
            detail = f"{error.detail}; set aside as {aside}"
            failure = UploadUnreadableError(detail, hint=error.hint)
            events.receiver_upload_unreadable(failure, **upload.names)
        except (UploadDamagedError, HistoryForkedError) as error:
            failure = error
            await self._workers.write(store.incoming.discard, upload.id)
            events.receiver_upload_refused(error, **upload.names)
        self._failing.pop(upload.id, None)
        if outcome is Outcome.STOPPED:
            return None
        if outcome is not None:
            self._is_sound(upload.manifest_sha256)
        if outcome is Outcome.STORED:
            content = upload.manifest.ciphertext
            events.receiver_clip_stored(**upload.names, size=content.size, sha256=content.sha256)
        elif outcome is Outcome.KNOWN:
            events.receiver_clip_known(**upload.names)
        self._on_done(upload, outcome)
        return failure

    async def _confirm(self, copy: Copy) -> Exception | None:
        key = copy.manifest_sha256
        try:
            if not await self._workers.read(self._store.read_back, copy):
                return None
            if copy.receipt is None:
                await self._workers.write(self._store.renew, copy, self._sign)
                events.receiver_receipt_renewed(
                    clip_id=copy.manifest.clip_id,
                    station=copy.manifest.station.id,
                    file=str(copy.place.receipt),
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
            events.receiver_copy_restored(clip_id=copy.manifest.clip_id, file=str(copy.place.age))
        return None

    def _lasts(self, key: str) -> bool:
        """Note that something could not be read, and say whether it has been so for long."""
        now = self._clock.monotonic()
        failing = self._failing.setdefault(key, _Failing(now))
        failing.tries += 1
        return failing.tries >= _TRIES and now - failing.since >= GIVE_UP_SECONDS

    def _is_sound(self, key: str) -> bool:
        """Note that a manifest's copy was read back; return whether it was thought damaged."""
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
                file=str(copy.place.age),
                detail=f"{error.detail}; it stays where it is until it is uploaded again",
                hint="look at the disk (dmesg); a station that still has the clip uploads it"
                " again, otherwise bring it back from a backup",
            )
        return error
