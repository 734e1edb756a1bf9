"""Appending bodies to uploads."""

from collections.abc import AsyncIterator

from dockd.base.clock import Clock
from dockd.base.concurrency import finished
from dockd.base.errors import UploadDamagedError
from dockd.evidence.sealed import BEGINNING, begins_as_age
from dockd.receiver import events
from dockd.receiver.core.body import Body
from dockd.receiver.core.errors import Reason, RefusedError
from dockd.receiver.core.room import Room
from dockd.receiver.core.underway import UnderWay
from dockd.receiver.core.upload import Stored, Upload, check_fits, too_long
from dockd.receiver.core.verifier import Verifier
from dockd.receiver.core.waiting import MAX_WAIT, wait_for
from dockd.receiver.core.workers import Workers
from dockd.receiver.core.writing import Checksum, Verdict, write_body
from dockd.receiver.store.protocol import OpenPart, Store


class Appending:
    """Writes what arrives to the ends of uploads."""

    def __init__(
        self,
        store: Store,
        under_way: UnderWay,
        room: Room,
        verifier: Verifier,
        workers: Workers,
        clock: Clock,
    ) -> None:
        self._store = store
        self._under_way = under_way
        self._room = room
        self._verifier = verifier
        self._workers = workers
        self._clock = clock

    async def append(
        self,
        upload: Upload | Stored,
        offset: int,
        pieces: AsyncIterator[bytes],
        size: int | None,
        checksum: Checksum | None,
    ) -> None:
        """Write a body at the end of an upload; what arrived of a broken one is kept.

        Args:
            upload: where to.
            offset: where the client believes that the upload ends.
            pieces: the bytes; raises BodyBrokenError if they stop arriving.
            size: how many there will be, if that is known.
            checksum: what they must hash to, if the client sent one.

        Raises:
            RefusedError: nothing of the body was kept, or it did not arrive whole.
            OSError: the disk failed.
        """
        if isinstance(upload, Stored) or upload.complete:
            check_fits(upload, offset, size)
            return
        body = Body(pieces, self._clock)
        async with self._under_way.held(upload, body):
            check_fits(upload, offset, size)
            if upload.complete:
                return
            await self._room.check_written()
            # The checksum of a whole clip is the manifest's digest, for which the clip is
            # read back from the disk anyway: one reading serves both.
            whole = size == upload.length and checksum is not None and checksum.is_of(upload)
            await self._write(upload, body, None if whole else checksum)
            await self._check_beginning(upload, offset)
        if upload.complete:
            verification = self._verifier.finish(upload)
            if whole:
                await wait_for(verification, MAX_WAIT, self._under_way.stopping)
                self._check_kept(upload)
        if not body.complete:
            raise self._under_way.broken_off(body)

    async def _check_beginning(self, upload: Upload, offset: int) -> None:
        """Give up an upload whose first bytes are not those of an age file.

        Raises:
            RefusedError: they are not.
        """
        if offset >= BEGINNING:
            return
        incoming = self._store.incoming
        if begins_as_age(await self._workers.ask(incoming.beginning, upload.id, BEGINNING)):
            return
        await self._workers.write(incoming.discard, upload.id)
        self._under_way.drop(upload)
        error = UploadDamagedError("it does not begin as an age file does")
        events.receiver_upload_refused(error, **upload.names)
        raise RefusedError(Reason.NOT_SEALED, error.detail)

    def _check_kept(self, upload: Upload) -> None:
        if not self._under_way.is_kept(upload):
            raise RefusedError(Reason.DAMAGED, "the upload was discarded")

    async def _write(self, upload: Upload, body: Body, checksum: Checksum | None) -> None:
        part = await self._workers.ask(self._store.incoming.open, upload.id)
        try:
            await self._align(upload, part)
            verdict = await write_body(self._workers, part, upload, body, checksum)
        finally:
            try:
                await finished(self._workers.ask(part.close))
            except OSError:
                upload.written = 0  # what network file systems and quotas report only now
                raise
            finally:
                if upload.written:  # a body of no bytes renews nothing
                    upload.touched = self._clock.now()
                upload.offset, upload.written = upload.offset + upload.written, 0
        if verdict is Verdict.TOO_LONG:
            raise too_long(upload)
        if verdict is Verdict.DAMAGED:
            raise RefusedError(Reason.DAMAGED, "the chunk was discarded")

    async def _align(self, upload: Upload, part: OpenPart) -> None:
        """Make a part end where its upload does, whatever an error has left of earlier writes.

        Raises:
            RefusedError: the disk has lost bytes; the client learns where to continue.
            OSError: the disk failed.
        """
        ends = await self._workers.ask(part.size)
        if ends > upload.offset:
            await self._workers.write(part.truncate, upload.offset)
        elif ends < upload.offset:
            expected, upload.offset = upload.offset, ends
            check_fits(upload, expected, None)
