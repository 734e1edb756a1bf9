"""What is read back on the way to a receipt, a few at a time, in threads of their own."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from dockd.clock import Clock
from dockd.errors import (
    StoreError,
    StoreFullError,
    UploadDamagedError,
    UploadUnreadableError,
)
from dockd.events import (
    CLIP_KNOWN,
    CLIP_STORED,
    STORE_FAILED,
    STORE_WORKS,
    UPLOAD_REFUSED,
    UPLOAD_UNREADABLE,
)
from dockd.logs import Repeats, emit, emit_error
from dockd.manifest import Manifest, statement_sha256
from dockd.receiver import problems
from dockd.receiver.problems import RequestError
from dockd.receiver.store import Outcome, Sign, Store
from dockd.receiver.upload import Upload


class Faults:
    """What a failing disk means to a request, and to the log."""

    def __init__(self, clock: Clock) -> None:
        self._repeats = Repeats(clock, STORE_FAILED, STORE_WORKS)

    def refusal(self, error: OSError) -> RequestError:
        """Note a disk error and return what the client is told."""
        retry = {"Retry-After": "30"}
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            full = StoreFullError(str(error), hint="make room on the store's disk")
            self._repeats.failure("store", error=full)
            return RequestError(problems.STORE_FULL, "the disk is full", headers=retry)
        failed = StoreError(str(error), hint="look at the store's disk and its mount")
        self._repeats.failure("store", error=failed)
        return RequestError(problems.STORE_FAILED, "the disk gave an error", headers=retry)

    def none(self) -> None:
        """Note that the disk works."""
        self._repeats.success("store")


T = TypeVar("T")
Verification = asyncio.Task[OSError | None]
"""Ends with what the disk said if it failed; it is started anew to try again."""


class Verifier:
    """Verifies uploads and stored copies; ``on_done`` hears of uploads that came to their end.

    It hears None of one that was damaged.
    """

    def __init__(
        self,
        store: Store,
        sign: Sign,
        faults: Faults,
        concurrency: int,
        on_done: Callable[[Upload, Outcome | None], None],
    ) -> None:
        self._store = store
        self._sign = sign
        self._faults = faults
        self._on_done = on_done
        self._tasks: dict[str, Verification] = {}
        self._threads = ThreadPoolExecutor(concurrency, "verify")

    def finish(self, upload: Upload) -> Verification:
        """Verify a complete upload and store it, unless that runs already."""
        return self._start(upload.id, lambda: self._finish(upload))

    def admit(self, manifest: Manifest, token: str) -> Verification:
        """Verify a stored copy for a manifest that is new here, unless that runs already."""

        def work() -> object:
            # One that ran may just have ended.
            return self._store.claim(manifest, token) or self._store.admit(manifest, token)

        return self._start(statement_sha256(token), lambda: self._in_thread(work))

    async def close(self) -> None:
        """Wait for what runs; ``Store.stop`` makes that short."""
        await asyncio.gather(*self._tasks.values())
        self._threads.shutdown()

    def _start(self, key: str, work: Callable[[], Awaitable[object]]) -> Verification:
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._run(key, work))
        return self._tasks[key]

    async def _run(self, key: str, work: Callable[[], Awaitable[object]]) -> OSError | None:
        try:
            await work()
        except OSError as error:
            self._faults.refusal(error)
            return error
        else:
            self._faults.none()
            return None
        finally:
            del self._tasks[key]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _finish(self, upload: Upload) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await self._in_thread(
                partial(self._store.finish, upload.record, upload.manifest, self._sign)
            )
        except UploadUnreadableError as error:
            emit_error(UPLOAD_UNREADABLE, error, **upload.names)
        except UploadDamagedError as error:
            await asyncio.to_thread(self._store.incoming.discard, upload.id)
            emit_error(UPLOAD_REFUSED, error, **upload.names)
        if outcome is Outcome.STORED:
            content = upload.manifest.ciphertext
            emit(CLIP_STORED, **upload.names, size=content.size, sha256=content.sha256)
        elif outcome is Outcome.KNOWN:
            emit(CLIP_KNOWN, **upload.names)
        self._on_done(upload, outcome)
