"""A body on its way into a part: written and hashed while more of it arrives."""

import asyncio
import enum
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dockd.receiver.core.body import Body
from dockd.receiver.core.upload import Upload
from dockd.receiver.core.workers import Workers
from dockd.receiver.store.protocol import OpenPart


@dataclass(frozen=True)
class Checksum:
    """What the bytes of one request must hash to."""

    algorithm: str
    """As ``hashlib`` knows it."""
    expected: bytes

    def is_of(self, upload: Upload) -> bool:
        """Say whether it is the SHA-256 that an upload's manifest names."""
        return self.expected.hex() == upload.manifest.ciphertext.sha256


class Verdict(enum.Enum):
    """What became of a body."""

    KEPT = "kept"
    """What arrived was written; the body says whether that was all."""
    TOO_LONG = "too long"
    """It exceeded the room that there was; nothing of it was kept."""
    DAMAGED = "damaged"
    """It arrived whole and does not match its checksum; nothing of it was kept."""


async def write_body(
    workers: Workers, part: OpenPart, upload: Upload, body: Body, checksum: Checksum | None
) -> Verdict:
    """Append a body to an upload's part, in worker threads; ``upload.written`` counts what is kept.

    The part ends at ``upload.offset``. One batch is written and hashed while the next one arrives.

    Raises:
        OSError: the disk failed; the part holds a beginning of the body.
    """
    writer = _Writer(part, upload, checksum)
    room = upload.missing
    working: asyncio.Future[None] | None = None

    async def settle() -> None:
        if working is not None:
            # A cancelled request must not leave the thread with a closed part.
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
        if body.complete and not writer.matches():
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

    def __init__(self, part: OpenPart, upload: Upload, checksum: Checksum | None) -> None:
        self._part = part
        self._upload = upload
        self._expected = None if checksum is None else checksum.expected
        self._hasher = (
            None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        )

    def write(self, batch: Sequence[bytes]) -> None:
        end = self._upload.offset + self._upload.written
        self._upload.written += self._part.write(batch, end)
        if self._hasher is not None:
            for piece in batch:
                self._hasher.update(piece)

    def undo(self) -> None:
        self._upload.written = 0  # first: what can't be cut off now is before the next write
        self._part.truncate(self._upload.offset)

    def matches(self) -> bool:
        """Say whether the bytes have their checksum, if they have one."""
        if self._hasher is None or self._expected is None:
            return True
        return hmac.compare_digest(self._hasher.digest(), self._expected)
