"""A stay in the dock, on a camera whose mounts are folders and whose receipts come at once."""

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from dockd.base.clock import Clock
from dockd.base.errors import (
    CameraLostError,
    MountError,
    SourceError,
    TargetDownError,
    TransientError,
)
from dockd.base.incidents import Incident
from dockd.base.threads import Threads
from dockd.evidence.age import X25519Identity
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import LeftAlone, derive_clip_id, read_unverified_manifest, sign
from dockd.host.files import Files
from dockd.station import events
from dockd.station.cameras import Look
from dockd.station.cameras.tree import Failures, Root, open_file, walk
from dockd.station.config import IngestConfig
from dockd.station.control.metrics import Metrics
from dockd.station.control.troubles import of_incident
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import State
from dockd.station.model import Camera, Clip, FileStat, FoundFile, Match, Standing
from dockd.station.pipeline import docking, wipe
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.cleaning import Cleaning
from dockd.station.pipeline.confirming import Confirmations
from dockd.station.pipeline.docking import Docking
from dockd.station.pipeline.intake import Intake, Seal
from dockd.station.reports import Reports
from dockd.station.spool import Spool
from dockd.station.targets import NotStored, ReceiptAnswer, Received, Sealed, Verifying
from dockd.station.targets.health import TargetHealth
from tests.support import Handled, make_answer, make_receipt

PATIENCE = 30


class FolderCamera:
    """A camera that is nobody else's while it is docked, mounted from a folder."""

    def __init__(self, folder: Path) -> None:
        self.camera = Camera("bodycam", "CAM-1")
        self.place = "bay 3"
        self.facts: Mapping[str, str] = {"usb_vendor": "46f4"}
        self.changed = asyncio.Event()
        self.look_every = 3600.0
        self.readers = 1
        self.ours_alone = True
        self.threads = Threads("bodycam:CAM-1")
        self.folder = folder
        self.released = 0
        self.mounts: list[str] = []
        self.after_window: Callable[[], object] = lambda: None
        self.mount_failures = 0
        self.is_write_protected = False
        self.there = True
        self.is_local = True
        self.failures: Failures = {}
        self.skipped: set[bytes] = set()
        self.unsettled: set[bytes] = set()
        self.left_alone: dict[bytes, int] = {}

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Root]:
        async with self._mounted("ro") as root:
            yield root

    @contextlib.asynccontextmanager
    async def writable(self) -> AsyncIterator[Root]:
        if self.is_write_protected:
            raise MountError("it is write-protected")
        async with self._mounted("rw") as root:
            yield root
        self.after_window()

    @contextlib.asynccontextmanager
    async def _mounted(self, how: str) -> AsyncIterator[Root]:
        if self.mount_failures:
            self.mount_failures -= 1
            raise MountError("udisks2 is not running")
        assert not self.mounts or self.mounts[-1] == "unmounted"
        self.mounts.append(how)
        try:
            yield Root(self.folder, is_local=self.is_local)
            if not self.there:
                raise CameraLostError("it is gone")
        finally:
            self.mounts.append("unmounted")

    def look(self, root: Root) -> Look:
        if not self.there:
            raise CameraLostError("it is gone")
        files = [
            FoundFile(
                one.path,
                one.status.st_size,
                FileStat.of(one.status).modified_ns,
                Match("video"),
                root.known_by(FileStat.of(one.status)),
            )
            for one in walk(root)
            if one.path.endswith(b".mp4") and one.path not in self.skipped
        ]
        complete = [file for file in files if file.path not in self.unsettled]
        return Look(
            complete, self.left_alone, failures=self.failures, unsettled=sorted(self.unsettled)
        )

    def is_there(self) -> bool:
        return self.there

    async def release(self) -> None:
        self.released += 1


class Confirming:
    """A target that is asked for nothing but confirmations."""

    gives_receipts = True
    health: TargetHealth

    def __init__(self, bench: "Bench") -> None:
        self._bench = bench
        self.asked = 0
        self.answer: Callable[[Sealed, str], ReceiptAnswer] = self.confirm

    def confirm(self, sealed: Sealed, nonce: str) -> ReceiptAnswer:
        receipt = self._bench.receipt(sealed.manifest)
        return Received(receipt, make_answer(self._bench.receiver, receipt, nonce))

    async def receipt(self, sealed: Sealed, nonce: str) -> ReceiptAnswer:
        self.asked += 1
        return self.answer(sealed, nonce)

    async def anchor(self, kid: str, nonce: str) -> str:
        raise TransientError("nobody asks")

    async def upload(self, *_: object) -> None:
        raise TransientError("nobody asks")

    async def aclose(self) -> None:
        """Nothing to close."""


class Bench:
    """A station around one docking; its receiver acknowledges what it is given at once."""

    def __init__(
        self,
        folder: Path,
        policy: wipe.Policy = "delete",
        files: Files | None = None,
        receiver: SigningKey | None = None,
        spool_files: Files | None = None,
    ) -> None:
        (folder / "camera").mkdir(exist_ok=True)
        self.media = FolderCamera(folder / "camera")
        self.clock = Clock()
        self.ledger = Ledger(folder / "ledger.db", self.clock)
        self.receiver = receiver or SigningKey.generate()
        self.acknowledges = True
        self.confirms_at_once = True
        self.spool = spool = Spool(
            folder / "spool",
            budget=2**33,
            reserve=0,
            files=spool_files or Files(),
            clock=self.clock,
        )
        spool.recover({})
        recipients = [X25519Identity.generate().recipient]
        activity = Activity(self.clock, Metrics())
        self.activity = activity
        self.incidents = activity.incidents
        self.holds_wipes = False
        intake = Intake(
            self.ledger,
            spool,
            Seal("camden", SigningKey.generate(), recipients),
            self.clock,
            activity,
            config=IngestConfig(),
            reports=Handled(lambda _: self.acknowledge()),
        )
        self.target = Confirming(self)
        self.confirmations = Confirmations(
            self.target, [self.receiver.verify_key], self.clock, Reports()
        )
        cleaning = Cleaning(
            self.ledger,
            files or Files(),
            self.clock,
            activity,
            policy=policy,
            receiver_keys=[self.receiver.verify_key],
            confirmations=self.confirmations,
            holds=[self],
        )

        async def synchronised() -> bool | None:
            return True

        self.docking = Docking(
            self.media,
            self.ledger,
            intake,
            cleaning,
            self.clock,
            activity=activity,
            synchronised=synchronised,
        )

    def clip(self, name: str, data: bytes = b"clip") -> Path:
        path = self.media.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def acknowledge(self) -> None:
        if not self.acknowledges:
            return
        for clip in self.ledger.queries.to_upload(100, exclude=(), receipts=True):
            self.ledger.uploads.begin(clip)
            receipt = self.receipt(str(clip.manifest))
            self.ledger.uploads.acknowledge(clip, receipt, "answer")
            if self.confirms_at_once:
                self.confirmations.remember(clip, receipt)
            self.docking.look_for_wipe()

    def receipt(self, token: str) -> str:
        """What the receiver has signed for a manifest."""
        manifest = read_unverified_manifest(token)
        receipt = make_receipt(self.receiver, manifest, token, stored_at=manifest.sealed_at)
        return sign(receipt, self.receiver)

    def run_until(self, holds: Callable[[], bool], *, patience: float = PATIENCE) -> None:
        """Let the docking work until something holds, and cancel it."""

        async def run() -> None:
            stay = asyncio.create_task(self.docking.run())
            async with asyncio.timeout(patience):
                while not (held := holds()) and not stay.done():  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(0.01)
            stay.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stay

            assert held or holds()

        asyncio.run(run())

    def has_acknowledged_all(self) -> bool:
        return self.docking.looked_at is not None and {
            clip.state.shown for clip in self.ledger.queries.clips()
        } == {State.ACKNOWLEDGED}

    def shows(self, event: str) -> bool:
        return event in {failing.event for failing in self.incidents.shown()}

    def is_safe(self) -> bool:
        return self.docking.standing is Standing.SAFE

    def is_stuck(self) -> bool:
        return self.docking.standing is Standing.STUCK


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    with closing(made.ledger):
        yield made


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def told(log: list[Any], name: str) -> list[Any]:
    return [line for line in log if line["event"] == name]


def test_a_camera_is_safe_to_take_once_everything_on_it_is_wiped(
    bench: Bench, log: list[Any]
) -> None:
    bench.clip("DCIM/1.mp4")
    bench.clip("DCIM/2.mp4", b"another")
    bench.run_until(bench.is_safe)
    assert [path for path in bench.media.folder.rglob("*") if path.is_file()] == []
    assert len(told(log, "camera.safe")) == 1
    assert bench.media.released == 1


def test_a_camera_with_video_that_no_rule_fits_is_not_safe_until_it_is_gone(
    bench: Bench, log: list[Any]
) -> None:
    bench.clip("1.mp4")
    bench.media.left_alone = {b"DCIM/101MEDIA/2.MOV": 10, b"index.bin": 5}
    bench.run_until(bench.is_stuck)
    assert not told(log, "camera.safe")
    assert bench.ledger.queries.counts() == {State.WIPED: 1}
    (line,) = told(log, "camera.files_left")
    assert (line["files"], line["size"], line["paths"]) == (2, 15, ["DCIM/101MEDIA/2.MOV"])
    assert "1 of bodycam:CAM-1, such as DCIM/101MEDIA/2.MOV" in line["detail"]
    (clip,) = bench.ledger.queries.clips()
    assert read_unverified_manifest(str(clip.manifest)).left_alone == LeftAlone(files=2, size=15)
    bench.media.left_alone = {}
    bench.docking.look_now()
    bench.run_until(bench.is_safe)
    assert not bench.shows("camera.files_left")


def test_files_that_are_no_recordings_keep_nobody_from_taking_a_camera_and_are_counted(
    bench: Bench, log: list[Any]
) -> None:
    bench.media.left_alone = {b"System Volume Information/IndexerVolumeGuid": 76}
    bench.run_until(bench.is_safe)
    assert (bench.docking.left_alone.files, bench.docking.left_alone.size) == (1, 76)
    assert not bench.shows("camera.files_left")
    (line,) = told(log, "camera.looked_through")
    assert line["left_alone"] == 1


def test_a_camera_is_mounted_while_there_is_work_and_writable_for_one_window(
    bench: Bench,
) -> None:
    bench.clip("1.mp4")
    bench.run_until(bench.is_safe)
    assert bench.media.mounts == ["ro", "unmounted", "rw", "unmounted", "ro", "unmounted"]


def test_an_empty_camera_is_safe_and_never_writable(bench: Bench) -> None:
    bench.run_until(bench.is_safe)
    assert bench.media.mounts == ["ro", "unmounted"]


def test_a_camera_is_not_safe_while_a_clip_waits_for_its_receipt(
    bench: Bench, log: list[Any]
) -> None:
    bench.acknowledges = False
    bench.clip("1.mp4")
    bench.run_until(lambda: bool(bench.ledger.queries.counts().get(State.SPOOLED)))
    assert bench.docking.standing is Standing.WORKING
    assert not told(log, "camera.safe")
    assert "rw" not in bench.media.mounts


def test_a_camera_counts_as_working_once_a_round_has_gone_through(
    bench: Bench, log: list[Any]
) -> None:
    camera = bench.media.camera
    failed = events.camera_failed(camera=camera.id)
    bench.activity.camera(camera).failed(failed, SourceError("an earlier docking failed"))
    bench.media.mount_failures = 1
    bench.clip("1.mp4")
    bench.run_until(bench.is_safe)
    told_of = [
        (line["event"], line["failures"])
        for line in log
        if line["event"] in {"camera.failed", "camera.recovered"}
    ]
    assert told_of[:2] == [("camera.failed", 1)] * 2
    assert told_of[2:] == [("camera.recovered", 1)] * 2


def test_a_file_that_goes_with_a_wipe_and_should_not_is_told(bench: Bench, log: list[Any]) -> None:
    bench.clip("1.mp4")
    bystander = bench.clip("GPS/track.gps", b"51.5,-0.1")
    bench.media.after_window = lambda: bystander.unlink(missing_ok=True)
    bench.run_until(lambda: bench.is_stuck() and bench.shows("wipe.damaged"))
    (line,) = told(log, "wipe.damaged")
    assert line["paths"] == ["GPS/track.gps"]
    assert [e.detail for e in bench.ledger.journal.entries() if e.event == "wipe.damaged"] == [
        {"paths": ["GPS/track.gps"]}
    ]
    assert bench.ledger.queries.counts() == {State.WIPED: 1}


def test_a_file_that_is_altered_by_a_wipe_is_told(bench: Bench, log: list[Any]) -> None:
    bench.clip("1.mp4")
    bystander = bench.clip("GPS/track.gps", b"51.5,-0.1")
    bench.media.after_window = lambda: bystander.write_bytes(b"")
    bench.run_until(bench.is_stuck)
    assert told(log, "wipe.damaged")


def test_nothing_is_told_of_files_that_stay(bench: Bench, log: list[Any]) -> None:
    bench.clip("1.mp4")
    bench.clip("GPS/track.gps", b"51.5,-0.1")
    bench.run_until(bench.is_safe)
    assert not told(log, "wipe.damaged")


def test_clips_below_a_folder_that_cannot_be_listed_are_not_gone_and_the_camera_is_stuck(
    bench: Bench, log: list[Any]
) -> None:
    bench.clip("A/1.mp4")
    bench.clip("B/2.mp4", b"two")
    bench.acknowledges = False
    bench.run_until(lambda: bench.ledger.queries.counts() == {State.SPOOLED: 2})
    bench.media.failures = {b"B": OSError(5, "Input/output error")}
    bench.media.skipped = {b"B/2.mp4"}
    bench.acknowledges = True
    bench.acknowledge()
    bench.docking.look_now()
    bench.run_until(bench.is_stuck)
    assert all(clip.present for clip in bench.ledger.queries.clips() if clip.path == b"B/2.mp4")
    (line,) = told(log, "camera.folder_unreadable")
    assert line["path"] == "B"
    assert told(log, "camera.stuck")
    assert not told(log, "camera.safe")


def test_a_mount_that_fails_is_tried_again(bench: Bench, log: list[Any]) -> None:
    bench.clip("1.mp4")
    bench.media.mount_failures = 1
    bench.run_until(bench.is_safe)
    assert told(log, "camera.failed")[0]["error"] == "camera.unmountable"
    assert told(log, "camera.recovered")


def test_a_camera_that_is_gone_ends_its_docking(bench: Bench, log: list[Any]) -> None:
    bench.media.there = False
    bench.run_until(lambda: bool(told(log, "camera.undocked")))
    assert not told(log, "camera.failed")


def test_the_manifest_says_where_and_on_what_and_how_right_the_clocks_were(bench: Bench) -> None:
    path = bench.clip("1.mp4")
    ahead = bench.clock.now().timestamp() + 3600
    os.utime(path, (ahead, ahead))
    bench.run_until(bench.is_safe)
    (clip,) = bench.ledger.queries.clips()
    manifest = read_unverified_manifest(str(clip.manifest))
    assert manifest.place == "bay 3"
    assert manifest.device == {"usb_vendor": "46f4"}
    assert manifest.clock.synchronised is True
    assert 3500 < manifest.clock.camera_ahead_seconds <= 3600


def test_a_camera_whose_times_are_past_is_not_ahead(bench: Bench) -> None:
    path = bench.clip("1.mp4")
    os.utime(path, (0, 0))
    bench.run_until(bench.is_safe)
    (clip,) = bench.ledger.queries.clips()
    assert read_unverified_manifest(str(clip.manifest)).clock.camera_ahead_seconds == 0


def test_a_clip_that_the_server_refused_leaves_the_camera_stuck_and_the_others_wiped(
    bench: Bench, log: list[Any]
) -> None:
    bench.clip("1.mp4")
    bench.clip("2.mp4", b"two")
    bench.acknowledges = False
    bench.run_until(lambda: bench.ledger.queries.counts() == {State.SPOOLED: 2})
    (first, _) = bench.ledger.queries.clips()
    bench.ledger.uploads.begin(first)
    bench.ledger.uploads.reject(first, "clip.rejected", "422: no")
    bench.acknowledges = True
    bench.acknowledge()
    bench.run_until(bench.is_stuck)
    assert bench.ledger.queries.counts() == {State.REJECTED: 1, State.WIPED: 1}
    assert [path.name for path in bench.media.folder.iterdir()] == ["1.mp4"]
    assert told(log, "camera.stuck")[0]["clips"] == 1


def test_a_file_that_a_wiped_clip_had_hidden_becomes_a_clip_of_its_own(
    bench: Bench, log: list[Any]
) -> None:
    path = bench.clip("1.mp4", b"first")
    bench.media.failures = {b"1.mp4": OSError(117, "another name leads to the same file")}

    def show() -> None:
        if bench.media.failures:
            path.write_bytes(b"other")
            bench.media.failures = {}

    bench.media.after_window = show
    bench.run_until(bench.is_safe)
    assert bench.ledger.queries.counts() == {State.WIPED: 2}
    assert not told(log, "wipe.failed")
    assert not path.exists()


def test_each_file_and_folder_that_cannot_be_looked_at_is_told_once(
    bench: Bench, log: list[Any]
) -> None:
    bench.clip("1.mp4")
    bench.media.failures = {path: OSError(5, "Input/output error") for path in (b"A", b"B\n")}

    def is_safe_once_mended() -> bool:
        if bench.is_stuck() and bench.media.failures:
            bench.media.failures = {}
            bench.docking.look_now()
        return bench.is_safe()

    bench.run_until(is_safe_once_mended)
    assert [line["path"] for line in told(log, "camera.folder_unreadable")] == ["A", r"B\x0a"]
    assert len(told(log, "camera.recovered")) == 1


class GoesReadOnly(Files):
    """A file system whose kernel finds it damaged at each removal, after which it is read-only."""

    def __init__(self) -> None:
        self.read_only = False

    def unlink_at(self, folder_fd: int, name: bytes) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, "Read-only file system")
        super().unlink_at(folder_fd, name)
        self.read_only = True


def test_what_a_window_that_went_read_only_has_left_is_wiped_in_further_ones(
    tmp_path: Path, log: list[Any]
) -> None:
    files = GoesReadOnly()
    bench = Bench(tmp_path, files=files)
    for number in range(3):
        bench.clip(f"{number}.mp4", str(number).encode())

    def mount_anew() -> None:
        files.read_only = False

    bench.media.after_window = mount_anew
    with closing(bench.ledger):
        bench.run_until(bench.is_safe)
        assert bench.ledger.queries.counts() == {State.WIPED: 3}
    assert told(log, "wipe.failed")


class Refuses(Files):
    """A folder whose owner alone may remove the last two of three clips."""

    def unlink_at(self, folder_fd: int, name: bytes) -> None:
        if name in {b"1.mp4", b"2.mp4"}:
            raise PermissionError(errno.EACCES, "Permission denied")
        super().unlink_at(folder_fd, name)


def test_windows_end_when_nothing_goes_any_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, files=Refuses())
    for number in range(3):
        bench.clip(f"{number}.mp4", str(number).encode())
    with closing(bench.ledger):
        bench.run_until(bench.is_stuck)
        assert bench.ledger.queries.counts() == {State.WIPED: 1, State.WIPING: 2}


def cut_short(folder: Path) -> tuple[Path, SigningKey]:
    """Break a wipe off between setting a clip aside and removing it.

    Returns:
        Where the clip is then, and who has acknowledged it.
    """

    class Dies(Files):
        def write_at(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
            raise OSError(errno.ENODEV, "the camera was pulled")

        def unlink_at(self, folder_fd: int, name: bytes) -> None:
            raise OSError(errno.ENODEV, "the camera was pulled")

    before = Bench(folder, "overwrite", Dies())
    with closing(before.ledger):
        before.clip("DCIM/1.mp4")
        before.run_until(before.is_stuck)
    (aside,) = (before.media.folder / "DCIM").iterdir()
    assert aside.name.startswith(".dockd-wiped-")
    return aside, before.receiver


@pytest.mark.parametrize("policy", ["delete", "overwrite"])
def test_a_wipe_that_was_cut_short_is_completed_before_its_clip_counts_as_wiped(
    tmp_path: Path, log: list[Any], policy: wipe.Policy
) -> None:
    aside, receiver = cut_short(tmp_path)
    bench = Bench(tmp_path, policy, receiver=receiver)
    with closing(bench.ledger):
        bench.run_until(bench.is_safe)
        assert [clip.state for clip in bench.ledger.queries.clips()] == [State.WIPED]
    assert not aside.exists()
    assert not told(log, "clip.vanished")


@pytest.mark.parametrize("policy", ["delete", "keep", "dry-run"])
def test_what_a_wipe_has_set_aside_stays_where_nothing_is_to_be_wiped(
    tmp_path: Path, policy: wipe.Policy
) -> None:
    aside, receiver = cut_short(tmp_path)
    bench = Bench(tmp_path, policy, receiver=receiver)
    bench.holds_wipes = policy == "delete"
    with closing(bench.ledger):
        bench.clip("DCIM/2.mp4", b"new")
        bench.run_until(bench.has_acknowledged_all)
        assert len(bench.ledger.queries.clips()) == 2
        assert "rw" not in bench.media.mounts
    assert aside.exists()


def test_a_camera_that_cannot_be_written_still_is_read(tmp_path: Path, log: list[Any]) -> None:
    aside, receiver = cut_short(tmp_path)
    bench = Bench(tmp_path, receiver=receiver)
    bench.media.is_write_protected = True
    with closing(bench.ledger):
        bench.clip("DCIM/2.mp4", b"new")
        bench.run_until(lambda: bench.has_acknowledged_all() and bool(told(log, "camera.failed")))
        assert len(bench.ledger.queries.clips()) == 2
    assert aside.exists()


def test_what_a_pulled_camera_no_longer_shows_is_not_told_as_damage(
    bench: Bench, log: list[Any]
) -> None:
    def pull() -> None:
        bench.media.there = False
        bystander.unlink()

    bench.clip("1.mp4")
    bystander = bench.clip("GPS/track.gps", b"51.5,-0.1")
    bench.media.after_window = pull
    bench.run_until(lambda: bool(told(log, "camera.undocked")))
    assert not told(log, "wipe.damaged")


def test_a_clip_that_is_not_complete_is_not_gone(bench: Bench, log: list[Any]) -> None:
    bench.clip("1.mp4")
    bench.acknowledges = False
    bench.run_until(lambda: bench.ledger.queries.counts() == {State.SPOOLED: 1})
    bench.media.unsettled = {b"1.mp4"}
    looked_at = bench.docking.looked_at
    bench.docking.look_now()
    bench.run_until(lambda: bench.docking.looked_at != looked_at)
    assert [clip.present for clip in bench.ledger.queries.clips()] == [True]


def test_another_content_under_a_kept_clips_name_and_size_is_a_clip_of_its_own(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "keep")
    with closing(bench.ledger):
        path = bench.clip("1.mp4", b"first")
        bench.run_until(bench.is_safe)
        path.write_bytes(b"other")
        os.utime(path, ns=(1, 1))
        bench.docking.look_now()
        bench.run_until(lambda: bench.ledger.queries.counts() == {State.ACKNOWLEDGED: 2})
        assert [clip.present for clip in bench.ledger.queries.clips()] == [False, True]


def test_a_kept_clip_that_was_only_touched_stays_the_same_clip(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "keep")
    with closing(bench.ledger):
        path = bench.clip("1.mp4")
        bench.run_until(bench.is_safe)
        os.utime(path, ns=(1, 1))
        bench.docking.look_now()
        bench.run_until(lambda: [clip.modified_ns for clip in bench.ledger.queries.clips()] == [1])
        assert bench.ledger.queries.counts() == {State.ACKNOWLEDGED: 1}


def record_anew(path: Path, data: bytes) -> None:
    """Put another recording in a file's place, as a camera whose clock began anew does."""
    times = path.stat()
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("policy", ["keep", "dry-run", "delete"])
@pytest.mark.parametrize("ours_alone", [True, False])
def test_another_recording_of_the_same_name_size_and_time_is_one_more_clip_at_another_docking(
    tmp_path: Path, policy: wipe.Policy, ours_alone: bool
) -> None:
    bench = Bench(tmp_path, policy)
    bench.media.ours_alone = ours_alone
    with closing(bench.ledger):
        bench.acknowledges = False
        path = bench.clip("1.mp4", b"first")
        bench.clip("2.mp4", b"stays")
        bench.run_until(lambda: bench.ledger.queries.counts() == {State.SPOOLED: 2})
        if policy != "delete":
            bench.acknowledges = True
            bench.acknowledge()
        record_anew(path, b"other")
        looked_at = bench.docking.looked_at
        bench.docking.look_now()
        bench.acknowledges = True
        bench.run_until(
            lambda: bench.docking.looked_at != looked_at and len(bench.ledger.queries.clips()) == 3
        )
        bench.acknowledge()
        bench.docking.look_now()
        bench.run_until(bench.is_safe)
        first, stays, other = bench.ledger.queries.clips()
        assert (first.path, other.path) == (b"1.mp4", b"1.mp4")
        assert not first.present
        assert other.plaintext_sha256 == hashlib.sha256(b"other").hexdigest()
        done = State.WIPED if policy == "delete" else State.ACKNOWLEDGED
        assert [stays.state, other.state] == [done, done]


@pytest.mark.parametrize("policy", ["keep", "dry-run"])
@pytest.mark.parametrize("how", ["at another docking", "touched"])
def test_a_camera_is_not_safe_to_take_before_another_content_that_was_found_on_it_is_read(
    tmp_path: Path, log: list[Any], policy: wipe.Policy, how: str
) -> None:
    first = Bench(tmp_path, policy)
    with closing(first.ledger):
        path = first.clip("1.mp4", b"first")
        first.run_until(lambda: first.is_safe() and first.media.released == 1)
    second = Bench(tmp_path, policy, receiver=first.receiver)
    release = second.media.release

    async def released() -> None:
        log.append({"event": "released"})
        await release()

    second.media.release = released  # type: ignore[method-assign]
    with closing(second.ledger):
        if how == "touched":
            path.write_bytes(b"other")
            os.utime(path, ns=(1, 1))
        else:
            record_anew(path, b"other")
        log.clear()
        second.run_until(lambda: second.is_safe() and second.media.released > 0)
        assert [clip.present for clip in second.ledger.queries.clips()] == [False, True]
    events = [line["event"] for line in log]
    assert events.index("clip.spooled") < events.index("camera.safe") < events.index("released")


def test_another_recording_of_the_same_name_size_and_time_in_a_folder_is_seen_at_once(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "keep")
    bench.media.ours_alone = False
    bench.media.look_every = 0.05
    with closing(bench.ledger):
        path = bench.clip("1.mp4", b"first")
        bench.run_until(bench.is_safe)

        def other_is_brought() -> bool:
            if len(bench.ledger.queries.clips()) == 1 and path.read_bytes() == b"first":
                record_anew(path, b"other")
            return bench.ledger.queries.counts() == {State.ACKNOWLEDGED: 2} and bench.is_safe()

        bench.run_until(other_is_brought)


def test_kept_clips_are_read_again_once_a_docking_and_in_a_local_folder_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, "keep")
    bench.media.look_every = 0.05
    looks: list[int] = []
    checks: list[int] = []
    check = wipe.check
    look = bench.media.look

    def counted(root: Root, clip: Clip, docking: int) -> FileStat:
        checks.append(docking)
        return check(root, clip, docking)

    def looked(root: Root) -> Look:
        looks.append(1)
        return look(root)

    monkeypatch.setattr(wipe, "check", counted)
    monkeypatch.setattr(bench.media, "look", looked)
    with closing(bench.ledger):
        bench.clip("1.mp4", b"first")
        bench.run_until(lambda: len(looks) > 3 and bench.is_safe())
        assert checks == []
        looks.clear()
        bench.run_until(lambda: len(looks) > 3 and bench.is_safe())
        assert len(checks) == 1
        bench.media.ours_alone = False
        looks.clear()
        bench.run_until(lambda: len(looks) > 3 and bench.is_safe())
        assert len(checks) == 1
        bench.media.is_local = False
        looks.clear()
        bench.run_until(lambda: len(looks) > 3 and bench.is_safe())
        assert len(checks) == 2


def test_a_kept_clip_that_can_not_be_read_again_leaves_its_camera_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    bench = Bench(tmp_path, "keep")
    with closing(bench.ledger):
        bench.clip("1.mp4", b"first")
        bench.run_until(bench.is_safe)

        def fail(*_: object) -> FileStat:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(wipe, "check", fail)
        bench.docking.look_now()
        bench.run_until(bench.is_stuck)
        (line,) = told(log, "camera.folder_unreadable")
        assert line["path"] == "1.mp4"


def test_a_clip_is_never_lost_to_its_name(bench: Bench, log: list[Any]) -> None:
    name = "é\n\\" + "x" * 240
    folder = os.open(bench.media.folder, os.O_RDONLY)
    for _ in range(300):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    with os.fdopen(os.open("1.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=folder), "wb") as file:
        file.write(b"clip")
    os.close(folder)
    bench.media.facts = {f"fact_{number}": "y" * 300 for number in range(200)}
    bench.media.place = "z" * 5000
    bench.run_until(bench.is_safe)
    (clip,) = bench.ledger.queries.clips()
    assert clip.state is State.WIPED
    assert len(clip.path) > 70_000
    token = str(clip.manifest)
    header = f"Upload-Metadata: manifest {base64.b64encode(token.encode()).decode()}\r\n"
    assert len(header) < 8 * 1024
    facts = read_unverified_manifest(token).file
    assert facts.path.endswith("x/1.mp4")
    assert facts.path_sha256 == hashlib.sha256(clip.path).hexdigest()
    assert all(len(str(line)) < 10_000 for line in log)


def test_a_clip_that_cannot_be_taken_for_now_is_tried_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    monkeypatch.setattr(docking, "_TROUBLE_PAUSE", 0.01)
    bench = Bench(tmp_path)
    with closing(bench.ledger):
        bench.clip("1.mp4")
        shutil.rmtree(tmp_path / "spool")

        def mended() -> bool:
            if told(log, "spool.failed"):
                (tmp_path / "spool").mkdir(exist_ok=True)
            return bench.is_safe()

        bench.run_until(mended)
        assert bench.ledger.queries.counts() == {State.WIPED: 1}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ESTALE, "the folder's server"),
        (errno.ENOTCONN, "the folder's server"),
        (errno.EMFILE, "dockd retries"),
        (errno.ENOENT, "find the process that writes to it"),
    ],
)
def test_a_clip_whose_reading_breaks_off_again_and_again_is_shown_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any], number: int, said: str
) -> None:
    monkeypatch.setattr(docking, "_TROUBLE_PAUSE", 0.01)
    bench = Bench(tmp_path)
    bench.media.ours_alone = False
    opened = 0

    def fail(root: Root, path: bytes) -> Any:
        nonlocal opened
        opened += 1
        if opened <= 5:
            assert bench.shows("clip.ingest_interrupted") == (opened > 1)
            raise OSError(number, os.strerror(number))
        return open_file(root, path)

    monkeypatch.setattr("dockd.station.pipeline.intake.open_file", fail)
    with closing(bench.ledger):
        bench.clip("1.mp4")
        bench.run_until(bench.is_safe)
        (line,) = told(log, "clip.ingest_interrupted")
        assert said in line["hint"]
        (line,) = told(log, "clip.recovered")
        assert line["failures"] == 5
        assert bench.incidents.shown() == []


@pytest.mark.parametrize("end", ["its file goes", "its camera goes"])
def test_a_clip_whose_reading_broke_off_is_shown_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(docking, "_TROUBLE_PAUSE", 0.01)
    bench = Bench(tmp_path)

    def fail(*_: object) -> Any:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("dockd.station.pipeline.intake.open_file", fail)
    with closing(bench.ledger):
        path, was_shown = bench.clip("1.mp4"), False

        def gone() -> bool:
            nonlocal was_shown
            if not was_shown and bench.shows("clip.ingest_interrupted"):
                was_shown = True
                if end == "its file goes":
                    path.unlink()
                else:
                    bench.media.there = False
            return was_shown and not bench.incidents.shown()

        bench.run_until(gone)


class FailingDisk(Files):
    """A disk that gives an error at a step, five times."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._left = 5

    def at(self, *steps: str) -> None:
        if self._step in steps and self._left:
            self._left -= 1
            raise OSError(errno.EIO, "Input/output error")

    def write(self, fd: int, data: bytes | memoryview) -> None:
        self.at("write", "unlink")
        super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self.at("fsync")
        super().fsync(fd)

    def publish(self, part: Path, final: Path) -> None:
        self.at("publish")
        super().publish(part, final)


@pytest.mark.parametrize("step", ["write", "fsync", "unlink", "publish"])
def test_trouble_of_the_spools_disk_is_not_the_cameras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any], step: str
) -> None:
    monkeypatch.setattr(docking, "_TROUBLE_PAUSE", 0.01)
    disk, unlink = FailingDisk(step), Path.unlink

    def unlink_or_fail(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".part":
            disk.at("unlink")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_or_fail)
    bench = Bench(tmp_path, spool_files=disk)
    with closing(bench.ledger):
        bench.clip("1.mp4")
        bench.run_until(bench.is_safe)
        assert bench.ledger.queries.counts() == {State.WIPED: 1}
    assert told(log, "spool.failed")
    assert not told(log, "clip.unreadable")
    assert not told(log, "camera.failed")


def test_a_clip_whose_ingest_the_ledger_could_not_take_back_is_taken_back_at_the_next_look(
    bench: Bench,
) -> None:
    bench.clip("1.mp4")
    bench.run_until(bench.is_safe)
    path = bench.clip("2.mp4")
    camera, number = bench.media.camera, bench.docking.number
    status = path.stat()
    found = FoundFile(b"2.mp4", status.st_size, status.st_mtime_ns, Match("video"))
    bench.ledger.dockings.observe(camera, number, [found])
    (clip,) = bench.ledger.queries.to_ingest(camera)
    bench.ledger.ingests.begin(clip, number)
    bench.docking.look_now()
    bench.run_until(lambda: bench.ledger.queries.counts() == {State.WIPED: 2})


def test_a_camera_that_leaves_while_its_clip_is_made_durable_leaves_all_of_it_in_the_spool(
    tmp_path: Path,
) -> None:
    class Slow(Files):
        def __init__(self) -> None:
            self.entered, self.gate = threading.Event(), threading.Event()

        def publish(self, part: Path, final: Path) -> None:
            self.entered.set()
            assert self.gate.wait(PATIENCE)
            super().publish(part, final)

    async def run(bench: Bench) -> None:
        stay = asyncio.create_task(bench.docking.run())
        await asyncio.to_thread(files.entered.wait, PATIENCE)
        stay.cancel()
        await asyncio.sleep(0)
        files.gate.set()
        with contextlib.suppress(asyncio.CancelledError):
            await stay

    files = Slow()
    bench = Bench(tmp_path, spool_files=files)
    with closing(bench.ledger):
        bench.clip("1.mp4")
        asyncio.run(run(bench))
        assert bench.ledger.queries.counts() == {State.SPOOLED: 1}
        (clip,) = bench.ledger.queries.clips()
    sha256 = str(clip.ciphertext_sha256)
    names = {path.name for path in bench.spool.folder.glob("[!.]*")}
    assert names == {f"{sha256}.age", f"{sha256}.jws"}
    assert bench.spool.manifest(sha256) == clip.manifest
    assert bench.spool.used == clip.ciphertext_size


@pytest.mark.parametrize("where", ["failures", "unsettled"])
def test_a_clip_that_the_last_look_could_not_see_whole_is_not_wiped(
    bench: Bench, where: str
) -> None:
    bench.clip("DCIM/1.mp4")
    bench.holds_wipes = True
    bench.run_until(bench.has_acknowledged_all)
    if where == "failures":
        bench.media.failures = {b"DCIM": OSError(errno.EIO, "Input/output error")}
        bench.media.skipped = {b"DCIM/1.mp4"}
    else:
        bench.media.unsettled = {b"DCIM/1.mp4"}
    bench.holds_wipes = False
    looks, bench.docking.looked_at = bench.docking.looked_at, None
    bench.docking.look_now()
    bench.run_until(lambda: bench.docking.looked_at is not None and not bench.is_safe())
    assert looks is not None
    assert bench.ledger.queries.counts() == {State.ACKNOWLEDGED: 1}
    assert (bench.media.folder / "DCIM" / "1.mp4").exists()


def test_a_clip_from_the_far_future_is_taken_like_any_other(bench: Bench) -> None:
    path = bench.clip("1.mp4")
    try:
        os.utime(path, ns=(2**63, 2**63))
    except OSError:
        pytest.skip("this file system keeps no such time")
    bench.run_until(bench.is_safe)


@pytest.mark.parametrize("policy", ["delete", "overwrite"])
@pytest.mark.parametrize("ours_alone", [False, True])
def test_files_that_look_like_a_wipes_leftovers_and_are_not_stay_as_they_are(
    tmp_path: Path, policy: wipe.Policy, *, ours_alone: bool
) -> None:
    bench = Bench(tmp_path, policy)
    bench.media.ours_alone = ours_alone
    clip_id = derive_clip_id("bodycam:CAM-1", hashlib.sha256(b"clip").hexdigest())
    strangers = [bench.clip(f".dockd-{kind}-{clip_id}", b"mine") for kind in ("held", "wiped")]
    path = bench.clip("1.mp4")
    with closing(bench.ledger):
        bench.run_until(bench.is_safe)
        assert bench.ledger.queries.counts() == {State.WIPED: 1}
    assert not path.exists()
    assert [stranger.read_bytes() for stranger in strangers] == [b"mine", b"mine"]


def test_a_clip_that_somebody_writes_to_when_it_is_to_go_is_told_and_taken_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    bench = Bench(tmp_path)
    bench.media.ours_alone = False
    path = bench.clip("1.mp4")
    with closing(bench.ledger):
        with path.open("ab") as file:
            bench.run_until(lambda: bool(told(log, "wipe.failed")))
            assert path.read_bytes() == b"clip"
            file.write(b", and more")
        bench.docking.look_now()
        bench.run_until(bench.is_safe)
        digests = {clip.plaintext_sha256 for clip in bench.ledger.queries.clips()}
    assert hashlib.sha256(b"clip, and more").hexdigest() in digests
    assert not path.exists()
    assert "open for writing" in told(log, "wipe.failed")[0]["detail"]


def test_a_clip_that_a_crash_left_held_in_a_shared_folder_is_wiped_in_the_end(
    tmp_path: Path, log: list[Any]
) -> None:
    bench = Bench(tmp_path, "keep")
    with closing(bench.ledger):
        path = bench.clip("1.mp4")
        bench.run_until(bench.is_safe)
        (clip,) = bench.ledger.queries.clips()
        (begun,) = bench.ledger.wipes.begin([clip], "delete")
    path.rename(path.with_name(f".dockd-held-{str(clip.clip_id)[:16]}-{begun.wipe_number:016x}"))
    bench = Bench(tmp_path, receiver=bench.receiver)
    bench.media.ours_alone = False
    with closing(bench.ledger):
        bench.run_until(bench.is_safe)
        assert bench.ledger.queries.counts() == {State.WIPED: 1}
    assert list(bench.media.folder.iterdir()) == []
    assert not told(log, "clip.vanished")


def acknowledged_earlier(bench: Bench, name: str = "1.mp4", data: bytes = b"clip") -> Path:
    """A clip whose receipt an earlier run of the daemon has kept."""
    clip = bench.clip(name, data)
    bench.confirms_at_once = False
    bench.holds_wipes = True
    bench.run_until(bench.has_acknowledged_all)
    bench.holds_wipes = False
    bench.target.asked = 0
    return clip


def test_a_clip_with_an_earlier_runs_receipt_goes_once_the_receiver_confirms_it(
    bench: Bench,
) -> None:
    clip = acknowledged_earlier(bench)
    bench.run_until(bench.is_safe)
    assert bench.target.asked == 1
    assert not clip.exists()
    journal = [entry.event for entry in bench.ledger.journal.entries()]
    assert journal.index("clip.confirmed") < journal.index("wipe.begun")


@pytest.mark.parametrize("kind", ["replayed", "unanswered", "by a stranger", "of another clip"])
def test_nothing_goes_on_an_answer_that_is_not_to_this_stations_own_question(
    bench: Bench, log: list[Any], kind: str
) -> None:
    clip = acknowledged_earlier(bench)
    stranger = SigningKey.generate()

    def answer(sealed: Sealed, nonce: str) -> ReceiptAnswer:
        receipt = bench.receipt(sealed.manifest)
        match kind:
            case "replayed":
                return Received(receipt, make_answer(bench.receiver, receipt, "o" * 32))
            case "unanswered":
                return Received(receipt, "")
            case "by a stranger":
                return Received(receipt, make_answer(stranger, receipt, nonce))
            case _:
                changes = {"receipt_sha256": "0" * 64}
                return Received(receipt, make_answer(bench.receiver, receipt, nonce, **changes))

    bench.target.answer = answer
    bench.run_until(lambda: bench.shows("wipe.refused") and bench.is_stuck())
    assert clip.exists()
    assert "rw" not in bench.media.mounts


def test_while_the_server_can_not_confirm_a_clip_stays_and_the_camera_is_to_be_left(
    bench: Bench, log: list[Any]
) -> None:
    clip = acknowledged_earlier(bench)

    def down(_sealed: Sealed, _nonce: str) -> ReceiptAnswer:
        raise TargetDownError("nothing listens there")

    bench.target.answer = down
    bench.run_until(lambda: bench.shows("wipe.unconfirmed"))
    assert clip.exists()
    assert bench.docking.standing is Standing.WORKING
    bench.target.answer = bench.target.confirm
    bench.docking.look_now()
    bench.run_until(bench.is_safe)
    assert not clip.exists()
    assert not bench.shows("wipe.unconfirmed")


@pytest.mark.parametrize("needs_operator", [True, False])
def test_what_an_operator_must_mend_before_clips_are_confirmed_is_told_as_such(
    bench: Bench, log: list[Any], *, needs_operator: bool
) -> None:
    """As a token that was revoked while nothing is uploaded: nobody else would tell."""
    acknowledged_earlier(bench)

    def refused(_sealed: Sealed, _nonce: str) -> ReceiptAnswer:
        raise TargetDownError("401", needs_operator=needs_operator)

    bench.target.answer = refused
    seen: list[Incident] = []

    def shown() -> bool:
        seen[:] = [one for one in bench.incidents.shown() if one.event == "wipe.unconfirmed"]
        return bool(seen)

    bench.run_until(shown)
    lasting = replace(seen[0], since=seen[0].since - timedelta(minutes=2))
    assert of_incident(lasting).needs_person is needs_operator


def test_a_clip_that_the_server_has_lost_is_read_again(bench: Bench, log: list[Any]) -> None:
    clip = acknowledged_earlier(bench)
    (known,) = bench.ledger.queries.clips()
    bench.target.answer = lambda _sealed, _nonce: NotStored()
    bench.confirms_at_once = True
    bench.run_until(bench.is_safe)
    assert not clip.exists()
    (again,) = bench.ledger.queries.clips()
    assert again.state is State.WIPED
    assert again.ciphertext_sha256 != known.ciphertext_sha256
    (line,) = told(log, "clip.disowned")
    assert line["clip"] == known.id


def test_a_confirmation_does_for_minutes_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver may have lost the clip since."""
    clip = bench.clip("1.mp4")
    bench.holds_wipes = True
    bench.run_until(bench.has_acknowledged_all)
    bench.holds_wipes = False
    monkeypatch.setattr("dockd.station.pipeline.confirming.GOOD_FOR_SECONDS", 0.0)
    bench.target.answer = lambda _sealed, _nonce: Verifying(1.0)
    bench.run_until(lambda: bench.target.asked > 0)
    assert clip.exists()
    monkeypatch.undo()
    bench.target.answer = bench.target.confirm
    bench.docking.look_now()
    bench.run_until(bench.is_safe)
    assert not clip.exists()


def test_a_clip_whose_wipe_had_begun_is_not_disowned(bench: Bench) -> None:
    clip = acknowledged_earlier(bench)
    (known,) = bench.ledger.queries.clips()
    bench.ledger.wipes.begin([known], "delete")
    clip.unlink()
    bench.target.answer = lambda _sealed, _nonce: NotStored()
    bench.docking.look_now()
    bench.run_until(lambda: bench.ledger.queries.clips()[0].state is State.WIPED)


# What holds while a wipe goes on


class HoldsAfterOne(Files):
    """Somebody orders wipes to be held once a clip is gone."""

    bench: "Bench"

    def unlink_at(self, folder_fd: int, name: bytes) -> None:
        super().unlink_at(folder_fd, name)
        self.bench.holds_wipes = True


def test_an_order_to_hold_wipes_stops_the_one_that_is_under_way(tmp_path: Path) -> None:
    files = HoldsAfterOne()
    files.bench = bench = Bench(tmp_path, files=files)
    with closing(bench.ledger):
        for number in range(3):
            bench.clip(f"{number}.mp4", str(number).encode())
        done = {State.WIPED: 1, State.ACKNOWLEDGED: 2}
        undone = ["wipe.undone"] * 2
        bench.run_until(
            lambda: (
                bench.ledger.queries.counts() == done
                and [entry.event for entry in bench.ledger.journal.entries()][-2:] == undone
            )
        )
        assert len(list(bench.media.folder.iterdir())) == 2
        assert not any(clip.wipe_number for clip in bench.ledger.queries.clips()[1:])


def let_checks_take(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seconds: float, then: Callable[[], object]
) -> None:
    """Let the check before a wipe take its time, and something happen meanwhile."""
    monotonic, check, passed = bench.clock.monotonic, wipe.check, 0.0

    def slow(root: Root, clip: Clip, docking: int) -> FileStat:
        nonlocal passed
        stat = check(root, clip, docking)
        if not passed:
            then()
        passed = seconds
        return stat

    monkeypatch.setattr(wipe, "check", slow)
    monkeypatch.setattr(bench.clock, "monotonic", lambda: monotonic() + passed)


def test_what_the_receiver_has_confirmed_before_long_checks_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = bench.clip("1.mp4")
    let_checks_take(bench, monkeypatch, 601.0, lambda: None)
    bench.run_until(bench.is_safe)
    assert bench.target.asked == 1
    assert not clip.exists()


def test_a_clip_that_the_receiver_loses_during_long_checks_is_read_again_and_not_wiped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    clip = bench.clip("1.mp4")

    def lose() -> None:
        bench.acknowledges = False
        bench.target.answer = lambda _sealed, _nonce: NotStored()

    let_checks_take(bench, monkeypatch, 601.0, lose)
    bench.run_until(lambda: len(told(log, "clip.spooled")) == 2)
    assert clip.exists()
    assert "rw" not in bench.media.mounts
    assert not told(log, "camera.safe")


def test_what_is_asked_for_again_after_long_checks_hides_no_other_clip_that_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    bench.clip("1.mp4", b"slow")
    acknowledged_earlier(bench, "2.mp4")
    slow = bench.ledger.queries.clips()[0].clip_id

    def answer(sealed: Sealed, nonce: str) -> ReceiptAnswer:
        if sealed.clip_id == slow:
            return Verifying(1.0)
        return bench.target.confirm(sealed, nonce)

    standings: list[Standing] = []

    stand = bench.docking._stand

    async def stand_and_note() -> None:
        await stand()
        if State.WIPED in bench.ledger.queries.counts():
            standings.append(bench.docking.standing)

    bench.target.answer = answer
    monkeypatch.setattr(bench.docking, "_stand", stand_and_note)
    bench.docking._wake.clear()  # from the run before
    let_checks_take(bench, monkeypatch, 601.0, lambda: None)
    bench.run_until(lambda: bool(standings))
    assert standings[0] is Standing.WORKING
    assert not told(log, "camera.stuck")


# What can't be wiped, and what takes long


def test_clips_that_cannot_be_removed_are_tried_ever_more_rarely_or_by_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    looks: list[int] = []
    bench = Bench(tmp_path)
    look = bench.media.look

    def looked(root: Root) -> Look:
        looks.append(1)
        return look(root)

    monkeypatch.setattr(bench.media, "look", looked)
    bench.media.ours_alone = False
    bench.media.look_every = 0.02
    with closing(bench.ledger):
        for number in range(3):
            bench.clip(f"{number}.mp4", str(number).encode())
        with monkeypatch.context() as patched:
            patched.setattr("dockd.host.files.rename_new", refuse)
            patched.setattr("dockd.station.pipeline.confirming.GOOD_FOR_SECONDS", 0.5)
            bench.run_until(
                lambda: len(looks) > 30 and bench.is_stuck() and bench.shows("wipe.failed")
            )
            events = [entry.event for entry in bench.ledger.journal.entries()]
            assert events.count("wipe.begun") == events.count("wipe.undone") == 3
            assert bench.target.asked <= 3
        bench.docking.try_again()
        bench.run_until(bench.is_safe)
        assert bench.ledger.queries.counts() == {State.WIPED: 3}


def test_new_footage_does_not_wait_until_all_kept_clips_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Bench(tmp_path, "keep")
    with closing(first.ledger):
        for number in range(3):
            first.clip(f"{number}.mp4", str(number).encode())
        first.run_until(first.is_safe)
    bench = Bench(tmp_path, "keep", receiver=first.receiver)
    check = wipe.check
    known: list[int] = []

    def bring(root: Root, clip: Clip, docking: int) -> FileStat:
        known.append(sum(one.plaintext_sha256 is not None for one in bench.ledger.queries.clips()))
        if len(known) == 1:
            bench.clip("new.mp4", b"new")
            bench.docking.look_now()
        return check(root, clip, docking)

    monkeypatch.setattr(wipe, "check", bring)
    with closing(bench.ledger):
        bench.run_until(bench.is_safe)
    assert known == [3, 4, 4]


def test_who_waits_long_for_some_receipts_gets_the_others_in_turns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        bench.clip(f"{number}.mp4", str(number).encode())
    acknowledged_earlier(bench, "3.mp4")
    monotonic, passed = bench.clock.monotonic, 0.0
    asked: list[str] = []
    slow = {str(clip.clip_id) for clip in bench.ledger.queries.clips()[:3]}

    def answer(sealed: Sealed, nonce: str) -> ReceiptAnswer:
        nonlocal passed
        asked.append(sealed.clip_id)
        if sealed.clip_id in slow:
            passed += 10.0
            return Verifying(1.0)
        return bench.target.confirm(sealed, nonce)

    monkeypatch.setattr(bench.clock, "monotonic", lambda: monotonic() + passed)
    bench.target.answer = answer

    def one_is_gone() -> bool:
        if asked:
            bench.docking.look_for_wipe()
        return State.WIPED in bench.ledger.queries.counts()

    bench.run_until(one_is_gone)
    assert asked.index(next(iter(set(asked) - slow))) == 3
    assert bench.docking.standing is Standing.WORKING


def test_clips_whose_confirmations_are_refused_are_not_told_as_confirmed(
    bench: Bench, log: list[Any]
) -> None:
    acknowledged_earlier(bench)

    def down(_sealed: Sealed, _nonce: str) -> ReceiptAnswer:
        raise TargetDownError("nothing listens there")

    bench.target.answer = down
    bench.run_until(lambda: bench.shows("wipe.unconfirmed"))
    bench.target.answer = lambda sealed, _: Received(bench.receipt(sealed.manifest), "")
    bench.docking.look_now()
    bench.run_until(lambda: bench.shows("wipe.refused") and bench.is_stuck())
    assert not bench.shows("wipe.unconfirmed")
    assert not told(log, "wipe.confirmed")
