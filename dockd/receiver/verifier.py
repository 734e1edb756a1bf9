"""Complete uploads on their way to a receipt, a few at a time, in threads of their own."""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dockd.clock import Clock
from dockd.errors import StoreError, StoreFullError, UploadDamagedError
from dockd.events import CLIP_KNOWN, CLIP_STORED, STORE_FAILED, STORE_WORKS, UPLOAD_REFUSED
from dockd.logs import Repeats, emit, emit_error
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


class Verifier:
    """Verifies complete uploads; ``on_done`` hears of each, with None if it was damaged."""

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
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(concurrency, "verify")

    def start(self, upload: Upload) -> asyncio.Task[None]:
        """Verify an upload, unless that runs already."""
        if upload.id not in self._tasks:
            self._tasks[upload.id] = asyncio.create_task(self._run(upload))
        return self._tasks[upload.id]

    def runs(self, upload: Upload) -> bool:
        """Say whether an upload's verification runs."""
        return upload.id in self._tasks

    async def close(self) -> None:
        """Wait for what runs; ``Store.stop`` makes that short."""
        await asyncio.gather(*self._tasks.values())
        self._threads.shutdown()

    async def _run(self, upload: Upload) -> None:
        upload.failure = None
        try:
            outcome = await self._finish(upload)
        except OSError as error:
            self._faults.refusal(error)
            upload.failure = error
        else:
            self._faults.none()
            self._on_done(upload, outcome)
        finally:
            del self._tasks[upload.id]

    async def _finish(self, upload: Upload) -> Outcome | None:
        work = partial(self._store.finish, upload.record, upload.manifest, self._sign)
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except UploadDamagedError as error:
            await asyncio.to_thread(self._store.incoming.discard, upload.id)
            emit_error(UPLOAD_REFUSED, error, **upload.names)
            return None
        if outcome is Outcome.STORED:
            content = upload.manifest.ciphertext
            emit(CLIP_STORED, **upload.names, size=content.size, sha256=content.sha256)
        elif outcome is Outcome.KNOWN:
            emit(CLIP_KNOWN, **upload.names)
        return outcome
