"""The uploads under way: which there are, who writes to which, which are remembered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta

from dockd.base.clock import Clock
from dockd.receiver.core.body import Body
from dockd.receiver.core.errors import Reason, RefusedError
from dockd.receiver.core.upload import Stored, Upload
from dockd.receiver.store.protocol import Outcome

LOCK_SECONDS = 5.0
"""How long a request waits for an upload that another one writes to."""
MAX_REMEMBERED = 1000
"""Stored uploads that still answer requests, for clients that missed the last response."""
_LOCKED_RETRY_AFTER = 1
_STOPPING_RETRY_AFTER = 5


class UnderWay:
    """The uploads of one store, by id; used on one event loop."""

    def __init__(self, expiry: timedelta, clock: Clock) -> None:
        self.stopping = asyncio.Event()
        """Set while the receiver is shutting down."""
        self._expiry = expiry
        self._clock = clock
        self._uploads: dict[str, Upload] = {}
        self._stored: dict[str, Stored] = {}

    @property
    def uploads(self) -> Mapping[str, Upload]:
        """Those that are not stored yet, by id."""
        return self._uploads

    def find(self, upload_id: str) -> Upload | Stored:
        """Return an upload, or one that was stored recently.

        Raises:
            RefusedError: there is none by that id.
        """
        upload = self._uploads.get(upload_id) or self._stored.get(upload_id)
        if upload is None:
            raise _unknown()
        return upload

    def add(self, upload: Upload) -> None:
        """Add an upload."""
        self._uploads[upload.id] = upload

    def drop(self, upload: Upload) -> None:
        """Remove an upload that was given up."""
        self._uploads.pop(upload.id, None)

    def verified(self, upload: Upload, outcome: Outcome | None) -> None:
        """Remove an upload that was verified, and remember it unless it was damaged (None)."""
        if outcome is Outcome.STOPPED:
            return
        self.drop(upload)
        if outcome is not None:
            self._stored[upload.id] = Stored(upload.id, upload.station, upload.length)
            if len(self._stored) > MAX_REMEMBERED:
                del self._stored[next(iter(self._stored))]

    def is_kept(self, upload: Upload) -> bool:
        """Say whether an upload is under way or was stored, rather than given up."""
        return upload.id in self._uploads or upload.id in self._stored

    def expires(self, upload: Upload) -> datetime:
        """Return when an unfinished upload expires."""
        return upload.touched + self._expiry

    def is_expired(self, upload: Upload) -> bool:
        """Say whether an upload has expired, and no request has it."""
        return not upload.lock.locked() and self.expires(upload) <= self._clock.now()

    def of(self, station: str) -> list[Upload]:
        """Return all uploads of a station."""
        return [upload for upload in self._uploads.values() if upload.station == station]

    def arrived(self, token: str) -> Upload | None:
        """Return the complete upload that a manifest brought, if there is one."""
        for upload in self._uploads.values():
            if upload.complete and upload.record.manifest_token == token:
                return upload
        return None

    def stop(self) -> None:
        """End the requests that write, keeping every byte that has arrived."""
        self.stopping.set()
        for upload in self._uploads.values():
            if upload.body is not None:
                upload.body.stop()

    @contextlib.asynccontextmanager
    async def held(self, upload: Upload, body: Body | None = None) -> AsyncIterator[None]:
        """Hold an upload exclusively.

        The newest request wins: a client that returns must not wait for its own broken
        connection to be noticed, so a body that is being written is stopped.

        Raises:
            RefusedError: another request has it, it is gone, or the receiver shuts down.
        """
        upload.turn += 1
        turn = upload.turn
        if upload.body is not None:
            upload.body.stop()
        try:
            async with self._clock.timeout(LOCK_SECONDS):
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

    def broken_off(self, body: Body) -> RefusedError:
        """Return the refusal of a body that did not arrive whole."""
        if self.stopping.is_set():
            return _stopping()
        if body.stopped:
            return _locked()
        return RefusedError(Reason.INCOMPLETE, "what arrived was kept")


def _unknown() -> RefusedError:
    return RefusedError(Reason.UPLOAD_UNKNOWN, "create it again")


def _locked() -> RefusedError:
    detail = "what arrived was kept"
    return RefusedError(Reason.UPLOAD_LOCKED, detail, retry_after=_LOCKED_RETRY_AFTER)


def _stopping() -> RefusedError:
    detail = "what arrived was kept"
    return RefusedError(Reason.STOPPING, detail, retry_after=_STOPPING_RETRY_AFTER)
