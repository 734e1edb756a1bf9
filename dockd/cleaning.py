"""Wipes a docked camera: one read-write window, checked before and read back after."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dockd import events, wipe
from dockd.clock import Clock
from dockd.concurrency import to_the_end
from dockd.errors import (
    DockdError,
    ReceiptRefusedError,
    StatementError,
    WipeError,
    WipeFailedError,
    WipeRefusedError,
)
from dockd.files import Files
from dockd.keys import VerifyKey
from dockd.ledger import Ledger
from dockd.logs import Repeats, emit
from dockd.manifest import verify_receipt
from dockd.model import Camera, Clip, FileStat
from dockd.sources import Media


@dataclass(frozen=True)
class Checked:
    """A clip that may go, and the file that was checked for it."""

    clip: Clip
    stat: FileStat


class Cleaning:
    """Wipes the cameras of a station by one policy."""

    def __init__(
        self,
        ledger: Ledger,
        files: Files,
        clock: Clock,
        *,
        policy: wipe.Policy,
        receiver_keys: Sequence[VerifyKey],
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._policy = policy
        self._keys = receiver_keys
        self._trouble = Repeats(clock, events.WIPE_FAILED, events.WIPE_RECOVERED)
        self._refusals = Repeats(clock, events.WIPE_REFUSED, events.WIPE_RECOVERED)
        self._rehearsed: set[int] = set()

    async def finish(self, media: Media) -> None:
        """Complete what a wipe that was cut short has left on a camera.

        Raises:
            OSError, SourceError: the camera could not be read or written.
        """
        begun = [clip for clip in await self._acknowledged(media.camera) if clip.wiping]
        if begun:
            async with media.wipe_window() as root:
                for clip in begun:
                    await to_the_end(wipe.finish, root, clip, self._files)

    async def wipe(self, media: Media, docking: int) -> bool:
        """Wipe a camera whose clips are all acknowledged; does nothing while one is pending.

        Returns:
            Whether a clip's path held something else than the clip, or nothing, so that the
            camera must be looked through again.

        Raises:
            OSError, SourceError, LedgerError: it broke off; what was removed is known.
        """
        if self._policy == "keep":
            return False
        pending = await asyncio.to_thread(self._ledger.pending, media.camera)
        if pending:
            return False
        acknowledged = await self._acknowledged(media.camera)
        clips = [clip for clip in acknowledged if await self._is_released(clip)]
        if not clips:
            return False
        strays: list[Clip] = []
        async with media.wipe_window() as root:
            checked = await self._check(root, clips, docking, strays)
            if self._policy == "dry-run":
                self._rehearse(checked)
                return bool(strays)
            await to_the_end(self._ledger.begin_wipe, [c.clip for c in checked], self._policy)
            removed = [one.clip for one in checked if await self._remove(root, one, strays)]
        async with media.fresh_view() as root:
            gone = [clip for clip in removed if await self._is_gone(root, clip)]
        await to_the_end(self._ledger.wiped, gone)
        self._tell(media.camera, gone)
        return bool(strays)

    async def _acknowledged(self, camera: Camera) -> list[Clip]:
        return await asyncio.to_thread(self._ledger.to_wipe, camera)

    async def _is_released(self, clip: Clip) -> bool:
        """Check the receipt once more, as it is in the ledger, against today's pinned keys."""
        if clip.id in self._rehearsed:
            return False
        try:
            receipt = verify_receipt(clip.receipt or "", self._keys, clip.manifest or "")
            if (receipt.clip_id, receipt.plaintext.sha256) != (
                clip.clip_id,
                clip.plaintext_sha256,
            ):
                raise ReceiptRefusedError("it is for another clip", reason="other-clip")
        except StatementError as error:
            await self._refused(clip, error)
            return False
        return True

    async def _check(
        self, root: Path, clips: Sequence[Clip], docking: int, strays: list[Clip]
    ) -> list[Checked]:
        checked = []
        for clip in clips:
            async with self._fenced(clip, strays):
                checked.append(Checked(clip, await to_the_end(wipe.check, root, clip, docking)))
        return checked

    async def _remove(self, root: Path, one: Checked, strays: list[Clip]) -> bool:
        overwrite = self._policy == "overwrite"
        async with self._fenced(one.clip, strays):
            await to_the_end(
                wipe.remove, root, one.clip, one.stat, self._files, overwrite=overwrite
            )
            return True
        return False

    @asynccontextmanager
    async def _fenced(self, clip: Clip, strays: list[Clip]) -> AsyncIterator[None]:
        """Keep one clip's trouble from the others; a file that is not the clip is a stray."""
        try:
            yield
        except WipeRefusedError as error:
            await self._refused(clip, error)
            await to_the_end(self._ledger.replaced, clip)
            strays.append(clip)
        except FileNotFoundError:
            strays.append(clip)
        except OSError as error:
            failure = WipeError(
                error.strerror or str(error), hint="look at the camera; dockd tries again"
            )
            self._trouble.failure(str(clip.id), error=failure, **_about(clip))

    async def _is_gone(self, root: Path, clip: Clip) -> bool:
        try:
            await to_the_end(wipe.verify_gone, root, clip)
        except WipeFailedError as error:
            self._trouble.failure(str(clip.id), error=error, **_about(clip))
            return False
        self._trouble.success(str(clip.id), **_about(clip))
        return True

    def _rehearse(self, checked: Sequence[Checked]) -> None:
        for one in checked:
            emit(events.CLIP_WIPE_REHEARSED, **_about(one.clip), clip_id=one.clip.clip_id)
            self._rehearsed.add(one.clip.id)

    async def _refused(self, clip: Clip, error: DockdError) -> None:
        self._refusals.failure(str(clip.id), error=error, **_about(clip))
        await to_the_end(self._ledger.note_problem, clip, events.WIPE_REFUSED.name, error.message)

    def _tell(self, camera: Camera, gone: Sequence[Clip]) -> None:
        for clip in gone:
            self._refusals.success(str(clip.id), **_about(clip))
            emit(events.CLIP_WIPED, **_about(clip), clip_id=clip.clip_id, policy=self._policy)
        if gone:
            size = sum(clip.size for clip in gone)
            emit(events.CAMERA_WIPED, camera=camera.id, clips=len(gone), size=size)


def _about(clip: Clip) -> dict[str, object]:
    return {"camera": clip.camera.id, "clip": clip.id, "path": clip.name}
