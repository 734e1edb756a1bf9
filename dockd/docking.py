"""One camera's stay in the dock: look through it, ingest, wipe, until it is taken away."""

import asyncio
import contextlib

from dockd import events
from dockd.cleaning import Cleaning
from dockd.clock import Clock
from dockd.concurrency import to_the_end, work_through
from dockd.errors import CameraLostError, DockdError, LedgerError, SourceError
from dockd.intake import Intake
from dockd.ledger import Ledger
from dockd.logs import Repeats, emit
from dockd.model import Clip
from dockd.sources import Media

_TROUBLE_PAUSE = 5.0
"""Seconds before a camera that could not be worked on is tried again."""


class Docking:
    """Supervises one docked camera; what goes wrong with it stays with it."""

    def __init__(
        self, media: Media, ledger: Ledger, intake: Intake, cleaning: Cleaning, clock: Clock
    ) -> None:
        self.media = media
        self._ledger = ledger
        self._intake = intake
        self._cleaning = cleaning
        self._clock = clock
        self._wake = asyncio.Event()
        self._look_due = True
        self._number = 0
        self._trouble = Repeats(clock, events.CAMERA_FAILED, events.CAMERA_RECOVERED)

    def clip_settled(self) -> None:
        """Say that a clip of this camera was acknowledged or given up: perhaps it can be wiped."""
        self._wake.set()

    async def run(self) -> None:
        """Work on the camera until it goes away or this is cancelled.

        Raises:
            LedgerError: the work could not begin.
        """
        camera, place = self.media.camera, self.media.place
        self._number = await to_the_end(self._ledger.begin_docking, camera, place)
        emit(events.CAMERA_DOCKED, camera=camera.id, place=place, docking=self._number)
        hints = asyncio.create_task(self._follow_hints())
        try:
            while True:
                pause = await self._fenced_round()
                if not await self._clock.wait(self._wake, pause):
                    self._look_due = True
                self._wake.clear()
        except CameraLostError:
            # It was taken away: the ordinary end of a stay.
            pass
        finally:
            hints.cancel()
            with contextlib.suppress(LedgerError):  # the next docking will tell as much
                await to_the_end(self._ledger.end_docking, camera, self._number)
            emit(events.CAMERA_UNDOCKED, camera=camera.id, place=place, docking=self._number)

    async def _follow_hints(self) -> None:
        while True:
            await self.media.changed.wait()
            self.media.changed.clear()
            self._look_due = True
            self._wake.set()

    async def _fenced_round(self) -> float:
        """Do what there is to do; returns the seconds until there may be more.

        Raises:
            CameraLostError: the camera is gone.
        """
        camera = self.media.camera.id
        try:
            pause = await self._round()
        except CameraLostError:
            raise
        except DockdError as error:
            self._trouble.failure(camera, error=error, camera=camera)
        except OSError as error:
            if not self.media.is_there():
                raise CameraLostError(f"{self.media.place} is gone") from error
            failure = SourceError(
                f"{camera}: {error.strerror or error}", hint="check the camera; dockd tries again"
            )
            self._trouble.failure(camera, error=failure, camera=camera)
        else:
            self._trouble.success(camera, camera=camera)
            return pause
        self._look_due = True
        return _TROUBLE_PAUSE

    async def _round(self) -> float:
        pause = self.media.look_every
        while True:
            if self._look_due:
                self._look_due = False
                again_in = await self._look()
                pause = min(self.media.look_every, again_in or self.media.look_every)
                await self._ingest()
            if not await self._cleaning.wipe(self.media, self._number):
                return pause
            self._look_due = True

    async def _look(self) -> float | None:
        # What a wipe has set aside must be gone before its clip's absence counts as wiped.
        await self._cleaning.finish(self.media)
        look = await asyncio.to_thread(self.media.look)
        observed = await to_the_end(
            self._ledger.observe, self.media.camera, self._number, look.files
        )
        if observed.found or observed.vanished:
            emit(
                events.CAMERA_LOOKED_THROUGH,
                camera=self.media.camera.id,
                clips=len(look.files),
                found=observed.found,
                vanished=observed.vanished,
                left_alone=look.left_alone,
            )
        return look.again_in

    async def _ingest(self) -> None:
        async def take(clip: Clip) -> None:
            await self._intake.take(self.media, clip, self._number)

        clips = await asyncio.to_thread(self._ledger.to_ingest, self.media.camera)
        await work_through(clips, take, workers=self._intake.concurrency)
