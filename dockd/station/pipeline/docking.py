"""One docking: scans the camera, ingests and wipes its clips, until it is removed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice

from dockd.base.clock import Clock
from dockd.base.concurrency import to_the_end, work_through
from dockd.base.errors import (
    CameraLostError,
    DockdError,
    FilesLeftError,
    LedgerError,
    MountError,
    SourceError,
    WipeRefusedError,
)
from dockd.base.threads import in_thread, reading_seconds
from dockd.evidence.statements import ClockFacts
from dockd.station import events
from dockd.station.cameras import Look, Media
from dockd.station.cameras.leftovers import Leftovers, weigh
from dockd.station.cameras.tree import Root, advice, is_below
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import UNWIPED
from dockd.station.model import Clip, Doing, FileStat, FoundFile, Standing, display_path
from dockd.station.pipeline import wipe
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.cleaning import Cleaning
from dockd.station.pipeline.intake import DockingFacts, Intake

_NAMED = 20
"""Files and folders of a camera that are named, at most, where many can't be read."""
_LONG_LOOK = 300.0
"""Seconds that a scan of a large camera may take."""
_TROUBLE_PAUSE = 5.0
"""Seconds until a camera is retried after a failure."""
_RETRY_CAP = 60.0
"""Seconds between two tries of clips that could not be ingested, at most."""


class Docking:
    """Supervises one docked camera, and contains its errors."""

    def __init__(
        self,
        media: Media,
        ledger: Ledger,
        intake: Intake,
        cleaning: Cleaning,
        clock: Clock,
        *,
        activity: Activity,
        synchronised: Callable[[], Awaitable[bool | None]],
    ) -> None:
        self.media = media
        self.standing = Standing.WORKING
        self.doing = Doing.NOTHING
        self.began = clock.now()
        self.looked_at: datetime | None = None
        """When the last complete scan began."""
        self.looked_from: int | None = None
        """The journal's newest entry then: an operator command up to that number came before."""
        self.left_alone = Leftovers()
        """The files that no rule of its profile selects or ignores, at the last scan."""
        self.number = 0
        """The docking's number in the ledger, once it has one."""
        self._ledger = ledger
        self._intake = intake
        self._cleaning = cleaning
        self._clock = clock
        self._synchronised = synchronised
        self._wake = asyncio.Event()
        self._look_at = 0.0
        """When the next scan is due, by the monotonic clock."""
        self._retry_in = _TROUBLE_PAUSE
        self._unseen = 0
        self._unseen_names: set[str] = set()
        self._seen: frozenset[bytes] = frozenset()
        self._hidden: frozenset[bytes] = frozenset()
        """Paths that the last scan could not read, or saw being written. Nothing there may be
        wiped, except what the scan has seen all the same, as when two names lead to one file."""
        self._unsettled = False
        self._told = Standing.WORKING
        """The standing that was last logged, which a scan or a retry alone doesn't change."""
        self._camera_incidents = activity.camera(media.camera)
        self._incidents = activity.docking(media.camera)
        self._is_released = False
        """Whether it was switched off, if its profile wants that once it is safe."""
        self._unlisted = self._incidents.within("path")

    def look_for_wipe(self) -> None:
        """Check whether the camera can be wiped: a clip's delivery, or a hold, has ended."""
        self._wake.set()

    def look_now(self) -> None:
        """Scan the camera again at once; until then it is not safe to take."""
        self.standing = Standing.WORKING
        self._look_at = 0.0
        self._wake.set()

    def try_again(self) -> None:
        """Scan the camera again at once, and retry wipes without waiting for their pauses."""
        self._cleaning.try_again(self.media.camera)
        self.look_now()

    async def run(self) -> None:
        """Work on the camera until it goes away or this is cancelled.

        Raises:
            LedgerError: the work could not begin.
        """
        camera, place = self.media.camera, self.media.place
        self.number = await to_the_end(self._ledger.dockings.begin, camera, place)
        events.camera_docked(camera=camera.id, place=place, docking=self.number)
        hints = asyncio.create_task(self._follow_hints())
        try:
            while True:
                pause = await self._fenced_round()
                await self._clock.wait(self._wake, pause)
                self._wake.clear()
        except CameraLostError:
            # Undocked: the normal end of a docking.
            pass
        finally:
            hints.cancel()
            self._incidents.close()
            self._cleaning.forget(camera)
            with contextlib.suppress(LedgerError):  # the next docking implies this one's end
                await to_the_end(self._ledger.dockings.end, camera, self.number)
            events.camera_undocked(camera=camera.id, place=place, docking=self.number)

    async def _follow_hints(self) -> None:
        while True:
            await self.media.changed.wait()
            self.media.changed.clear()
            self.look_now()

    async def _fenced_round(self) -> float:
        """Do the work that is due; return the seconds until there may be more.

        Raises:
            CameraLostError: the camera is gone.
        """
        try:
            pause = await self._round()
            await self._stand()
        except CameraLostError:
            raise
        except DockdError as error:
            self._fail(error)
        except OSError as error:
            self._fail(await self._explained(error))
        else:
            self._incidents.recovered(events.camera_failed)
            self._camera_incidents.recovered(events.camera_failed)
            return pause
        finally:
            self.doing = Doing.NOTHING
        self.standing = Standing.WORKING
        self._look_at = 0.0
        return _TROUBLE_PAUSE

    async def _explained(self, error: OSError) -> SourceError:
        """Return what an error of a camera's file system means.

        Raises:
            CameraLostError: the camera is gone.
        """
        try:
            is_there = await self.media.threads.run(self.media.is_there)
        except SourceError as unknown:
            return unknown
        if not is_there:
            raise CameraLostError(f"{self.media.place} is gone") from error
        return SourceError(
            f"{self.media.camera.id}: {error.strerror or error}",
            hint="check the camera; dockd retries",
        )

    @property
    def _look_in(self) -> float:
        """Seconds until the next scan is due."""
        return max(self._look_at - self._clock.monotonic(), 0.0)

    def _fail(self, error: DockdError) -> None:
        failed = events.camera_failed(camera=self.media.camera.id)
        self._incidents.failed(failed, error, retry_in=_TROUBLE_PAUSE)

    async def _round(self) -> float:
        while True:
            # A scan that is due comes first: new footage must not wait for a receiver.
            released = await self._released() if self._look_in else []
            if self._look_in and not released:
                return min(self._look_in, self._cleaning.ask_again_in(self.media.camera))
            async with self.media.opened() as root:
                if not self._look_in:
                    self._look_at = self._clock.monotonic() + self.media.look_every
                    self.doing = Doing.LOOKING
                    await self._look_and_ingest(root)
                    released = await self._released()
                if released:
                    self.doing = Doing.WIPING
                sweep = await self._cleaning.check(self.media, root, released, self.number)
            await self._cleaning.wipe(self.media, sweep)
            self._look_for_given_back()
            left = self._unseen or sweep.gone < len(sweep.checked)
            if not (sweep.strays or sweep.finished or (sweep.gone and left)):
                return min(self._look_in, self._cleaning.ask_again_in(self.media.camera))
            # The removed files may have blocked the rest: a second file of one name, or a
            # broken chain whose removal made the kernel go read-only for this window.
            self.look_now()

    async def _released(self) -> list[Clip]:
        released = await self._cleaning.released(self.media.camera, self._is_hidden)
        if released:
            self.standing = Standing.WORKING
        self._look_for_given_back()
        return released

    def _is_hidden(self, clip: Clip) -> bool:
        return clip.path not in self._seen and is_below(clip.path, self._hidden)

    def _look_for_given_back(self) -> None:
        """Scan again if the receiver has lost clips: they have to be ingested again."""
        if self._cleaning.gave_back(self.media.camera):
            self.look_now()

    async def _look_and_ingest(self, root: Root) -> None:
        camera, began = self.media.camera, self._clock.now()
        stood = (await in_thread(self._ledger.journal.head)).seq
        await self._cleaning.put_back(self.media, root)
        look = await self.media.threads.patiently(partial(self.media.look, root), more=_LONG_LOOK)
        # A clip that a wipe has set aside is neither missing nor a new clip.
        cut_short = await self._cleaning.cut_short(self.media, root)
        aside = {wipe.aside(clip): clip for clip in cut_short}
        files = [file for file in look.files if file.path not in aside]
        self._seen = frozenset(file.path for file in files)
        self._hidden = frozenset((*look.failures, *look.unsettled))
        unseen = self._hidden.union(clip.path for clip in aside.values())
        # No clip of this camera is being read now; a failed ledger may still say so.
        await to_the_end(self._ledger.ingests.recover, camera)
        observed = await to_the_end(
            self._ledger.dockings.observe, camera, self.number, files, unseen
        )
        before, self.left_alone = (
            self.left_alone,
            weigh({path: size for path, size in look.left_alone.items() if path not in aside}),
        )
        if observed.found or observed.vanished or self.left_alone != before:
            events.camera_looked_through(
                camera=camera.id,
                clips=len(files),
                found=observed.found,
                vanished=observed.vanished,
                left_alone=self.left_alone.files,
            )
        self._tell_of_left_alone()
        self._tell_of_failures(look)
        stay = DockingFacts(self.media, self.number, await self._clocks(look), self.left_alone)

        async def take(clip: Clip) -> None:
            await self._intake.take(stay, root, clip)

        clips = await in_thread(self._ledger.queries.to_ingest, camera)
        unread = {str(clip.id) for clip in clips}
        self._incidents.within("clip").keep(unread, events.clip_ingest_interrupted)
        unsure = await in_thread(self._unsure, root, files, observed.touched)
        self._unsettled = look.again_in is not None
        if clips or unsure or self._unsettled:
            self.standing = self._told = Standing.WORKING
            self._is_released = False
        # Not earlier: clients that wait for this scan read the standing as its result.
        self.looked_at, self.looked_from = began, stood
        if clips:
            self.doing = Doing.READING
        workers = min(self._intake.concurrency, self.media.readers)
        await work_through(clips, take, workers=workers)
        if unsure:
            self.doing = Doing.READING
        for clip in unsure:
            await self._look_at_content(root, clip, look)
            if clip.path in look.failures:
                self._tell_of_failures(look)
            if not self._look_in:
                # There may be new footage, which is ingested first; the rest is still unsure.
                self._unsettled = True
                break
        await self._look_again(look)

    def _unsure(
        self, root: Root, files: Sequence[FoundFile], touched: Sequence[Clip]
    ) -> list[Clip]:
        """Return the clips that were read, and whose files may have other content now; blocks.

        Those are the ones that were touched. And a camera that was formatted, and whose clock and
        numbering have restarted, can give another recording the name, size and time of one that
        was read at an earlier docking.
        """
        there = {file.path: file.stat for file in files}
        ids = {clip.id for clip in touched}
        untouched = (
            clip
            for clip in self._ledger.queries.read_before(self.media.camera)
            if clip.path in there
            and clip.id not in ids
            # Before a wipe, the content is checked anyway.
            and (clip.state not in UNWIPED or self._cleaning.leaves_clips)
            and not self._is_sure(root, clip, there[clip.path])
        )
        return [*touched, *untouched]

    def _is_sure(self, root: Root, clip: Clip, stat: FileStat | None) -> bool:
        if self.media.ours_alone or stat is None or clip.stat is None:
            return clip.docking == self.number
        if stat != root.known_by(clip.stat):
            return False
        # Another file's modification time can be set back, but not its change time.
        return clip.docking == self.number or (root.stable_inodes and root.is_local)

    async def _look_at_content(self, root: Root, clip: Clip, look: Look) -> None:
        """Find out whether a file was merely touched, or has other content of the same size."""
        try:
            stat = await self.media.threads.patiently(
                partial(wipe.check, root, clip, self.number), more=reading_seconds(clip.size)
            )
        except WipeRefusedError:
            await to_the_end(self._ledger.dockings.replaced, clip)
            self.look_now()
        except FileNotFoundError:
            self.look_now()
        except OSError as error:
            # Its content is unknown: the camera is not safe to take.
            look.failures[clip.path] = error
        else:
            if clip.stat is not None and not root.stable_inodes:
                # So that a wipe reads it again: see wipe.check.
                stat = replace(stat, inode=clip.stat.inode)
            await to_the_end(self._ledger.dockings.recognised, clip, self.number, stat)

    async def _look_again(self, look: Look) -> None:
        """Scan again soon if a file is not complete yet, or a clip could not be ingested."""
        if look.again_in is not None:
            self._look_within(look.again_in)
        if await in_thread(self._ledger.queries.to_ingest, self.media.camera):
            self._look_within(self._retry_in)
            self._retry_in = min(2 * self._retry_in, _RETRY_CAP)
        else:
            self._retry_in = _TROUBLE_PAUSE

    def _look_within(self, seconds: float) -> None:
        self._look_at = min(self._look_at, self._clock.monotonic() + seconds)

    def _tell_of_failures(self, look: Look) -> None:
        camera = self.media.camera.id
        self._unseen = len(look.failures)
        failing = {
            display_path(path): error for path, error in islice(look.failures.items(), _NAMED)
        }
        recovered = self._unseen_names - failing.keys()
        self._unseen_names = set(failing)
        if recovered and not failing:
            self._unlisted.within(recovered.pop()).recovered(events.camera_folder_unreadable)
        self._unlisted.keep(failing, events.camera_folder_unreadable)
        for path, error in failing.items():
            failure = SourceError(
                f"{camera}: {path}: {error.strerror or error}",
                hint=advice(
                    error, "its file system may be damaged; copy what is readable by other means"
                ),
            )
            unreadable = events.camera_folder_unreadable(camera=camera, path=path)
            self._unlisted.within(path).failed(unreadable, failure)

    def _tell_of_left_alone(self) -> None:
        camera, left = self.media.camera.id, self.left_alone
        if not left.suspect:
            self._incidents.recovered(events.camera_files_left)
            return
        error = FilesLeftError(
            f"{left.suspect} of {camera}, such as {', '.join(left.named)}",
            hint="add a rule for them to its profile, or one of kind ignore;"
            " dockd profile test shows what matches",
        )
        files_left = events.camera_files_left(
            camera=camera, files=left.files, size=left.size, paths=list(left.named)
        )
        self._incidents.failed(files_left, error)

    async def _clocks(self, look: Look) -> ClockFacts:
        newest = max((file.modified_ns for file in look.files), default=0) / 1e9
        ahead = newest - self._clock.now().timestamp()
        return ClockFacts(
            synchronised=await self._synchronised(), camera_ahead_seconds=max(round(ahead, 3), 0.0)
        )

    async def _stand(self) -> None:
        """Find out whether the camera can be taken, and log it if that has changed."""
        camera = self.media.camera
        pending = await in_thread(self._ledger.queries.pending, camera)
        if pending or self._unsettled or await self._cleaning.waits(camera):
            self.standing = self._told = Standing.WORKING
            return
        stuck = self._unseen + await in_thread(self._ledger.queries.stuck, camera)
        stuck += await self._cleaning.left(camera) + self._cleaning.harmed(camera)
        stuck += self.left_alone.suspect
        if self._wake.is_set():
            return
        self.standing = Standing.STUCK if stuck else Standing.SAFE
        if self.standing is not self._told:
            self._told = self.standing
            if stuck:
                events.camera_stuck(
                    camera=camera.id,
                    place=self.media.place,
                    docking=self.number,
                    clips=stuck,
                    hint="leave it docked, and contact your administrator",
                )
            else:
                events.camera_safe(camera=camera.id, place=self.media.place, docking=self.number)
        if not (stuck or self._is_released):
            await self._release()

    async def _release(self) -> None:
        """Release the camera; a failure does not make it unsafe to take."""
        released = self._incidents.within("release")
        try:
            await self.media.release()
        except MountError as error:
            failed = events.camera_failed(camera=self.media.camera.id)
            released.failed(failed, error, retry_in=_RETRY_CAP)
            self._look_within(_RETRY_CAP)
        else:
            self._is_released = True
            released.recovered(events.camera_failed)
