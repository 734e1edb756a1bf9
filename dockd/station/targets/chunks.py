"""Spool files as request bodies, read in worker threads."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

from dockd.base.concurrency import to_the_end
from dockd.base.errors import SpoolDamagedError
from dockd.evidence.statements import Content
from dockd.station.spool import check_ciphertext, reading
from dockd.station.targets import Sealed
from dockd.station.targets.bandwidth import Limiter

BLOCK = 1 << 20
"""Bytes read and sent at a time."""


class SpoolFile:
    """The ciphertext of one clip, open for reading."""

    def __init__(self, sealed: Sealed, fd: int) -> None:
        self._sealed = sealed
        self._fd = fd

    @classmethod
    def open(cls, sealed: Sealed) -> Self:
        """Open a clip's ciphertext.

        Raises:
            SpoolDamagedError: it is missing; SpoolError: it can't be opened now.
        """
        with reading(sealed.path):
            return cls(sealed, os.open(sealed.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))

    def read(self, size: int, offset: int) -> bytes:
        """Read at most ``size`` bytes at an offset, and at least one.

        Raises:
            SpoolDamagedError: the file ends before the offset; SpoolError: it can't be read now.
        """
        with reading(self._sealed.path):
            data = os.pread(self._fd, size, offset)
        if not data:
            raise SpoolDamagedError(
                f"{self._sealed.path} has {offset} bytes instead of {self._sealed.size}"
            )
        return data

    def digest(self, start: int, end: int) -> bytes:
        """Return the SHA-256 of a part; raises as :meth:`read` does."""
        return bytes.fromhex(Content.of(self._blocks(start, end)).sha256)

    def _blocks(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            data = self.read(min(BLOCK, end - start), start)
            yield data
            start += len(data)

    def check(self) -> None:
        """Read all of it from the disk; raises as :func:`check_ciphertext` does."""
        check_ciphertext(self._sealed.path, self._sealed.sha256)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class Chunk:
    """A part of a spool file as a request body, sent within the bandwidth limit."""

    def __init__(
        self,
        file: SpoolFile,
        start: int,
        end: int,
        limiter: Limiter,
        progress: Callable[[int], None],
    ) -> None:
        self._file = file
        self._position = start
        self._end = end
        self._limiter = limiter
        self._progress = progress

    @property
    def sent(self) -> bool:
        """Whether all of it was sent."""
        return self._position == self._end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunk in blocks; raises as :meth:`SpoolFile.read` does."""
        while not self.sent:
            granted = await self._limiter.take(min(BLOCK, self._end - self._position))
            data = await to_the_end(self._file.read, granted, self._position)
            yield data
            self._position += len(data)
            self._progress(self._position)
