"""One camera's stay in the dock: look through it, ingest, wipe, until it is taken away."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from dockd import events
from dockd.cleaning import Cleaning
from dockd.clock import Clock
from dockd.concurrency import to_the_end, work_through
from dockd.errors import CameraLostError, DockdError, LedgerError, SourceError
from dockd.intake import Intake, Stay
from dockd.ledger import Ledger
from dockd.logs import Repeats, emit
from dockd.manifest import ClockFacts
from dockd.model import Clip, Standing, display_path
from dockd.sources import Look, Media
from dockd.tree import Root

_TROUBLE_PAUSE = 5.0
"""Seconds before a camera that could not be worked on is tried again."""


class Docking:
    """Supervises one docked camera; what goes wrong with it stays with it."""

    def __init__(
        self,
        media: Media,
        ledger: Ledger,
        intake: Intake,
        cleaning: Cleaning,
        clock: Clock,
        *,
        synchronised: Callable[[], Awaitable[bool | None]],
    ) -> None:
        self.media = media
        self.standing = Standing.WORKING
        self._ledger = ledger
        self._intake = intake
        self._cleaning = cleaning
        self._clock = clock
        self._synchronised = synchronised
        self._wake = asyncio.Event()
        self._look_due = True
        self._unseen = 0
        self._number = 0
        self._trouble = Repeats(clock, events.CAMERA_FAILED, events.CAMERA_RECOVERED)
        self._unlisted = Repeats(clock, events.FOLDER_UNREADABLE, events.CAMERA_RECOVERED)

    def clip_settled(self) -> None:
        """Say that a clip of this camera was acknowledged or given up: perhaps it can be wiped."""
        self._wake.set()

    def look_now(self) -> None:
        """Look through the camera again at once."""
        self._look_due = True
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
            self.look_now()

    async def _fenced_round(self) -> float:
        """Do what there is to do; returns the seconds until there may be more.

        Raises:
            CameraLostError: the camera is gone.
        """
        camera = self.media.camera.id
        try:
            pause = await self._round()
            await self._stand()
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
        self.standing = Standing.WORKING
        self._look_due = True
        return _TROUBLE_PAUSE

    async def _round(self) -> float:
        pause = self.media.look_every
        while True:
            released = await self._cleaning.released(self.media.camera)
            if not (self._look_due or released):
                return pause
            self.standing = Standing.WORKING
            # What a wipe has set aside must be gone before its clip's absence counts as wiped.
            await self._cleaning.finish(self.media)
            async with self.media.opened() as root:
                if self._look_due:
                    self._look_due = False
                    again_in = await self._look_and_ingest(root)
                    pause = min(self.media.look_every, again_in or self.media.look_every)
                    released = await self._cleaning.released(self.media.camera)
                sweep = await self._cleaning.check(self.media, root, released, self._number)
            await self._cleaning.wipe(self.media, sweep)
            if not sweep.strays:
                return pause
            self._look_due = True

    async def _look_and_ingest(self, root: Root) -> float | None:
        look = await asyncio.to_thread(self.media.look, root)
        observed = await to_the_end(
            self._ledger.observe, self.media.camera, self._number, look.files, look.failures
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
        self._tell_of_failures(look)
        stay = Stay(self.media, self._number, await self._clocks(look))

        async def take(clip: Clip) -> None:
            await self._intake.take(stay, root, clip)

        clips = await asyncio.to_thread(self._ledger.to_ingest, self.media.camera)
        workers = min(self._intake.concurrency, self.media.readers)
        await work_through(clips, take, workers=workers)
        return look.again_in

    def _tell_of_failures(self, look: Look) -> None:
        camera = self.media.camera.id
        self._unseen = len(look.failures)
        if not look.failures:
            self._unlisted.success(camera, camera=camera)
        for path, error in look.failures.items():
            failure = SourceError(
                f"{camera}: {display_path(path)}: {error.strerror or error}",
                hint="its file system may be damaged; copy what can be read by other means",
            )
            self._unlisted.failure(camera, error=failure, camera=camera, path=display_path(path))

    async def _clocks(self, look: Look) -> ClockFacts:
        newest = max((file.modified_ns for file in look.files), default=0) / 1e9
        ahead = newest - self._clock.now().timestamp()
        return ClockFacts(
            synchronised=await self._synchronised(), camera_ahead_seconds=max(round(ahead, 3), 0.0)
        )

    async def _stand(self) -> None:
        """Find out whether the camera can be taken, and tell if that has changed."""
        camera = self.media.camera
        if await asyncio.to_thread(self._ledger.pending, camera) or self._wake.is_set():
            return
        stuck = self._unseen + await asyncio.to_thread(self._ledger.stuck, camera)
        stuck += await self._cleaning.left(camera)
        before, self.standing = self.standing, Standing.STUCK if stuck else Standing.SAFE
        if self.standing is before:
            return
        about = {"camera": camera.id, "place": self.media.place, "docking": self._number}
        if stuck:
            hint = "leave it docked, and call somebody who can read docs/operate.md"
            emit(events.CAMERA_STUCK, **about, clips=stuck, hint=hint)
        else:
            emit(events.CAMERA_SAFE, **about)
            await self.media.release()
