"""What is told of a folder that is mounted over, moved or replaced."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dockd.station.cameras import places
from dockd.station.cameras.places import Places
from tests.support import open_descriptors, small_disk


def told(folder: Path, change: Callable[[], object], *, seconds: float = 10) -> bool:
    """Watch a folder while something is done; returns whether anything was told."""

    async def scenario() -> bool:
        watch = Places()
        begun = watch.changed
        task = asyncio.create_task(watch.run())
        await begun.wait()
        ends = [watch.watch(folder), watch.watch(folder)]
        ends.pop()()
        changed = watch.changed
        await asyncio.to_thread(change)
        try:
            await asyncio.wait_for(changed.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            ends.pop()()
            task.cancel()
        return True

    before = open_descriptors()
    try:
        return asyncio.run(scenario())
    finally:
        assert open_descriptors() == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "a folder" / "camera"
    made.mkdir(parents=True)
    return made


def test_a_folder_that_is_moved_removed_or_gets_a_new_namesake_is_told(folder: Path) -> None:
    assert told(folder, lambda: folder.rename(folder.with_name("moved")))
    folder.symlink_to(folder.with_name("moved"))
    assert told(folder, folder.unlink)
    folder.mkdir()
    assert told(folder, lambda: shutil.rmtree(folder))


@pytest.mark.parametrize("has_inotify", [True, False])
def test_a_mount_is_told_with_and_without_inotify(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, has_inotify: bool
) -> None:
    if not has_inotify:

        class Libc:
            def inotify_init1(self, _flags: int) -> int:
                return -1

        monkeypatch.setattr(places, "_libc", Libc())
    with small_disk(folder / "disk", size="1m") as disk:
        command = ["mount", "--bind", str(disk), str(folder.parent)]
        assert told(folder, lambda: subprocess.run(command, check=True))
        subprocess.run(["umount", str(folder.parent)], check=True)
