"""A request's body on its way into a part: written and hashed while more of it arrives."""

import asyncio
import enum
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from dockd.host.files import Files
from dockd.receiver.core.upload import Upload
from dockd.receiver.core.workers import Workers
from dockd.receiver.http.body import Body, End


class Hasher(Protocol):
    """A ``hashlib`` object."""

    def update(self, data: bytes, /) -> None:
        """Hash some bytes."""

    def digest(self) -> bytes:
        """Return the hash of all of them."""


@dataclass(frozen=True)
class Checksum:
    """What the bytes of one request must hash to."""

    hasher: Hasher
    expected: bytes

    def is_of(self, upload: Upload) -> bool:
        """Say whether it is the SHA-256 that an upload's manifest names."""
        return self.expected.hex() == upload.manifest.ciphertext.sha256

    def matches(self) -> bool:
        """Say whether they did."""
        return hmac.compare_digest(self.hasher.digest(), self.expected)


class Verdict(enum.Enum):
    """What became of a body."""

    KEPT = "kept"
    """What arrived was written; ``Body.end`` says whether that was all."""
    TOO_LONG = "too long"
    """It went on past the room that there was; nothing of it was kept."""
    DAMAGED = "damaged"
    """It arrived whole and doesn't match its checksum; nothing of it was kept."""


async def write_body(
    files: Files,
    workers: Workers,
    fd: int,
    upload: Upload,
    body: Body,
    checksum: Checksum | None,
) -> Verdict:
    """Append a body to an upload's part, in worker threads; ``upload.written`` counts what is kept.

    The part ends at ``upload.offset``. One batch is written and hashed while the next one arrives.

    Raises:
        OSError: the disk failed; the part holds a beginning of the body.
    """
    writer = _Writer(files, fd, upload, checksum)
    room = upload.missing
    working: asyncio.Future[None] | None = None

    async def settle() -> None:
        if working is not None:
            # A cancelled request must not leave the thread with a closed descriptor.
            await asyncio.shield(working)

    async def then(action: Callable[[], None]) -> None:
        nonlocal working
        await settle()
        working = workers.write(action)

    try:
        verdict = Verdict.KEPT
        while batch := await body.batch():
            room -= sum(map(len, batch))
            if room < 0:
                verdict = Verdict.TOO_LONG
                break
            await then(partial(writer.write, batch))
        await settle()
        if body.end is End.COMPLETE and checksum is not None and not checksum.matches():
            verdict = Verdict.DAMAGED
        if verdict is not Verdict.KEPT:
            await then(writer.undo)
            await settle()
        return verdict
    finally:
        if working is not None:
            await asyncio.wait([working])


class _Writer:
    """The blocking half: appends batches, one after the other."""

    def __init__(self, files: Files, fd: int, upload: Upload, checksum: Checksum | None) -> None:
        self._files = files
        self._fd = fd
        self._upload = upload
        self._checksum = checksum

    def write(self, batch: Sequence[bytes]) -> None:
        end = self._upload.offset + self._upload.written
        self._upload.written += self._files.write_at(self._fd, batch, end)
        if self._checksum is not None:
            for piece in batch:
                self._checksum.hasher.update(piece)

    def undo(self) -> None:
        self._upload.written = 0  # first: what can't be cut off now is before the next write
        self._files.truncate(self._fd, self._upload.offset)
