"""Ingests clips: room in the spool, one reading, a signed manifest, the ledger."""

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from dockd.base.clock import Clock, timestamp
from dockd.base.concurrency import to_the_end
from dockd.base.errors import (
    CameraHangsError,
    CameraLostError,
    ClipChangedError,
    ClipTooLargeError,
    ClipUnreadableError,
    SourceError,
    SpoolError,
)
from dockd.base.slots import FairSlots
from dockd.evidence.age import Recipient, Sealer, ciphertext_size
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import (
    CameraIdentity,
    ClockFacts,
    FileFacts,
    LeftAlone,
    Manifest,
    Signer,
    derive_clip_id,
    sign,
)
from dockd.host.files import OWN_SHORTAGES
from dockd.station import events
from dockd.station.cameras import Media
from dockd.station.cameras.leftovers import Leftovers
from dockd.station.cameras.tree import Root, advice, open_file
from dockd.station.config import IngestConfig
from dockd.station.ledger.ingests import SealedFacts
from dockd.station.ledger.journal import Anchoring
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Clip, whole_path
from dockd.station.pipeline.activity import Activity, ClipProgress
from dockd.station.pipeline.ingest import CHANGES, IngestCancelledError, Ingested, ingest
from dockd.station.pipeline.shortening import fit, fit_all
from dockd.station.reports import ClipSpooled, Reports
from dockd.station.spool import Part, Spool

_TRIES = 3
"""Failed readings after which a clip counts as unreadable."""
_NONCE_SIZE = 16
_ROOM_FOR_PATH = 900
_ROOM_FOR_PLACE = 250
_ROOM_FOR_NAMED = 700
"""Bytes in a manifest, for the device's facts and for the file name's metadata each."""
_UNREACHABLE = {
    *(errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ECONNRESET),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ESHUTDOWN),
}
"""Errors of a network file system whose server is unreachable: not an error of one clip."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


@dataclass(frozen=True)
class DockingFacts:
    """What manifests state about the docking in which a camera's clips are read."""

    media: Media
    docking: int
    clock: ClockFacts
    left_alone: Leftovers
    """The files that the same scan left alone."""


@dataclass
class _Reading:
    """The reading of one clip into the spool, shared with the thread that reads."""

    media: Media
    root: Root
    clip: Clip
    cancelled: threading.Event = field(default_factory=threading.Event)
    part: Part | None = None
    """The ciphertext, once all of its bytes are durable."""
    _alive: float = 0.0
    _in_spool: bool = False

    def _now(self) -> float:
        return self.media.threads.clock.monotonic()

    def alive(self) -> float:
        """Return when the camera last answered, by its threads' clock."""
        return self._now() if self._in_spool else self._alive

    def go_on(self) -> None:
        """Raise IngestCancelledError if the reading was cancelled."""
        if self.cancelled.is_set():
            raise IngestCancelledError

    def moved(self) -> None:
        """Note that the camera has answered."""
        self._alive = self._now()

    @contextlib.contextmanager
    def in_spool(self) -> Iterator[None]:
        """Note that the reading waits for the spool, not for the camera."""
        self._in_spool = True
        try:
            yield
        finally:
            self._in_spool = False
            self.moved()


@dataclass(frozen=True)
class _Entered:
    """The result of entering a clip that was read."""

    clip_id: str
    rejoined: int | None = None
    """The number of the same clip, if that is already in the spool."""


@dataclass(frozen=True)
class Seal:
    """What a station seals and signs every clip with."""

    station: str
    key: SigningKey
    recipients: Sequence[Recipient]

    @property
    def fingerprints(self) -> list[str]:
        """The recipients, as manifests name them."""
        return sorted(recipient.fingerprint for recipient in self.recipients)

    def manifest(
        self,
        stay: DockingFacts,
        clip: Clip,
        ingested: Ingested,
        at: datetime,
        anchoring: Anchoring,
    ) -> str:
        """Return the signed manifest of a clip that was ingested.

        It travels in a header, and proxies commonly limit lines to 8 KiB. So texts of unlimited
        length are cut; the ledger and the journal have the whole path.

        Args:
            stay: the docking.
            clip: the clip.
            ingested: the result of the reading.
            at: the time of sealing.
            anchoring: the journal's head, and the one in the manifest before.
        """
        path = whole_path(clip.path)
        shown = fit(path, _ROOM_FOR_PATH)
        modified = datetime.fromtimestamp(ingested.stat.modified_ns / 1e9, UTC)
        manifest = Manifest(
            clip_id=derive_clip_id(clip.camera.id, ingested.plaintext.sha256),
            station=Signer(id=self.station, kid=self.key.kid),
            camera=CameraIdentity(profile=clip.camera.profile, serial=clip.camera.serial),
            docking=str(stay.docking),
            place=fit(stay.media.place, _ROOM_FOR_PLACE),
            device=fit_all(stay.media.facts, _ROOM_FOR_NAMED),
            file=FileFacts(
                path=shown,
                path_sha256=None if shown == path else hashlib.sha256(clip.path).hexdigest(),
                kind=clip.match.kind,
                modified_at=timestamp(modified),
                metadata=fit_all(clip.match.metadata, _ROOM_FOR_NAMED),
                event=clip.match.event,
            ),
            plaintext=ingested.plaintext,
            ciphertext=ingested.ciphertext,
            recipients=self.fingerprints,
            sealed_at=timestamp(at),
            clock=stay.clock,
            left_alone=LeftAlone(files=stay.left_alone.files, size=stay.left_alone.size),
            journal=anchoring.head,
            previous=anchoring.previous,
        )
        return sign(manifest, self.key)


class Intake:
    """Ingests clips of all cameras, up to a number at once."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        seal: Seal,
        clock: Clock,
        activity: Activity,
        *,
        config: IngestConfig,
        reports: Reports,
    ) -> None:
        self.concurrency = config.concurrency
        self._ledger = ledger
        self._spool = spool
        self._seal = seal
        self._clock = clock
        self._activity = activity
        self._most_threads = config.threads_per_clip
        self._under_way = 0
        self._reports = reports
        self._slots = FairSlots(config.concurrency)
        self._header_size = len(Sealer(seal.recipients).prologue) - _NONCE_SIZE
        self._incidents = activity.incidents.scope("intake")

    async def take(self, stay: DockingFacts, root: Root, clip: Clip) -> None:
        """Bring one clip from found to spooled, or leave it for a later scan.

        Raises:
            LedgerError: the ledger failed; the clip will be ingested later.
            CameraLostError, CameraHangsError: its camera is gone, or doesn't respond.
        """
        size = ciphertext_size(clip.size, self._header_size)
        try:
            refusal = await self._refusal(stay.media, root, clip, size)
            async with (
                self._slots.slot(clip.camera.id),
                self._spool.room(0 if refusal else size),
            ):
                await to_the_end(self._ledger.ingests.begin, clip, stay.docking)
                self._under_way += 1
                try:
                    clip = replace(clip, docking=stay.docking)
                    await self._ingest(stay, root, clip, refusal)
                finally:
                    self._under_way -= 1
        except SpoolError as error:
            self._incidents.failed(events.spool_failed(), error)
            self._activity.counting.retried(error.event)
        else:
            self._incidents.recovered(events.spool_failed)
            self._reports.put(ClipSpooled())

    async def _refusal(
        self, media: Media, root: Root, clip: Clip, size: int
    ) -> ClipUnreadableError | None:
        """Return why a clip can't be read at all, going by its size; None if it can."""
        if not await media.threads.run(root.can_hold, clip.path, clip.size):
            return ClipUnreadableError(
                f"its directory entry says {clip.size} bytes, more than the file system can hold",
                hint="check the camera's file system; the clip stays on the camera",
            )
        try:
            await self._spool.check_possible(size)
        except ClipTooLargeError as error:
            return error
        return None

    async def _ingest(
        self, stay: DockingFacts, root: Root, clip: Clip, refusal: ClipUnreadableError | None
    ) -> None:
        """Ingest a clip in state ``ingesting``; it always leaves that state."""
        about = clip.about
        incidents = self._activity.docked_clip(clip)
        began = self._clock.monotonic()
        reading = _Reading(stay.media, root, clip)
        try:
            try:
                ingested = await self._read(reading, refusal)
                entered = await to_the_end(self._enter, stay, reading, ingested)
            finally:
                if reading.part is not None:
                    await to_the_end(self._spool.discard, reading.part)
        except ClipUnreadableError as error:
            await to_the_end(self._ledger.ingests.unreadable, clip, error.event, error.detail)
            incidents.close(events.clip_ingest_interrupted)
            events.clip_unreadable(error, **about)
        except SourceError as error:
            await to_the_end(self._ledger.ingests.interrupt, clip, error.event, error.detail)
            incidents.failed(events.clip_ingest_interrupted(**about), error)
            self._activity.counting.retried(error.event)
            if isinstance(error, CameraLostError | CameraHangsError):
                raise
        except BaseException:
            problem = "the ingest was interrupted"
            await to_the_end(self._ledger.ingests.interrupt, clip, "interrupted", problem)
            raise
        else:
            seconds = round(self._clock.monotonic() - began, 3)
            clip_id, into = entered.clip_id, entered.rejoined
            incidents.recovered(
                events.clip_ingest_interrupted, events.clip_recovered(**about, clip_id=clip_id)
            )
            if into is None:
                events.clip_spooled(**about, clip_id=clip_id, size=clip.size, seconds=seconds)
            else:
                events.clip_rejoined(**about, clip_id=clip_id, size=clip.size, into=into)
            self._activity.counting.ingested(clip.size, seconds)

    async def _read(self, reading: _Reading, refusal: ClipUnreadableError | None) -> Ingested:
        """Read a clip into the spool; read errors of the camera are retried.

        Raises:
            ClipUnreadableError, ClipChangedError, CameraLostError, SpoolError: as named.
        """
        if refusal is not None:
            raise refusal
        tries = AsyncRetrying(
            retry=retry_if_exception_type(ClipUnreadableError),
            stop=stop_after_attempt(_TRIES),
            wait=wait_exponential(multiplier=1),
            sleep=self._clock.sleep,
            reraise=True,
        )
        clip = reading.clip
        with self._activity.working(clip, "ingest", clip.size) as work:
            async for attempt in tries:
                with attempt:
                    return await reading.media.threads.patiently(
                        partial(self._read_once, reading, work),
                        alive=reading.alive,
                        stop=reading.cancelled.set,
                    )
        raise AssertionError("tenacity re-raises the last failure")

    def _read_once(self, reading: _Reading, work: ClipProgress) -> Ingested:
        with reading.in_spool():
            part = self._spool.begin()
        try:
            ingested = self._read_into(part, reading, work)
            with reading.in_spool():
                self._spool.finish(part)
            reading.go_on()
        except BaseException:
            with reading.in_spool():
                self._spool.discard(part)
            raise
        reading.part = part
        return ingested

    def _read_into(self, part: Part, reading: _Reading, work: ClipProgress) -> Ingested:
        def write(block: memoryview) -> None:
            with reading.in_spool():
                self._spool.write(part, block)

        def progress(done: int) -> None:
            reading.moved()
            work.at(done)

        try:
            with open_file(reading.root, reading.clip.path) as source:
                if os.fstat(source).st_size != reading.clip.size:
                    raise ClipChangedError("its size changed after room was reserved", hint=CHANGES)
                return ingest(
                    source,
                    write,
                    self._seal.recipients,
                    threads=self._threads_for_one_more(),
                    cancelled=reading.cancelled,
                    progress=progress,
                )
        except OSError as error:
            raise self._explain(error, reading.media) from error

    def _threads_for_one_more(self) -> int:
        """Return how many threads a clip gets: a second one helps only while a core is free."""
        cores_a_clip = (os.cpu_count() or 1) // max(self._under_way, 1)
        return max(min(self._most_threads, cores_a_clip), 1)

    def _explain(self, error: OSError, media: Media) -> SourceError:
        """Return what an error while a clip was read means; blocks.

        Raises:
            SourceError: it is unknown whether the camera is still there.
        """
        if not media.is_there():
            return CameraLostError(f"{media.place} is gone", hint="dock the camera again")
        if error.errno in _GONE and not media.ours_alone:
            return ClipChangedError("the file is gone", hint=CHANGES)
        if error.errno in OWN_SHORTAGES:
            return SourceError(
                f"this station lacks resources: {error.strerror}", hint="dockd retries"
            )
        if error.errno in _UNREACHABLE:
            return SourceError(
                f"{media.place}: {error.strerror}",
                hint="check the folder's server and its mount; dockd retries",
            )
        return ClipUnreadableError(
            f"{error.strerror} (errno {error.errno})",
            hint=advice(error, "the clip stays on the camera; see docs/operate.md"),
        )

    def _enter(self, stay: DockingFacts, reading: _Reading, ingested: Ingested) -> "_Entered":
        """Enter a ciphertext and its manifest into spool and ledger; blocks.

        Both are durable before the ledger records them, so that after a crash the next start
        finds all or nothing. A clip that is already in the spool, as after the loss of a
        ledger, isn't entered a second time.
        """
        clip, at, sha256 = reading.clip, self._clock.now(), ingested.ciphertext.sha256
        facts = SealedFacts(
            clip_id=derive_clip_id(clip.camera.id, ingested.plaintext.sha256),
            stat=ingested.stat,
            plaintext=ingested.plaintext,
            ciphertext=ingested.ciphertext,
        )
        twin = self._ledger.ingests.rejoin(clip, facts, self._seal.fingerprints)
        if twin is not None:
            return _Entered(facts.clip_id, rejoined=twin.id)
        # Not inside the ledger's transaction: a slow spool disk must not block its other users.
        anchoring = self._ledger.journal.next_anchor(self._seal.key.kid)
        manifest = self._seal.manifest(stay, clip, ingested, at, anchoring)
        assert reading.part is not None
        try:
            self._spool.keep_manifest(sha256, manifest)
            self._spool.publish(reading.part, sha256)
            self._ledger.ingests.spooled(clip, facts, manifest)
        except Exception:
            self._spool.take_back(sha256)
            raise
        return _Entered(facts.clip_id)
