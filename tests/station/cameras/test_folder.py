"""Cameras that are folders: which of their files are complete, and what a look tells of them."""

import asyncio
import contextlib
import errno
import fcntl
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from watchdog.events import FileSystemEvent
from watchdog.observers.inotify import InotifyObserver

from dockd.base import threads
from dockd.base.clock import Clock
from dockd.base.errors import CameraHangsError, CameraLostError, SourceError
from dockd.base.incidents import Incidents
from dockd.station.cameras import Look, Media, filesystems, folder, folder_media, folder_watch
from dockd.station.cameras.filesystems import Identity, filesystem_types
from dockd.station.cameras.folder import FolderSource
from dockd.station.cameras.folder_media import FolderMedia, FolderSeams
from dockd.station.cameras.folder_watch import Unwatched
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.tree import MAIN, Root
from dockd.station.config import FolderConfig
from dockd.station.ledger.ledger import Ledger
from tests.clocks import FakeClock
from tests.mounts import mounted
from tests.support import open_descriptors, small_disk
from tests.usb import make_profile

PATIENCE = 20
NOBODY_CAN_TELL = FolderSeams(has_writer=lambda _: None)
SOMEBODY_WRITES = FolderSeams(has_writer=lambda _: True)


class LaterClock(FakeClock):
    """The machine's clock, the time that a test lets pass, and by how much it was set."""

    set_by = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.elapsed + self.set_by)


class Camera:
    """A folder that is docked as a camera."""

    def __init__(
        self, path: Path, settle: float = 60, seams: FolderSeams | None = None, quiet: float = 600
    ) -> None:
        self.clock = LaterClock()
        self.incidents = Incidents(self.clock)
        self.path = path
        path.mkdir()
        self.config = FolderConfig(
            path=path,
            serial="CAM-1",
            profile="bodycam",
            settle_seconds=settle,
            quiet_seconds=quiet,
            watch="polling",
        )
        self.profile = Profile(make_profile())
        self._seams = seams
        self.media = self.another_stay()

    def another_stay(self) -> FolderMedia:
        """Dock it anew."""
        return FolderMedia(self.config, self.profile, self.clock, self.incidents, self._seams)

    def clip(self, name: str = "1.mp4", content: bytes = b"clip") -> Path:
        path = self.path / name
        path.write_bytes(content)
        return path

    def look(self, after: float = 0.0) -> Look:
        """Look through it as a docking does."""
        self.clock.elapsed += after

        async def opened() -> Look:
            async with self.media.opened() as root:
                return self.media.look(root)

        return asyncio.run(opened())

    def complete(self, after: float = 0.0) -> list[bytes]:
        return [file.path for file in self.look(after).files]


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def lie_on(monkeypatch: pytest.MonkeyPatch, filesystem: str) -> None:
    """Let all folders be on a file system of this type."""
    monkeypatch.setattr(filesystems, "_kind", lambda _: filesystem)


# Complete or not


def test_a_file_that_rests_and_has_no_writer_is_complete(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera")
    camera.clip()
    look = camera.look()
    assert not look.files
    assert look.again_in is not None
    assert 50 < look.again_in <= 60
    look = camera.look(after=61)
    assert [file.path for file in look.files] == [b"1.mp4"]
    assert look.again_in is None
    assert not look.unsettled


def test_a_file_that_changes_must_rest_anew(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera", settle=3600)
    path = camera.clip()
    camera.look()
    path.write_bytes(b"clip, and more")
    os.utime(path, (0, 0))
    assert camera.complete(after=3000) == []
    assert camera.complete(after=3000) == [b"1.mp4"]


def test_a_file_with_a_writer_is_not_complete_however_long_it_rests(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera", settle=0)
    with camera.clip().open("ab"):
        assert camera.complete(after=10_000) == []
    assert camera.complete() == [b"1.mp4"]


def test_what_is_there_and_not_complete_is_told_apart_from_what_is_gone_or_damaged(
    tmp_path: Path,
) -> None:
    camera = Camera(tmp_path / "camera")
    known, gone = camera.clip("known.mp4"), camera.clip("gone.mp4")
    assert len(camera.look(after=61).files) == 2
    gone.unlink()
    with known.open("ab"):
        look = camera.look()
    assert look.unsettled == [b"known.mp4"]
    assert not look.files
    assert not look.failures


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EIO]
)
def test_a_file_that_cannot_be_opened_may_have_a_writer_and_is_left_to_its_reading_when_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    camera = Camera(tmp_path / "camera")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with camera.clip().open("ab"):
        monkeypatch.setattr("dockd.station.cameras.settling.open_file", refuse)
        assert camera.complete(after=61) == []
    assert camera.complete(after=540) == [b"1.mp4"]


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOLCK])
def test_that_there_is_no_room_to_ask_for_a_writer_does_not_mean_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    camera = Camera(tmp_path / "camera")
    ask = fcntl.fcntl

    def no_room(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(number, os.strerror(number))
        return ask(fd, command, argument)

    with camera.clip().open("ab"):
        monkeypatch.setattr(fcntl, "fcntl", no_room)
        assert camera.complete(after=61) == []


def test_of_a_file_whose_writer_nobody_can_see_only_its_quiet_tells(tmp_path: Path) -> None:
    """As after a restart or a reload: no watch has seen who wrote it, and no lease tells."""
    camera = Camera(tmp_path / "camera", settle=2, quiet=600, seams=NOBODY_CAN_TELL)
    with camera.clip().open("ab") as file:
        for _ in range(5):
            look = camera.look(after=500)
            assert look.unsettled == [b"1.mp4"]
            assert look.again_in is not None
            # No sooner than it can have changed, and no later.
            assert 50 < look.again_in <= 600
            camera.clock.elapsed += 50
            file.write(b"more")
            file.flush()
            os.utime(camera.path / "1.mp4", (camera.clock.now().timestamp(),) * 2)
    camera.look()
    assert camera.complete(after=601) == [b"1.mp4"]


@pytest.mark.parametrize("hours", [1, 24 * 365 * 50])
def test_a_clock_that_is_set_forward_makes_no_file_quiet(tmp_path: Path, hours: int) -> None:
    """As a station does that has booted without a clock, once it finds a time server."""
    camera = Camera(tmp_path / "camera", settle=2, quiet=600, seams=NOBODY_CAN_TELL)
    camera.clock.elapsed += 3600
    written = camera.clip()
    os.utime(written, (camera.clock.now().timestamp(),) * 2)
    assert camera.complete(after=3) == []
    camera.clock.set_by = hours * 3600
    assert camera.complete(after=3) == []
    # Nor in the eyes of who sees it for the first time.
    camera.media = camera.another_stay()
    assert camera.complete() == []
    assert camera.complete(after=590) == []
    assert camera.complete(after=11) == [b"1.mp4"]


def test_what_happened_before_the_clock_was_first_read_is_unknown(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera", settle=2, quiet=600, seams=NOBODY_CAN_TELL)
    os.utime(camera.clip(), (0, 0))
    camera.clock.set_by = 3600
    assert camera.complete() == []
    assert camera.complete(after=590) == []
    camera.media = camera.another_stay()
    assert camera.complete(after=11) == [b"1.mp4"]


def test_a_file_that_is_quiet_for_long_is_complete_at_the_first_look(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera", settle=2, quiet=600, seams=NOBODY_CAN_TELL)
    camera.clip()
    assert camera.complete(after=601) == [b"1.mp4"]


class Hints(folder_watch._Hints):
    """Says when the watch has told of a file's close."""

    closed = asyncio.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        super().on_any_event(event)
        if event.event_type == "closed":
            self._loop.call_soon_threadsafe(self.closed.set)


def test_a_file_that_somebody_else_closes_is_not_taken_from_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """inotify tells that it was closed, and not that its writer has it open still."""
    camera = Camera(tmp_path / "camera", settle=0)
    camera.config = camera.config.model_copy(update={"watch": "inotify"})
    watched = Watched(camera, NOBODY_CAN_TELL)
    monkeypatch.setattr(folder_watch, "_Hints", Hints)
    Hints.closed = asyncio.Event()

    async def scenario() -> None:
        async with watched.running():
            await watched.until(lambda: watched.now)
            with (camera.path / "1.mp4").open("wb") as writer:
                writer.write(b"half of it")
                writer.flush()
                os.close(os.open(camera.path / "1.mp4", os.O_RDWR))
                await asyncio.wait_for(Hints.closed.wait(), PATIENCE)
                (media,) = watched.now
                async with media.opened() as root:
                    assert media.look(root).unsettled == [b"1.mp4"]

    asyncio.run(scenario())


# Network file systems, and polling


@pytest.mark.parametrize("filesystem", ["nfs4", "cifs", "fuse", "gpfs", "vmhgfs"])
def test_on_a_network_a_refused_lease_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    camera = Camera(tmp_path / "camera", seams=SOMEBODY_WRITES)
    lie_on(monkeypatch, filesystem)
    camera.clip()
    camera.look()
    assert camera.complete(after=590) == []
    assert camera.complete(after=11) == [b"1.mp4"]


def test_on_a_network_a_file_rests_when_looks_see_it_so_whatever_the_servers_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Camera(tmp_path / "camera")
    lie_on(monkeypatch, "nfs")
    for content in (b"clip", b"clip, and more"):
        camera.clip(content=content)
        # To the server, it was written an hour ago.
        assert camera.complete(after=3600) == []
        assert camera.complete(after=590) == []
        assert camera.complete(after=11) == [b"1.mp4"]


# What is told


def test_a_file_that_is_not_complete_for_long_is_told_and_shown(
    tmp_path: Path, log: list[Any]
) -> None:
    camera = Camera(tmp_path / "camera", settle=2)
    path = camera.clip()
    with path.open("ab"):
        camera.look()
        camera.look(after=590)
        assert log == []
        camera.look(after=20)
        (line,) = log
        assert line["event"] == "clip.unsettled"
        assert line["camera"] == "bodycam:CAM-1"
        assert line["path"] == "1.mp4"
        assert "has it open for writing" in line["detail"]
        camera.look(after=20)
        assert len(log) == 1
        assert [one.event for one in camera.incidents.shown()] == ["clip.unsettled"]
    camera.look()
    assert [line["event"] for line in log] == ["clip.unsettled", "clip.settled"]
    assert camera.incidents.shown() == []


def test_an_upload_whose_writer_nobody_can_see_is_told_only_if_it_takes_longer_than_its_quiet(
    tmp_path: Path, log: list[Any]
) -> None:
    camera = Camera(tmp_path / "camera", settle=2, seams=NOBODY_CAN_TELL)
    camera.clip()
    for _ in range(19):
        camera.media.look(Root(camera.path, is_local=False))
        if camera.clock.elapsed < 540:
            camera.clip(content=b"more" * int(camera.clock.elapsed + 2))
        camera.clock.elapsed += 60
    assert log == []
    camera.clip(content=b"and more")
    os.utime(camera.path / "1.mp4", (camera.clock.now().timestamp(),) * 2)
    camera.look()
    camera.look(after=100)
    assert "as the user dockd" in log[-1]["hint"]


def test_a_file_that_has_to_rest_for_long_is_not_told_before(
    tmp_path: Path, log: list[Any]
) -> None:
    camera = Camera(tmp_path / "camera", settle=3600)
    camera.clip()
    camera.look()
    camera.look(after=3500)
    assert log == []


def test_a_folder_that_is_not_docked_any_more_shows_no_late_file(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera", seams=SOMEBODY_WRITES)
    camera.clip()
    camera.look()
    camera.look(after=1000)
    assert camera.incidents.shown()
    camera.media.forget()
    assert camera.incidents.shown() == []


# Its disk


def test_a_folder_whose_disk_fails_during_a_look_is_not_seen_in_full(tmp_path: Path) -> None:
    failures = iter(range(10))
    camera = Camera(tmp_path / "camera", seams=FolderSeams(errors=lambda _: next(failures)))
    camera.clip()
    look = camera.look(after=61)
    assert list(look.failures) == [MAIN]
    assert [file.path for file in look.files] == [b"1.mp4"]


@pytest.mark.parametrize(
    ("filesystem", "stable"), [("ext4", True), ("vfat", False), ("exfat", False)]
)
def test_inode_numbers_count_where_the_file_system_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str, *, stable: bool
) -> None:
    camera = Camera(tmp_path / "camera")
    lie_on(monkeypatch, filesystem)

    async def scenario() -> None:
        async with camera.media.opened() as root:
            assert root.stable_inodes is stable
        async with camera.media.writable() as root:
            assert root.stable_inodes is stable

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [9_300_000_000, -9_300_000_000])
def test_a_file_of_a_time_that_no_ledger_holds_is_a_clip_like_others(
    tmp_path: Path, seconds: int
) -> None:
    with small_disk(tmp_path / "disk", size="1m") as disk:
        camera = Camera(disk / "camera")
        path = camera.clip()
        os.utime(path, ns=(0, seconds * 10**9))
        if path.stat().st_mtime_ns != seconds * 10**9:
            pytest.skip("this file system keeps no such times")
        camera.look()
        look = camera.look(after=61)
        with closing(Ledger(tmp_path / "ledger.db", Clock())) as ledger:
            docking = ledger.dockings.begin(camera.media.camera, "here")
            ledger.dockings.observe(camera.media.camera, docking, look.files)
            (clip,) = ledger.queries.clips()
    years = datetime.fromtimestamp(clip.modified_ns / 1e9, UTC).year
    assert years == (2262 if seconds > 0 else 1677)


def test_a_folder_that_went_away_is_a_lost_camera(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera")
    camera.path.rmdir()
    with pytest.raises(CameraLostError):
        camera.look()


def test_the_file_system_under_a_path_is_known_by_its_type(tmp_path: Path) -> None:
    with small_disk(tmp_path / "with space", size="1m") as disk:
        assert filesystem_types(disk / "a" / "b") == {"tmpfs"}
    assert "proc" in filesystem_types(Path("/proc/self"))


def test_a_folder_is_of_all_the_file_systems_that_are_mounted_below_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Camera(tmp_path / "camera", seams=SOMEBODY_WRITES)
    here = filesystem_types(camera.path)
    (camera.path / "DCIM").mkdir()
    with mounted(camera.path / "DCIM" / "2026", "-t", "ramfs", "ramfs") as below:
        assert filesystem_types(camera.path) == {*here, "ramfs"}
        assert filesystem_types(camera.path.with_name("camera beside")) == here
        (below / "1.mp4").write_bytes(b"clip")
        monkeypatch.setattr(folder_media, "NETWORK_TYPES", {"ramfs"})
        monkeypatch.setattr(folder_media, "UNSTABLE_INODES", {"ramfs"})

        async def scenario() -> None:
            async with camera.media.opened() as root:
                assert not root.is_local
                assert not root.stable_inodes

        asyncio.run(scenario())
        # What the lease says means nothing there, and its clock may be another one.
        assert camera.complete(after=10_000) == []
        assert camera.complete(after=601) == [b"DCIM/2026/1.mp4"]
    assert filesystem_types(camera.path) == here


def test_a_link_is_of_the_file_system_that_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/proc")
    assert filesystem_types(link / "version") == {"proc"}


# A path that answers with an error


@pytest.mark.parametrize(
    "number",
    [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENAMETOOLONG, errno.ELOOP],
)
def test_a_folder_that_answers_with_an_error_is_told_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any], number: int
) -> None:
    camera = Camera(tmp_path / "camera")
    answers = iter([number] * 3)
    ask = Path.stat

    def stat(path: Path, **kwargs: Any) -> os.stat_result:
        if path == camera.path and (answer := next(answers, None)):
            raise OSError(answer, os.strerror(answer), str(path))
        return ask(path, **kwargs)

    monkeypatch.setattr(Path, "stat", stat)

    docked = asyncio.Event()

    async def dock(media: Media) -> None:
        assert media.is_there()
        docked.set()

    async def scenario() -> None:
        source = FolderSource(camera.config, camera.profile, camera.clock, camera.incidents)
        task = asyncio.create_task(source.run(dock))
        await asyncio.wait_for(docked.wait(), PATIENCE)
        task.cancel()

    asyncio.run(scenario())
    assert [line["event"] for line in log] == ["camera.failed", "camera.recovered"]
    assert os.strerror(number) in log[0]["detail"]
    assert log[0]["camera"] == "bodycam:CAM-1"
    assert log[1]["failures"] == 3
    assert camera.incidents.shown() == []


def test_a_folder_that_answers_with_an_error_is_not_taken_for_one_that_is_gone(
    tmp_path: Path,
) -> None:
    camera = Camera(tmp_path / "camera")
    camera.path.rmdir()
    assert not camera.media.is_there()
    camera.path.symlink_to(camera.path)
    with pytest.raises(SourceError, match="symbolic links"):
        camera.media.is_there()


# Another folder at the same path


class Watched:
    """A folder source at work, and what it docks."""

    def __init__(self, camera: Camera, seams: FolderSeams | None = None) -> None:
        self.docked: list[FolderMedia] = []
        self.now: list[FolderMedia] = []
        self.source = FolderSource(camera.config, camera.profile, Clock(), camera.incidents, seams)

    async def dock(self, media: Media) -> None:
        assert isinstance(media, FolderMedia)
        self.docked.append(media)
        self.now.append(media)
        try:
            await asyncio.Event().wait()
        finally:
            self.now.remove(media)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():  # noqa: ASYNC110  # what is waited for has no event of its own
                await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(work)
            for work in (self.source.places.run(), self.source.run(self.dock))
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def mount_over(path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(path)], check=True)


def mount_below(path: Path) -> None:
    (path / "DCIM").mkdir()
    mount_over(path / "DCIM")


def replace_by_another(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.mkdir()


@pytest.mark.parametrize("change", [mount_over, mount_below, replace_by_another])
def test_a_folder_that_becomes_another_one_is_docked_anew_and_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(folder, "_APPEARS_EVERY", 0.01)
    camera = Camera(tmp_path / "camera")
    camera.config = camera.config.model_copy(update={"watch": "inotify", "rescan_seconds": 3600.0})
    watched = Watched(camera)

    async def scenario() -> None:
        async with watched.running():
            await watched.until(lambda: watched.now)
            change(camera.path)
            await watched.until(lambda: len(watched.docked) == 2 and watched.now)
            (media,) = watched.now
            media.changed.clear()
            place = camera.path / "DCIM" if change is mount_below else camera.path
            (place / "1.mp4").write_bytes(b"clip")
            await asyncio.wait_for(media.changed.wait(), PATIENCE)

    with small_disk(tmp_path / "may mount", size="1m"):
        try:
            asyncio.run(scenario())
        finally:
            for path in (camera.path / "DCIM", camera.path):
                if path.is_mount():
                    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize(("filesystem", "stays"), [("vfat", True), ("fuse", True), ("ext4", False)])
def test_another_inode_number_means_another_folder_where_the_file_system_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str, *, stays: bool
) -> None:
    camera = Camera(tmp_path / "camera")
    lie_on(monkeypatch, filesystem)
    assert camera.media.recognise()
    ask = filesystems.identity_of

    def identity_of(path: Path) -> Identity | None:
        identity = ask(path)
        assert identity is not None
        return identity[0], identity[1] + 1, identity[2]

    monkeypatch.setattr(folder_media, "identity_of", identity_of)
    assert camera.media.is_there() is stays


@pytest.mark.parametrize("where", [".", "DCIM"])
def test_another_mount_is_another_folder_although_all_its_numbers_are_the_same(
    tmp_path: Path, where: str
) -> None:
    """As of a card that is swapped between two questions, for another of the same kind."""
    (tmp_path / "card" / "DCIM").mkdir(parents=True)
    bound = tmp_path / "bound"
    seen = []
    for _ in range(2):
        with mounted(bound, "--bind", str(tmp_path / "card")):
            seen.append(filesystems.identity_of(bound / where))
            assert seen[-1] == filesystems.identity_of(bound / where)
    first, second = seen
    assert first is not None
    assert second is not None
    if max(first[2], default=0) < 2**31:
        pytest.skip("this kernel gives its mounts no ids of their own")
    assert first[:2] == second[:2]
    assert first != second


def test_a_folder_stays_docked_while_others_beside_it_come_and_go(tmp_path: Path) -> None:
    camera = Camera(tmp_path / "camera")
    watched = Watched(camera)

    async def scenario() -> None:
        async with watched.running():
            await watched.until(lambda: watched.now)
            for _ in range(3):
                changed = watched.source.places.changed
                (tmp_path / "other").mkdir()
                await asyncio.wait_for(changed.wait(), PATIENCE)
                (tmp_path / "other").rmdir()
            assert watched.now == watched.docked
            assert len(watched.docked) == 1

    asyncio.run(scenario())


# Room for watches


class NoRoom:
    """An inotify that this user has used up."""

    def __init__(self) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")


class NoMoreWatches(InotifyObserver):
    """An inotify that has no room for another folder."""

    def schedule(self, *_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")


@pytest.mark.parametrize("observer", [NoRoom, NoMoreWatches])
def test_a_folder_that_inotify_has_no_room_for_is_polled_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any], observer: type
) -> None:
    monkeypatch.setattr(folder_watch, "Observer", observer)
    monkeypatch.setattr(folder_watch, "_POLL_INSTEAD_EVERY", 0.05)
    unwatched = Unwatched(Incidents(Clock()))
    watched = []
    for name in ("1", "2", "3"):
        camera = Camera(tmp_path / name)
        camera.config = camera.config.model_copy(update={"watch": "inotify", "serial": name})
        watched.append(Watched(camera))
        watched[-1].source = FolderSource(
            camera.config, camera.profile, Clock(), camera.incidents, unwatched=unwatched
        )

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for one in watched:
                await stack.enter_async_context(one.running())
            for one in watched:
                await one.until(partial(len, one.now))
                one.now[0].changed.clear()
                (one.now[0].path / "1.mp4").write_bytes(b"clip")
                await asyncio.wait_for(one.now[0].changed.wait(), PATIENCE)

    before = open_descriptors()
    asyncio.run(scenario())
    assert open_descriptors() == before
    assert [line["event"] for line in log] == ["folder.polled", "folder.watched"]
    assert "limit reached" in log[0]["detail"]
    assert log[1]["failures"] == 3


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (OSError(errno.ENOSPC, "inotify watch limit reached"), "max_user_watches"),
        (OSError(errno.EMFILE, "inotify instance limit reached"), "max_user_instances"),
        (RuntimeError("can't start new thread"), "polling"),
        (PermissionError(errno.EACCES, "Permission denied"), "may read"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "may read"),
    ],
)
def test_why_a_folder_is_polled_is_told_with_what_can_be_done(
    log: list[Any], error: Exception, hint: str
) -> None:
    Unwatched(Incidents(Clock())).add("bodycam:CAM-1", error)
    (line,) = log
    assert hint in line["hint"]
    assert ("sysctl" in line["hint"]) == (hint != "may read")


def test_a_watch_ends_although_its_folder_hangs_when_it_is_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Camera(tmp_path / "camera")
    camera.config = camera.config.model_copy(update={"watch": "inotify"})
    watched, ended = Watched(camera), threading.Event()

    class Ending(InotifyObserver):
        def on_thread_stop(self) -> None:
            super().on_thread_stop()
            ended.set()

    def hang(_observer: object) -> None:
        raise CameraHangsError

    monkeypatch.setattr(folder_watch, "Observer", Ending)
    monkeypatch.setattr(folder, "end_watch", hang)

    async def scenario() -> None:
        async with watched.running():
            await watched.until(lambda: watched.now)

    asyncio.run(scenario())
    assert ended.wait(PATIENCE)


def test_a_docked_folder_that_does_not_answer_is_told_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.2)
    monkeypatch.setattr(folder, "_LOOKED_AT_EVERY", 0.01)
    gate, ask = threading.Event(), filesystems.identity_of
    gate.set()

    def identity_of(path: Path) -> Identity | None:
        gate.wait(PATIENCE)
        return ask(path)

    monkeypatch.setattr(folder, "identity_of", identity_of)
    monkeypatch.setattr(folder_media, "identity_of", identity_of)
    camera = Camera(tmp_path / "camera")
    watched = Watched(camera)

    async def scenario() -> None:
        async with watched.running():
            await watched.until(lambda: watched.now)
            gate.clear()
            await watched.until(camera.incidents.shown)
            (failing,) = camera.incidents.shown()
            assert (failing.event, failing.error.event) == ("camera.failed", "camera.hangs")
            gate.set()
            await watched.until(lambda: not camera.incidents.shown())
            assert len(watched.docked) == 1

    asyncio.run(scenario())
    assert [line["event"] for line in log] == ["camera.failed", "camera.recovered"]
