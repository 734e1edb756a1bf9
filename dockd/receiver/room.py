"""The room on the store's disk: promised to uploads when they begin, and never the reserve."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping

from dockd.receiver import problems
from dockd.receiver.problems import RequestError
from dockd.receiver.store import Store
from dockd.receiver.upload import Upload


class Room:
    """What is free, less what ``uploads`` have still to write and what stays in reserve."""

    def __init__(self, store: Store, uploads: Mapping[str, Upload], reserve: int) -> None:
        self._store = store
        self._uploads = uploads
        self._reserve = reserve
        self._beginning = 0

    @contextlib.asynccontextmanager
    async def promised(self, size: int) -> AsyncIterator[None]:
        """Keep room for an upload until it is one of the uploads.

        Raises:
            RequestError: there is none.
        """
        self._beginning += size
        try:
            await self._check(self._uploads.values(), self._beginning)
            yield
        finally:
            self._beginning -= size

    async def check_written(self) -> None:
        """Check that the uploads which are being written find what they were promised.

        Raises:
            RequestError: others have used up the disk since.
        """
        await self._check(one for one in self._uploads.values() if one.body is not None)

    async def _check(self, uploads: Iterable[Upload], more: int = 0) -> None:
        # Before the disk is asked: what is written meanwhile counts twice rather than never.
        needed = sum(upload.missing for upload in uploads) + more
        free = await asyncio.to_thread(self._store.free_bytes)
        if free - needed < self._reserve:
            raise RequestError(
                problems.STORE_FULL,
                f"{free} bytes are free, this and other uploads need {needed}, "
                f"and {self._reserve} stay in reserve",
                hint="make room on the receiver's disk",
                headers={"Retry-After": "30"},
            )
