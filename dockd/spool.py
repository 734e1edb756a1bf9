"""The station's ciphertext: written durably, within a budget, until its receipt is there.

A finished file is named after its own SHA-256, so that nothing is ever replaced; one that
is being written ends in ``.part``.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dockd import events
from dockd.board import Board
from dockd.clock import Clock
from dockd.concurrency import to_the_end
from dockd.errors import ClipTooLargeError, SpoolDamagedError, SpoolError, SpoolFullError
from dockd.files import Files, read_from_disk
from dockd.logs import Repeats
from dockd.settings import format_size

_OWN_NAME = re.compile(r"[0-9a-f]{64}\.age|[0-9a-f]{32}\.part")
_LOOK_AGAIN = 5.0
"""Seconds after which a wait for room looks at the disk again, which others use as well."""


@dataclass
class Part:
    """A ciphertext that is being written."""

    path: Path
    fd: int


class Spool:
    """The folder, its budget, and what waits for room in it."""

    def __init__(
        self,
        folder: Path,
        *,
        budget: int,
        reserve: int,
        files: Files,
        clock: Clock,
        board: Board | None = None,
    ) -> None:
        self.folder = folder
        self.budget = budget
        self.reserve = reserve
        self.waiting = False
        """Whether a clip waits for room."""
        self._files = files
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._promised = 0
        self._freed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._waits = Repeats(clock, events.SPOOL_FULL, events.SPOOL_ROOM, board)

    def recover(self, expected: Mapping[str, int]) -> set[str]:
        """Throw away what no clip needs, and return the digests of what is not there.

        Files with names that dockd doesn't give, such as ``lost+found``, are left alone.

        Args:
            expected: SHA-256 and size of each ciphertext that the ledger counts on.

        Returns:
            Those that are missing or have another size; their clips must be read again.

        Raises:
            SpoolError: the folder can't be used.
        """
        with self._explained():
            self._files.make_folder(self.folder)
            missing = dict(expected)
            for path in self.folder.iterdir():
                if not _OWN_NAME.fullmatch(path.name):
                    continue
                size = path.stat().st_size
                if missing.get(path.stem) == size and path.suffix == ".age":
                    del missing[path.stem]
                    self._sizes[path.stem] = size
                else:
                    self._files.remove(path)
        return set(missing)

    @property
    def used(self) -> int:
        """Bytes of ciphertext, written and promised."""
        return sum(list(self._sizes.values())) + self._promised

    def check_possible(self, size: int) -> None:
        """Make sure that a ciphertext fits an empty spool; to wait for its room would never end.

        Raises:
            ClipTooLargeError: it never does; SpoolError: the folder is gone.
        """
        if size > self.budget:
            raise ClipTooLargeError(
                f"{format_size(size)} of ciphertext are more than spool.budget, "
                f"{format_size(self.budget)}",
                hint="raise spool.budget, then: dockd resync --failed",
            )
        if size + self.reserve > self._disk():
            raise ClipTooLargeError(
                f"{format_size(size)} of ciphertext and spool.reserve are more than the whole disk",
                hint="give the spool a larger disk, then: dockd resync --failed",
            )

    @contextlib.asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait until a ciphertext of a size fits, and keep that room while the context lasts.

        Raises:
            SpoolError: the folder is gone.
        """
        async with self._turn:
            if self._fits(size):
                self._waits.success()
            self.waiting = True
            try:
                while not self._fits(size):
                    self._waits.failure(error=self._too_full(size), retry_in=_LOOK_AGAIN)
                    self._freed.clear()
                    await self._clock.wait(self._freed, _LOOK_AGAIN)
            finally:
                self.waiting = False
            self._promised += size
        try:
            yield
        finally:
            self._promised -= size
            self._freed.set()

    def _too_full(self, size: int) -> SpoolFullError:
        return SpoolFullError(
            f"{size} bytes are needed, {self.used} of {self.budget} are used, {self.free()} are"
            f" free on the disk and {self.reserve} stay in reserve",
            hint="uploads make room; if they stand still, look at target.down",
        )

    def _fits(self, size: int) -> bool:
        fits_disk = self.free() - self._promised - size >= self.reserve
        return self.used + size <= self.budget and fits_disk

    def free(self) -> int:
        """Return the free bytes of the spool's disk; blocks.

        Raises:
            SpoolError: the folder is gone.
        """
        with self._explained():
            return self._files.free_bytes(self.folder)

    def _disk(self) -> int:
        with self._explained():
            system = os.statvfs(self.folder)
            return system.f_blocks * system.f_frsize

    @contextlib.contextmanager
    def writing(self) -> Iterator[Part]:
        """Open a new part; unless it was published, it is gone when the context ends.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        path = self.folder / f"{secrets.token_hex(16)}.part"
        with self._explained():
            fd = self._files.create(path)
        try:
            yield Part(path, fd)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def write(self, part: Part, data: memoryview) -> None:
        """Append to a part.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        with self._explained():
            self._files.write(part.fd, data)

    def publish(self, part: Part, sha256: str) -> None:
        """Make a part durable under its digest.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        with self._explained():
            self._files.fsync(part.fd)
            size = os.fstat(part.fd).st_size
            self._files.publish(part.path, self.path(sha256))
        self._sizes[sha256] = size

    def holds(self, sha256: str) -> bool:
        """Say whether a ciphertext is there, as far as is known."""
        return sha256 in self._sizes

    def path(self, sha256: str) -> Path:
        """Return where a ciphertext lies."""
        return self.folder / f"{sha256}.age"

    async def remove(self, sha256: str) -> None:
        """Remove a ciphertext that is no longer needed; one that is gone already is no error.

        Raises:
            SpoolError: it could not be removed; the next start does it.
        """
        with self._explained():
            await to_the_end(self._files.remove, self.path(sha256))
        self._sizes.pop(sha256, None)
        self._freed.set()

    def check(self, sha256: str) -> None:
        """Re-read a ciphertext from the disk; blocks.

        Raises:
            SpoolDamagedError: it is missing, or not what was written.
            SpoolError: it could not be read for another reason.
        """
        digest = hashlib.sha256()
        with self._explained():
            try:
                for block in read_from_disk(self.path(sha256)):
                    digest.update(block)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EIO}:
                    raise SpoolDamagedError(f"{sha256}: {error.strerror}") from error
                raise
        if digest.hexdigest() != sha256:
            raise SpoolDamagedError(f"{sha256}: the disk returns other bytes than were written")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise SpoolFullError(
                    f"the disk under {self.folder} is full",
                    hint="free some disk; ingest goes on by itself",
                ) from error
            raise SpoolError(
                f"{error.filename or self.folder}: {error.strerror}",
                hint="check the disk that holds the spool; dockd tries again",
            ) from error
