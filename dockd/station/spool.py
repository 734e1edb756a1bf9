"""The station's ciphertext: stored durably, within a budget, until its receipt arrives.

A finished file is named after its own SHA-256, so that no file is ever replaced; its manifest,
``.jws``, is beside it before it gets that name. A file that is being written ends in ``.part``.
What is left of a damaged one is set aside under its clip's id, ending in ``.damaged``, as it may
be the last copy. So may a file that the ledger does not know; it is kept.
"""

import asyncio
import contextlib
import errno
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from dockd.base.clock import Clock
from dockd.base.concurrency import to_the_end
from dockd.base.errors import (
    CameraHangsError,
    ClipTooLargeError,
    SpoolDamagedError,
    SpoolDiskFullError,
    SpoolError,
    SpoolFullError,
)
from dockd.base.incidents import Incidents
from dockd.base.sizes import shown_size
from dockd.base.threads import Threads
from dockd.evidence.statements import Content
from dockd.host.files import Files, read_from_disk
from dockd.station import events

P = ParamSpec("P")
T = TypeVar("T")

_OWN_NAME = re.compile(
    r"(?P<sha256>[0-9a-f]{64})\.(?P<kind>age|jws)|([0-9a-f]{32}|[0-9a-f]{64}\.jws\.[0-9a-f]{8})\.part"
)
_MOST_MANIFEST = 1 << 20
"""Bytes of a manifest that are read, at most."""
_MARKER = ".dockd-spool"
"""The file that marks a folder as the spool."""
_PATIENCE = 120.0
"""Seconds within which the disk has to report its free space."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOOK_AGAIN = 5.0
"""Seconds after which free space is checked again, as others use the disk too."""
_DAMAGE_HINT = "check the disk that holds the spool; see docs/operate.md"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Distinguish a ciphertext that is missing from one that can't be read now.

    Raises:
        SpoolDamagedError: it is missing; SpoolError: the disk or this process has a failure
            that may be transient.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SpoolDamagedError(f"{path} is gone", hint=_DAMAGE_HINT) from error
    except OSError as error:
        raise SpoolError(
            f"{path}: {error.strerror}", hint="check the disk that holds the spool, and dmesg"
        ) from error


def check_ciphertext(path: Path, sha256: str) -> None:
    """Re-read a ciphertext from the disk, past the page cache; blocks.

    Raises:
        SpoolDamagedError: it is missing or damaged; SpoolError: it can't be read.
    """
    with reading(path):
        found = Content.of(read_from_disk(path))
    if found.sha256 != sha256:
        raise SpoolDamagedError(
            f"{path}: the disk returns bytes that differ from those written", hint=_DAMAGE_HINT
        )


@dataclass
class Part:
    """A ciphertext that is being written."""

    path: Path
    fd: int


class Spool:
    """The folder, its budget, and the clips that wait for room in it."""

    def __init__(
        self,
        folder: Path,
        *,
        budget: int,
        reserve: int,
        files: Files,
        clock: Clock,
        incidents: Incidents | None = None,
    ) -> None:
        self.folder = folder
        self.budget = budget
        self.reserve = reserve
        self.waiting = False
        """Whether a clip waits for room."""
        self._files = files
        self._clock = clock
        self.unknown: dict[str, int] = {}
        """SHA-256 and size of ciphertexts that the ledger did not know at the start."""
        self._sizes: dict[str, int] = {}
        self._place: tuple[int, int] | None = None
        """Device and inode of the folder."""
        self._promised = 0
        self._in_line = 0
        """How many clips wait for room, or for their turn to wait."""
        self._wanted: int | None = None
        """Bytes that the last waiting clip needed, until that much is free again."""
        self._freed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._question = asyncio.Lock()
        self._threads = Threads("spool", _PATIENCE)
        self._incidents = (incidents or Incidents(clock)).scope("spool")
        self._unneeded: set[str] = set()
        """Delivered ciphertexts that could not be removed, and still take room."""
        self._going: set[str] = set()
        """Ciphertexts that are being removed now."""
        self._is_delivered: Callable[[str], bool] = lambda _: False

    def recover(
        self,
        expected: Mapping[str, int],
        is_delivered: Callable[[str], bool] = lambda _: False,
    ) -> set[str]:
        """Remove what no clip needs, and return the digests of what is missing.

        A ciphertext is removed only if the ledger has a receipt for it; one that the ledger
        doesn't know is added to :attr:`unknown`. Files with other names than dockd's, such as
        ``lost+found``, are left alone, and so is what was set aside. A file that can't be
        checked or removed is reported, and does not affect the others.

        Args:
            expected: SHA-256 and size of each ciphertext that the ledger expects.
            is_delivered: whether the ledger has a receipt for a ciphertext.

        Returns:
            The digests of those that are missing or have another size; they must be set aside,
            and their clips ingested again.

        Raises:
            SpoolError: the folder can't be used.
        """
        self._is_delivered = is_delivered
        with self._explained():
            self._files.make_folder(self.folder)
            self._recognise(expected)
            self._place = self._where()
            missing = dict(expected)
            manifests, there = set(), set()
            for path in self.folder.iterdir():
                name = _OWN_NAME.fullmatch(path.name)
                if name is None:
                    continue
                sha256 = str(name["sha256"])
                if name["kind"] == "jws":
                    manifests.add(sha256)
                elif name["kind"] is None:
                    # It was never finished, so there was no manifest, no receipt and no wipe.
                    self._try_to_remove(path)
                elif sha256 not in expected and is_delivered(sha256):
                    if not self._try_to_remove(path):
                        self._unneeded.add(sha256)
                        there.add(sha256)
                else:
                    there.add(sha256)
                    size = self._size(path, expected.get(sha256, 0))
                    if missing.get(sha256) == size:
                        del missing[sha256]
                        self._sizes[sha256] = size
                    elif sha256 not in expected:
                        self.unknown[sha256] = size
            for sha256 in manifests - there:
                self._try_to_remove(self._manifest(sha256))
        return set(missing)

    def _try_to_remove(self, path: Path) -> bool:
        try:
            with self._explained():
                self._files.remove(path)
        except SpoolError as error:
            self._removal_failed(error)
            return False
        return True

    def _size(self, path: Path, expected: int) -> int:
        """Return a ciphertext's size; one that can't be checked may be intact."""
        try:
            with self._explained():
                return path.stat().st_size
        except SpoolError as error:
            events.spool_failed().write(error, failures=1)
            return expected

    def know(self, sha256: str) -> None:
        """Account for a ciphertext that was unknown, and that the ledger knows now."""
        self._sizes[sha256] = self.unknown.pop(sha256)

    def still_unknown(self) -> dict[str, int]:
        """Return the unknown ciphertexts that are still there; blocks.

        Raises:
            SpoolError: the folder can't be used.
        """
        with self._explained():
            there = {path.name for path in self.folder.iterdir()}
        for sha256 in list(self.unknown):
            if self.path(sha256).name not in there:
                self.unknown.pop(sha256, None)
        return dict(self.unknown)

    def _recognise(self, expected: Mapping[str, int]) -> None:
        """Check that this is the spool, and not the mount point of a disk that is not mounted.

        Ciphertexts taken for lost would be removed once the disk is back.
        """
        marker = self.folder / _MARKER
        if not marker.exists():
            if expected and not any(self.path(sha256).exists() for sha256 in expected):
                raise SpoolError(
                    f"{self.folder} holds none of the {len(expected)} expected ciphertexts",
                    hint="mount the spool's disk, or correct spool.path; only if all of them are"
                    f" permanently lost: touch {marker}",
                )
            try:
                self._files.close(self._files.create(marker))
            except OSError as error:
                if error.errno not in _FULL:
                    raise

    def _where(self) -> tuple[int, int]:
        status = self.folder.stat()
        return status.st_dev, status.st_ino

    @property
    def used(self) -> int:
        """Bytes of ciphertext, stored and reserved."""
        return sum(list(self._sizes.values())) + self._promised

    async def _ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Query the disk, one call at a time, so that a disk that hangs blocks only one thread.

        Raises:
            SpoolError: it does not respond.
        """
        async with self._question:
            try:
                return await self._threads.run(function, *args, **kwargs)
            except CameraHangsError as error:
                raise SpoolError(
                    f"the disk under {self.folder} does not respond",
                    hint="check the disk that holds the spool, and dmesg; dockd retries",
                ) from error

    async def check_possible(self, size: int) -> None:
        """Check that a ciphertext fits an empty spool: otherwise its wait for room never ends.

        Raises:
            ClipTooLargeError: it doesn't; SpoolError: the folder is gone, or doesn't respond.
        """
        await self._ask(self._check_possible, size)

    def _check_possible(self, size: int) -> None:
        if size > self.budget:
            raise ClipTooLargeError(
                f"{shown_size(size)} of ciphertext exceed spool.budget, {shown_size(self.budget)}",
                hint="raise spool.budget, then: dockd resync --failed",
            )
        if size + self.reserve > self._disk():
            raise ClipTooLargeError(
                f"{shown_size(size)} of ciphertext and spool.reserve exceed the size of the disk",
                hint="give the spool a larger disk, then: dockd resync --failed",
            )

    @contextlib.asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait until a ciphertext of a size fits, and reserve that room while the context lasts.

        Raises:
            SpoolError: the folder is gone.
        """
        self._in_line += 1
        try:
            async with self._turn:
                await self._wait_for_room(size)
                self._promised += size
        finally:
            self._in_line -= 1
            if not self._in_line:
                self._incidents.hide(events.spool_full)
        try:
            yield
        finally:
            self._promised -= size
            self._freed.set()

    async def _wait_for_room(self, size: int) -> None:
        await self._remove_unneeded()
        shortage = await self._ask(self._shortage, size)
        if shortage is None:
            self._incidents.recovered(events.spool_full)
            return
        self._wanted = size
        self.waiting = True
        try:
            while shortage is not None:
                self._incidents.failed(events.spool_full(), shortage, retry_in=_LOOK_AGAIN)
                await self._clock.wait(self._freed, _LOOK_AGAIN)
                self._freed.clear()
                await self._remove_unneeded()
                shortage = await self._ask(self._shortage, size)
        finally:
            self.waiting = False

    def _shortage(self, size: int) -> SpoolFullError | None:
        """Return why a ciphertext does not fit now; None if it fits. Blocks.

        Raises:
            SpoolError: the folder is gone.
        """
        free = self.free()
        if self.used + size <= self.budget and free - self._promised - size >= self.reserve:
            return None
        detail = (
            f"{size} bytes are needed, {self.used} of {self.budget} are used, {free} are free on"
            f" the disk and {self.reserve} are kept in reserve"
        )
        if free + self.used - size < self.reserve:
            return SpoolDiskFullError(
                detail, hint="free disk space: files other than clips fill it"
            )
        return SpoolFullError(
            detail, hint="uploads make room; if they have stopped, check target.down"
        )

    def free(self) -> int:
        """Return the free bytes of the spool's disk; blocks.

        Raises:
            SpoolError: the folder is gone.
        """
        with self._explained():
            return self._files.free_bytes(self.folder)

    def _disk(self) -> int:
        with self._explained():
            return self._files.total_bytes(self.folder)

    def begin(self) -> Part:
        """Open a new part, which the caller must discard in the end; blocks.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        path = self.folder / f"{self._files.randomness.hex(16)}.part"
        with self._explained():
            return Part(path, self._files.create(path))

    def discard(self, part: Part) -> None:
        """Close a part, and remove it unless it was published; blocks.

        Raises:
            SpoolError: it could not be removed; the next start retries.
        """
        with self._explained():
            try:
                self._files.close(part.fd)
            finally:
                self._files.drop(part.path)

    def write(self, part: Part, data: memoryview) -> None:
        """Append to a part.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        with self._explained():
            self._files.write(part.fd, data)

    def finish(self, part: Part) -> None:
        """Make the bytes of a part durable.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        with self._explained():
            self._files.fsync(part.fd)

    def publish(self, part: Part, sha256: str) -> None:
        """Give a finished part its final name, durably.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        with self._explained():
            size = os.fstat(part.fd).st_size
            self._files.publish(part.path, self.path(sha256))
        self._sizes[sha256] = size

    def keep_manifest(self, sha256: str, manifest: str) -> None:
        """Store a manifest beside its ciphertext, durably; blocks.

        Raises:
            SpoolFullError: the disk is full; SpoolError: it failed otherwise.
        """
        with self._explained():
            self._files.publish_bytes(manifest.encode(), self._manifest(sha256))

    def manifest(self, sha256: str) -> str | None:
        """Return the manifest beside a ciphertext, unverified; None if there is none. Blocks.

        Raises:
            SpoolError: it can't be read.
        """
        with self._explained():
            try:
                with self._manifest(sha256).open("rb") as file:
                    return file.read(_MOST_MANIFEST).decode("ascii", "replace")
            except FileNotFoundError:
                return None

    def holds(self, sha256: str) -> bool:
        """Return whether a ciphertext is known to be there, and is not being removed."""
        return sha256 in self._sizes and sha256 not in self._going

    def path(self, sha256: str) -> Path:
        """Return the path of a ciphertext."""
        return self.folder / f"{sha256}.age"

    def _manifest(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.jws"

    def take_back(self, sha256: str) -> None:
        """Remove a ciphertext and its manifest, if they exist; blocks.

        Raises:
            SpoolError: one of them could not be removed; the next start finds it.
        """
        with self._explained():
            self._files.remove(self.path(sha256))
            self._files.remove(self._manifest(sha256))
        self._sizes.pop(sha256, None)

    async def remove(self, sha256: str) -> None:
        """Remove a ciphertext that is no longer needed, if it exists.

        One that can't be removed is reported; that is retried when a clip needs room, and at the
        next start.
        """
        self._going.add(sha256)
        try:
            await to_the_end(self.take_back, sha256)
        except SpoolError as error:
            self._unneeded.add(sha256)
            self._removal_failed(error)
            return
        finally:
            self._going.discard(sha256)
        self._freed.set()
        if self._wanted is not None and not self._in_line:
            with contextlib.suppress(SpoolError):  # a waiting clip checks by itself
                shortage = await self._ask(self._shortage, self._wanted)
                if shortage is None and not self._in_line:
                    self._wanted = None
                    self._incidents.recovered(events.spool_full)

    def _removal_failed(self, error: SpoolError) -> None:
        """Report what could not be removed; as one incident, however many files."""
        cause = error.__cause__
        why = cause.strerror if isinstance(cause, OSError) else error.detail
        failure = SpoolError(
            f"{self.folder}: delivered ciphertext can't be removed: {why}",
            hint="check the disk that holds the spool; dockd retries",
        )
        self._incidents.failed(events.spool_failed(), failure)

    async def _remove_unneeded(self) -> None:
        """Retry the removal of what could not be removed, if it still isn't needed."""
        for sha256 in list(self._unneeded):
            self._going.add(sha256)
            try:
                if await to_the_end(self._is_delivered, sha256):
                    await to_the_end(self.take_back, sha256)
            except SpoolError as error:
                self._removal_failed(error)
                return
            finally:
                self._going.discard(sha256)
            self._unneeded.discard(sha256)
        self._incidents.recovered(events.spool_failed)

    def set_aside(self, sha256: str, clip_id: str) -> None:
        """Keep what is left of a damaged ciphertext until its clip is acknowledged; blocks.

        It no longer counts against the budget, as no upload would free its room; the disk's
        reserve still holds.

        Raises:
            SpoolError: it could not be kept, or the whole folder is gone, which is not damage.
        """
        with self._explained():
            if self._where() != self._place:
                raise SpoolError(
                    f"{self.folder} is not the same folder as before",
                    hint="mount the disk that holds the spool; dockd retries",
                )
            kept = self.folder / f"{clip_id}-{sha256}.damaged"
            for path, suffix in ((self.path(sha256), ""), (self._manifest(sha256), ".jws")):
                with contextlib.suppress(FileNotFoundError):
                    self._files.publish(path, kept.with_name(kept.name + suffix))
        self._sizes.pop(sha256, None)

    def remove_set_aside(self, clip_id: str) -> None:
        """Remove what was set aside of a clip that is acknowledged; blocks.

        Raises:
            SpoolError: it could not be removed.
        """
        with self._explained():
            for path in self.folder.glob(f"{clip_id}-*.damaged*"):
                self._files.remove(path)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise (SpoolFullError if self._sizes else SpoolDiskFullError)(
                    f"the disk under {self.folder} is full",
                    hint="free disk space; ingest resumes by itself",
                ) from error
            raise SpoolError(
                f"{error.filename or self.folder}: {error.strerror}",
                hint="check the disk that holds the spool; dockd retries",
            ) from error
