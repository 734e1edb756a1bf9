import asyncio
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import structlog

from dockd.base.errors import (
    ClipTooLargeError,
    SpoolDamagedError,
    SpoolDiskFullError,
    SpoolError,
    SpoolFullError,
)
from dockd.base.incidents import Incidents
from dockd.host.files import Files
from dockd.station.control.troubles import of_incident
from dockd.station.spool import Spool, check_ciphertext
from tests.clocks import FakeClock
from tests.support import fill, open_descriptors, small_disk, writing

MIB = 1 << 20
CLIP = "c" * 64
"""A clip id."""


class Disk(Files):
    """A disk with as much room as the test says."""

    def __init__(self, free: int = 1 << 40) -> None:
        self.free = free

    def free_bytes(self, folder: Path) -> int:
        return self.free


class StillClock(FakeClock):
    """A clock on which only what a test does makes time pass."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.Event().wait()


OPENED: WeakSet[Spool] = WeakSet()
"""The spools of the test that runs."""


@pytest.fixture(autouse=True)
def nothing_opened() -> None:
    OPENED.clear()


def open_spool(
    folder: Path,
    *,
    budget: int = 100 * MIB,
    reserve: int = 0,
    files: Files | None = None,
    clock: FakeClock | None = None,
    expected: dict[str, int] | None = None,
) -> Spool:
    spool = Spool(
        folder,
        budget=budget,
        reserve=reserve,
        files=files or Disk(),
        clock=clock or StillClock(),
    )
    OPENED.add(spool)
    assert spool.recover(expected or {}) == set()
    return spool


def store(spool: Spool, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    with writing(spool) as part:
        spool.write(part, memoryview(data))
        spool.finish(part)
        spool.publish(part, sha256)
    return sha256


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".dockd-spool"}


def test_an_empty_mount_point_is_not_taken_for_the_spool(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "disk")
    sha256 = store(spool, b"ciphertext")
    expected = {sha256: len(b"ciphertext")}
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    with pytest.raises(SpoolError, match="holds none of the 1 expected ciphertexts") as caught:
        open_spool(tmp_path / "disk", expected=expected)
    assert "mount" in caught.value.hint
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "elsewhere").rename(tmp_path / "disk")
    assert open_spool(tmp_path / "disk", expected=expected).holds(sha256)


def test_a_spool_that_lost_a_ciphertext_is_still_the_spool(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    sha256 = store(spool, b"ciphertext")
    spool.path(sha256).unlink()
    assert spool.recover({sha256: 10}) == {sha256}


def test_a_published_ciphertext_lies_under_its_digest(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    sha256 = store(spool, b"ciphertext")
    assert names(spool.folder) == {f"{sha256}.age"}
    assert spool.path(sha256).read_bytes() == b"ciphertext"
    assert spool.path(sha256).stat().st_mode & 0o777 == 0o600
    check_ciphertext(spool.path(sha256), sha256)


def test_a_part_that_is_not_published_is_gone(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    before = open_descriptors()
    with writing(spool) as part:
        spool.write(part, memoryview(b"half"))
        assert names(tmp_path) == {part.path.name}
    assert names(tmp_path) == set()
    assert open_descriptors() == before


class Steps(Disk):
    """Notes the order of what makes a file durable."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    def fsync(self, fd: int) -> None:
        self.steps.append("fsync")
        super().fsync(fd)

    def publish(self, part: Path, final: Path) -> None:
        self.steps.append("rename")
        super().publish(part, final)

    def fsync_folder(self, folder: Path) -> None:
        self.steps.append("fsync folder")
        super().fsync_folder(folder)


def test_a_part_is_durable_before_it_has_its_name(tmp_path: Path) -> None:
    files = Steps()
    store(open_spool(tmp_path, files=files), b"x")
    assert files.steps == ["fsync", "rename", "fsync folder"]


def test_a_manifest_is_durable_beside_its_ciphertext(tmp_path: Path) -> None:
    files = Steps()
    spool = open_spool(tmp_path, files=files)
    sha256 = hashlib.sha256(b"x").hexdigest()
    assert spool.manifest(sha256) is None
    spool.keep_manifest(sha256, "a.b.c")
    assert files.steps == ["fsync", "rename", "fsync folder"]
    assert spool.manifest(sha256) == "a.b.c"
    store(spool, b"x")
    spool.take_back(sha256)
    assert names(tmp_path) == set()


# After a restart


def test_a_restart_throws_away_what_was_never_finished_or_has_its_receipt_and_nothing_else(
    tmp_path: Path,
) -> None:
    spool = open_spool(tmp_path)
    data = (b"kept", b"delivered", b"cut short", b"unknown")
    kept, delivered, cut, unknown = (store(spool, one) for one in data)
    for sha256 in (delivered, cut, unknown, "9" * 64):
        spool.keep_manifest(sha256, "a.b.c")
    os.truncate(spool.path(cut), 3)
    (tmp_path / f"{'0' * 32}.part").write_bytes(b"half")
    (tmp_path / f"{kept}.jws.01234567.part").write_bytes(b"half")
    missing = "f" * 64
    again = Spool(tmp_path, budget=MIB, reserve=0, files=Disk(), clock=StillClock())
    expected = {kept: 4, cut: 9, missing: 5}
    assert again.recover(expected, lambda sha256: sha256 == delivered) == {cut, missing}
    stay = {f"{unknown}.age", f"{unknown}.jws", f"{kept}.age"}
    assert names(tmp_path) == stay | {f"{cut}.age", f"{cut}.jws"}
    assert again.unknown == {unknown: 7}
    assert again.used == 4
    again.set_aside(cut, CLIP)
    again.set_aside(missing, CLIP)
    assert names(tmp_path) == stay | {f"{CLIP}-{cut}.damaged", f"{CLIP}-{cut}.damaged.jws"}
    again.remove_set_aside(CLIP)
    assert names(tmp_path) == stay
    again.know(unknown)
    assert again.used == 11
    assert again.holds(unknown)


def test_a_restart_leaves_what_is_not_dockds_alone(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "x").write_bytes(b"")
    for name in ("holiday.age", "notes.txt", "download.part", f"{'A' * 64}.age"):
        (tmp_path / name).write_bytes(b"somebody's")
    before = names(tmp_path)
    open_spool(tmp_path)
    assert names(tmp_path) == before


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "spool"
    open_spool(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_used_is_a_spool_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    spool = Spool(tmp_path / "spool", budget=1, reserve=0, files=Files(), clock=FakeClock())
    with pytest.raises(SpoolError, match="Not a directory") as caught:
        spool.recover({})
    assert caught.value.hint


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"other"),
        lambda path: os.truncate(path, 1),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_damaged_ciphertext_is_found_out(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    spool = open_spool(tmp_path)
    sha256 = store(spool, b"ciphertext")
    damage(spool.path(sha256))
    with pytest.raises(SpoolDamagedError, match=sha256):
        check_ciphertext(spool.path(sha256), sha256)


def test_a_ciphertext_that_only_cannot_be_read_now_is_not_damaged(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    sha256 = store(spool, b"ciphertext")
    spool.path(sha256).unlink()
    spool.path(sha256).mkdir()
    with pytest.raises(SpoolError, match="Is a directory") as caught:
        check_ciphertext(spool.path(sha256), sha256)
    assert not isinstance(caught.value, SpoolDamagedError)
    assert caught.value.hint


def test_what_is_left_of_a_damaged_ciphertext_outlives_restarts_and_goes_with_its_clip(
    tmp_path: Path,
) -> None:
    spool = open_spool(tmp_path, budget=10)
    sha256, kept = store(spool, b"damaged"), store(spool, b"kept")
    spool.set_aside(sha256, CLIP)
    assert spool.used == 4
    again = open_spool(tmp_path, expected={kept: 4})
    assert (tmp_path / f"{CLIP}-{sha256}.damaged").read_bytes() == b"damaged"
    again.remove_set_aside("d" * 64)
    assert len(names(tmp_path)) == 2
    again.remove_set_aside(CLIP)
    assert names(tmp_path) == {f"{kept}.age"}


def test_a_folder_that_is_another_one_has_nothing_to_set_aside(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    sha256 = store(spool, b"ciphertext")
    spool.folder.rename(tmp_path / "away")
    with pytest.raises(SpoolError, match="No such file"):
        spool.set_aside(sha256, CLIP)
    spool.folder.mkdir()
    with pytest.raises(SpoolError, match="not the same folder") as caught:
        spool.set_aside(sha256, CLIP)
    assert "mount" in caught.value.hint
    assert spool.holds(sha256)


# Room


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        # One thread, so that what is asked of it last is done last.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with asyncio.timeout(10):
            await main()

    asyncio.run(bounded())


async def settle() -> None:
    """Let everybody get as far as they can, whoever waits for the spool's own thread as well."""
    for _ in range(20):
        await asyncio.to_thread(lambda: None)
        for spool in list(OPENED):
            async with spool._question:  # it is handed on in order
                pass


class Tenant:
    """Asks for room, and keeps it until told to go."""

    def __init__(self, spool: Spool, size: int) -> None:
        self.room = False
        self._leave = asyncio.Event()
        self._task = asyncio.create_task(self._stay(spool, size))

    async def _stay(self, spool: Spool, size: int) -> None:
        async with spool.room(size):
            self.room = True
            await self._leave.wait()

    async def leave(self) -> None:
        assert self.room
        self._leave.set()
        await self._task

    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


def test_the_budget_is_never_exceeded_and_room_comes_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        spool = open_spool(tmp_path, budget=10)
        first, second, third = Tenant(spool, 6), Tenant(spool, 6), Tenant(spool, 1)
        await settle()
        # The third would fit, but must not overtake, or the second might wait for ever.
        assert first.room
        assert not second.room
        assert not third.room
        assert spool.used == 6
        await first.leave()
        await settle()
        assert second.room
        assert third.room
        assert spool.used == 7
        await second.leave()
        await third.leave()
        assert spool.used == 0

    run(main)


def test_what_a_ciphertext_fills_stays_taken_until_it_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        spool = open_spool(tmp_path, budget=10)
        tenant = Tenant(spool, 9)
        await settle()
        sha256 = store(spool, b"12345678")
        await tenant.leave()
        assert spool.used == 8
        waiting = Tenant(spool, 5)
        await settle()
        assert not waiting.room
        await spool.remove(sha256)
        await settle()
        assert waiting.room
        assert spool.used == 5
        await spool.remove(sha256)
        assert spool.used == 5
        await waiting.leave()

    run(main)


def test_a_delivered_ciphertext_that_cannot_be_removed_is_told_and_goes_when_room_is_wanted(
    tmp_path: Path,
) -> None:
    class Failing(Disk):
        fails = True

        def remove(self, path: Path) -> None:
            if self.fails:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            super().remove(path)

    async def run() -> None:
        files, clock = Failing(), StillClock()
        incidents = Incidents(clock)
        delivered: set[str] = set()
        spool = Spool(
            tmp_path, budget=MIB, reserve=0, files=files, clock=StillClock(), incidents=incidents
        )
        spool.recover({}, delivered.__contains__)
        sha256, needed = store(spool, bytes(MIB // 2)), store(spool, bytes(MIB // 2 - 9))
        delivered.add(sha256)
        with structlog.testing.capture_logs() as log:
            await spool.remove(sha256)
            await spool.remove(needed)  # and then the ledger says that it is to be sent again
            assert [one.event for one in incidents.shown()] == ["spool.failed"]
            assert spool.used > MIB - 10
            assert spool.holds(sha256)  # for an order to send it again, until it goes
            files.fails = False
            async with spool.room(MIB // 4):
                assert names(tmp_path) == {f"{needed}.age"}
                assert not spool.holds(sha256)
                assert spool.holds(needed)
        assert [line["event"] for line in log] == ["spool.failed", "spool.recovered"]
        assert incidents.shown() == []

    asyncio.run(run())


def test_a_restart_counts_what_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        sha256 = store(open_spool(tmp_path), b"12345678")
        spool = open_spool(tmp_path, budget=10, expected={sha256: 8})
        waiting = Tenant(spool, 3)
        await settle()
        assert not waiting.room
        await spool.remove(sha256)
        await settle()
        assert waiting.room
        await waiting.leave()

    run(main)


def test_the_reserve_of_the_disk_stays_free(tmp_path: Path) -> None:
    async def main() -> None:
        disk = Disk(free=20)
        spool = open_spool(tmp_path, reserve=10, files=disk)
        first, second = Tenant(spool, 6), Tenant(spool, 6)
        await settle()
        assert first.room
        assert not second.room
        await first.leave()
        await settle()
        assert second.room
        await second.leave()

    run(main)


def test_room_that_others_make_on_the_disk_is_noticed(tmp_path: Path) -> None:
    async def main() -> None:
        disk = Disk(free=0)
        clock = FakeClock()
        spool = open_spool(tmp_path, files=disk, clock=clock)
        tenant = Tenant(spool, 6)
        await settle()
        assert not tenant.room
        disk.free = 6
        await settle()
        assert tenant.room
        assert set(clock.slept) == {5.0}
        await tenant.leave()

    run(main)


def watched(folder: Path, clock: FakeClock | None = None, **facts: Any) -> tuple[Spool, Incidents]:
    """A spool, and its incidents."""
    clock = clock or StillClock()
    incidents = Incidents(clock)
    settings: dict[str, Any] = {"budget": 100 * MIB, "reserve": 0, "files": Disk()} | facts
    spool = Spool(folder, clock=clock, incidents=incidents, **settings)
    OPENED.add(spool)
    spool.recover({})
    return spool, incidents


def shown(incidents: Incidents) -> list[str]:
    return [one.error.event for one in incidents.shown()]


def test_a_spool_that_uploads_empty_is_full_and_one_that_other_files_fill_needs_a_person(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        disk = Disk(free=20)
        spool, incidents = watched(tmp_path, reserve=10, files=disk)
        sha256 = store(spool, b"12345678")
        disk.free = 12
        waiting = Tenant(spool, 8)
        await settle()
        assert shown(incidents) == ["spool.full"]
        assert not of_incident(incidents.shown()[0]).needs_person
        await waiting.cancel()
        assert shown(incidents) == []
        # Somebody fills the disk; that the spool gets empty is not enough now.
        disk.free = 0
        waiting = Tenant(spool, 8)
        await settle()
        disk.free = 8
        await spool.remove(sha256)
        await settle()
        assert not waiting.room
        assert shown(incidents) == ["spool.disk_full"]
        assert of_incident(incidents.shown()[0]).needs_person
        assert "free disk space" in incidents.shown()[0].error.hint
        await waiting.cancel()

    run(main)


def test_a_full_spool_is_shown_for_as_long_as_a_clip_waits_and_told_when_there_is_room(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        spool, incidents = watched(tmp_path, budget=10)
        first, second = store(spool, b"12345"), store(spool, b"6789")
        waiting = Tenant(spool, 5)
        await settle()
        assert shown(incidents) == ["spool.full"]
        assert spool.waiting
        await spool.remove(first)
        await settle()
        assert waiting.room
        assert shown(incidents) == []
        assert not spool.waiting
        await waiting.leave()
        assert [line["event"] for line in log] == ["spool.full"]
        await spool.remove(second)
        assert [line["event"] for line in log] == ["spool.full", "spool.room"]

    with structlog.testing.capture_logs() as log:
        run(main)


def test_a_full_disk_is_full_of_other_files_where_the_spool_is_empty(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="256k") as disk:
        spool = open_spool(disk / "spool", files=Files())
        fill(disk)
        with pytest.raises(SpoolDiskFullError), writing(spool) as part:
            spool.write(part, memoryview(bytes(100_000)))


def test_who_gives_up_waiting_leaves_the_line(tmp_path: Path) -> None:
    async def main() -> None:
        spool = open_spool(tmp_path, budget=10)
        first, second, third = Tenant(spool, 9), Tenant(spool, 9), Tenant(spool, 1)
        await settle()
        await second.cancel()
        await settle()
        assert third.room
        await first.cancel()
        await third.cancel()
        assert spool.used == 0

    run(main)


def test_what_the_whole_disk_could_not_hold_is_too_large(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, budget=2**62)
    with pytest.raises(ClipTooLargeError) as caught:
        asyncio.run(spool.check_possible(2**61))
    assert "larger disk" in caught.value.hint


def test_what_never_fits_the_budget_is_too_large(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, budget=64 * MIB)
    asyncio.run(spool.check_possible(64 * MIB))
    with pytest.raises(ClipTooLargeError, match=r"65.0 MiB of ciphertext .* 64.0 MiB") as caught:
        asyncio.run(spool.check_possible(65 * MIB))
    assert "raise spool.budget" in caught.value.hint


def test_a_disk_that_does_not_answer_takes_no_thread_of_others_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    class Hangs(Disk):
        def free_bytes(self, folder: Path) -> int:
            assert answers.wait(60)
            return super().free_bytes(folder)

    async def take(spool: Spool) -> None:
        await spool.check_possible(1)
        async with spool.room(1):
            pass

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        monkeypatch.setattr("dockd.station.spool._PATIENCE", 0.2)
        spool = open_spool(tmp_path, files=Hangs())
        waiting = [asyncio.create_task(take(spool)) for _ in range(9)]
        assert await asyncio.to_thread(lambda: "others go on") == "others go on"
        with pytest.raises(SpoolError, match="does not respond"):
            await waiting[0]
        answers.set()
        await asyncio.wait(waiting)
        while spool._threads.hanging:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
        await take(spool)

    asyncio.run(run())


def test_a_spool_that_went_away_has_no_room(tmp_path: Path) -> None:
    async def main() -> None:
        spool = open_spool(tmp_path / "spool", files=Files())
        shutil.rmtree(tmp_path / "spool")
        with pytest.raises(SpoolError, match="No such file"):
            async with spool.room(1):
                pass
        assert spool.used == 0

    run(main)


def test_a_full_disk_is_said_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="256k") as disk:
        spool = open_spool(disk / "spool", files=Files())
        kept = store(spool, os.urandom(1000))
        filler = fill(disk)
        before = open_descriptors()
        with pytest.raises(SpoolFullError, match="is full") as caught, writing(spool) as part:
            spool.write(part, memoryview(bytes(100_000)))
        assert caught.value.exit_code == 75
        assert names(disk / "spool") == {f"{kept}.age"}
        assert open_descriptors() == before
        filler.unlink()
        check_ciphertext(spool.path(kept), kept)
        store(spool, bytes(100_000))


def test_another_failure_of_the_disk_is_said_as_well(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "spool")
    shutil.rmtree(tmp_path / "spool")
    with pytest.raises(SpoolError, match="No such file") as caught, writing(spool):
        pass
    assert not isinstance(caught.value, SpoolFullError)
