import ctypes
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dockd.base.errors import WipeBusyError, WipeFailedError, WipeRefusedError
from dockd.host import files
from dockd.host.files import Files
from dockd.station.cameras.tree import Root
from dockd.station.lifecycle import State
from dockd.station.model import Camera, Clip, FileStat, Match
from dockd.station.pipeline import wipe
from tests.support import open_descriptors

DATA = b"what the officer recorded" * 100_000
OTHER = DATA[:-1] + b"X"
PATH = b"DCIM/a/0001.mp4"
DOCKING = 3
WIPE = 0x1234
SECRET = b"not the camera's"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A camera with one clip and a bystander, beside a folder that is none of its business."""
    camera = tmp_path / "camera"
    (camera / "DCIM" / "a").mkdir(parents=True)
    (camera / "DCIM" / "a" / "0001.mp4").write_bytes(DATA)
    (camera / "DCIM" / "a" / "0002.mp4").write_bytes(b"not acknowledged")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "0001.mp4").write_bytes(SECRET)
    return camera


def file_of(root: Path) -> Path:
    return root / os.fsdecode(PATH)


def read_clip(root: Path, *, docking: int = DOCKING) -> Clip:
    """The clip as the ledger knows it, after it was read and acknowledged."""
    status = file_of(root).stat()
    return Clip(
        id=1,
        camera=Camera("generic", "CAM-0001"),
        docking=docking,
        path=PATH,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        match=Match("video"),
        state=State.ACKNOWLEDGED,
        present=True,
        stat=FileStat.of(status),
        clip_id="c" * 64,
        plaintext_sha256=hashlib.sha256(DATA).hexdigest(),
        ciphertext_sha256="e" * 64,
        ciphertext_size=len(DATA) + 300,
        manifest="manifest",
        receipt="receipt",
        answer="answer",
        upload_url=None,
        wipe_number=WIPE,
        error=None,
        problem=None,
    )


def remove(
    root: Path,
    clip: Clip,
    by: Files | None = None,
    *,
    overwrite: bool = False,
    shared: bool = False,
) -> None:
    checked = wipe.check(Root(root), clip, DOCKING)
    wipe.remove(Root(root), clip, checked, by or Files(), overwrite=overwrite, shared=shared)


def rest(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


BYSTANDERS = {"DCIM", "DCIM/a", "DCIM/a/0002.mp4"}


@pytest.fixture(autouse=True)
def nothing_else_is_touched(root: Path) -> object:
    before = open_descriptors()
    yield
    assert open_descriptors() == before
    assert (root.parent / "outside" / "0001.mp4").read_bytes() == SECRET
    assert (root / "DCIM" / "a" / "0002.mp4").read_bytes() == b"not acknowledged"


# The check


def test_the_file_that_was_read_in_this_docking_passes_by_its_times(root: Path) -> None:
    clip = replace(read_clip(root), plaintext_sha256="0" * 64)
    assert wipe.check(Root(root), clip, DOCKING) == clip.stat


def test_a_file_read_at_another_docking_is_read_again(root: Path) -> None:
    clip = read_clip(root, docking=DOCKING - 1)
    assert wipe.check(Root(root), clip, DOCKING) == clip.stat
    with pytest.raises(WipeRefusedError, match="content"):
        wipe.check(Root(root), replace(clip, plaintext_sha256="0" * 64), DOCKING)


def test_a_clip_that_was_never_read_here_is_read_before_it_passes(root: Path) -> None:
    clip = replace(read_clip(root), stat=None)
    assert wipe.check(Root(root), clip, DOCKING)
    with pytest.raises(WipeRefusedError, match="content"):
        wipe.check(Root(root), replace(clip, plaintext_sha256="0" * 64), DOCKING)


def test_the_same_content_with_other_times_passes_after_it_was_read_again(root: Path) -> None:
    clip = read_clip(root)
    os.utime(file_of(root), ns=(0, 0))
    assert wipe.check(Root(root), clip, DOCKING).modified_ns == 0


def test_another_content_with_the_same_size_and_times_is_refused(root: Path) -> None:
    clip = read_clip(root)
    with file_of(root).open("r+b") as file:
        file.write(OTHER)
    os.utime(file_of(root), ns=(clip.modified_ns, clip.modified_ns))
    assert file_of(root).stat().st_mtime_ns == clip.modified_ns
    with pytest.raises(WipeRefusedError, match="content"):
        wipe.check(Root(root), clip, DOCKING)


def test_another_file_in_its_place_is_refused(root: Path) -> None:
    clip = read_clip(root)
    aside = root / "aside"
    aside.write_bytes(OTHER)
    os.utime(aside, ns=(clip.modified_ns, clip.modified_ns))
    aside.rename(file_of(root))
    with pytest.raises(WipeRefusedError, match="content"):
        wipe.check(Root(root), clip, DOCKING)


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x"])
def test_a_file_of_another_size_is_refused_without_reading_it(root: Path, data: bytes) -> None:
    clip = read_clip(root)
    file_of(root).write_bytes(data)
    with pytest.raises(WipeRefusedError, match=f"{len(data)} bytes instead of {len(DATA)}"):
        wipe.check(Root(root), clip, DOCKING)


def test_a_file_that_changes_while_it_is_read_again_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = read_clip(root, docking=DOCKING - 1)
    readv = os.readv

    def touched(fd: int, buffers: list[memoryview]) -> int:
        os.utime(file_of(root))
        return readv(fd, buffers)

    monkeypatch.setattr(os, "readv", touched)
    with pytest.raises(WipeRefusedError, match="while it was read again"):
        wipe.check(Root(root), clip, DOCKING)


def test_a_file_whose_medium_fails_is_not_passed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = read_clip(root, docking=DOCKING - 1)

    def failing(fd: int, buffers: list[memoryview]) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "readv", failing)
    with pytest.raises(OSError, match="Input/output"):
        wipe.check(Root(root), clip, DOCKING)


def vanish(path: Path) -> None:
    path.unlink()


def become_a_link_to_the_same_content(path: Path) -> None:
    path.rename(path.parent / "real")
    path.symlink_to("real")


def become_a_link_out(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[3] / "outside" / "0001.mp4")


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def parent_becomes_a_link_to_the_same_files(path: Path) -> None:
    moved = path.parents[3] / "moved"
    path.parent.rename(moved)
    path.parent.symlink_to(moved)


CHANGES = [
    vanish,
    become_a_link_to_the_same_content,
    become_a_link_out,
    become_a_fifo,
    become_a_folder,
    parent_becomes_a_link_to_the_same_files,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("docking", [DOCKING, DOCKING - 1])
def test_what_is_no_longer_that_file_is_not_passed(
    root: Path, change: Callable[[Path], None], docking: int
) -> None:
    clip = read_clip(root, docking=docking)
    change(file_of(root))
    with pytest.raises(OSError, match=r"\[Errno"):
        wipe.check(Root(root), clip, DOCKING)


# The removal


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_checked_clip_is_removed_and_its_folders_stay(root: Path, overwrite: bool) -> None:
    clip = read_clip(root)
    remove(root, clip, overwrite=overwrite)
    assert rest(root) == BYSTANDERS
    wipe.verify_gone(Root(root), clip)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_swapped_in_after_the_check_is_not_removed(
    root: Path, change: Callable[[Path], None], overwrite: bool
) -> None:
    clip = read_clip(root)
    checked = wipe.check(Root(root), clip, DOCKING)
    change(file_of(root))
    before = rest(root.parent)
    with pytest.raises((OSError, WipeRefusedError)):
        wipe.remove(Root(root), clip, checked, Files(), overwrite=overwrite, shared=False)
    assert rest(root.parent) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_content_changed_after_the_check_is_not_removed(root: Path, overwrite: bool) -> None:
    clip = read_clip(root)
    checked = wipe.check(Root(root), clip, DOCKING)
    with file_of(root).open("r+b") as file:
        file.write(OTHER)
    os.utime(file_of(root), ns=(clip.modified_ns, clip.modified_ns))
    with pytest.raises(WipeRefusedError, match="after it was checked"):
        wipe.remove(Root(root), clip, checked, Files(), overwrite=overwrite, shared=False)
    assert file_of(root).read_bytes() == OTHER


def test_another_file_with_the_same_content_is_checked_anew_before_it_goes(root: Path) -> None:
    clip = read_clip(root)
    checked = wipe.check(Root(root), clip, DOCKING)
    (root / "copy").write_bytes(DATA)
    (root / "copy").rename(file_of(root))
    with pytest.raises(WipeRefusedError):
        wipe.remove(Root(root), clip, checked, Files(), overwrite=False, shared=False)
    remove(root, clip)
    assert rest(root) == BYSTANDERS


class Watched(Files):
    """Keeps a link to the clip's blocks, and fails at a step."""

    def __init__(self, fail_at: str = "") -> None:
        self.steps: list[str] = []
        self.left = b""
        self._fail_at = fail_at

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name == self._fail_at:
            raise OSError(errno.EIO, "Input/output error")

    def rename_at(
        self, folder_fd: int, name: bytes, new_name: bytes, *, durably: bool = True
    ) -> None:
        self._step("rename")
        super().rename_at(folder_fd, name, new_name, durably=durably)

    def fsync(self, fd: int) -> None:
        self._step("fsync")
        super().fsync(fd)

    def unlink_at(self, folder_fd: int, name: bytes) -> None:
        self._step("unlink")
        fd = os.open(name, os.O_RDONLY, dir_fd=folder_fd)
        self.left = os.read(fd, 2 * len(DATA))
        os.close(fd)
        super().unlink_at(folder_fd, name)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, len(DATA)])
def test_an_overwritten_clip_is_zeros_on_the_disk_before_it_goes(root: Path, size: int) -> None:
    file_of(root).write_bytes(DATA[:size])
    files = Watched()
    remove(root, read_clip(root), files, overwrite=True)
    assert files.steps == ["rename", "fsync", "unlink"]
    assert files.left == bytes(size)


def test_without_overwriting_the_blocks_are_left(root: Path) -> None:
    files = Watched()
    remove(root, read_clip(root), files)
    assert files.steps == ["unlink"]
    assert files.left == DATA


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_link_to_the_file_keeps_its_content(root: Path, overwrite: bool) -> None:
    kept = root.parent / "outside" / "kept.mp4"
    kept.hardlink_to(file_of(root))
    remove(root, read_clip(root), overwrite=overwrite)
    assert kept.read_bytes() == DATA
    assert rest(root) == BYSTANDERS


def test_an_overwriting_that_fails_leaves_nothing_under_another_name(root: Path) -> None:
    with pytest.raises(OSError, match="Input/output"):
        remove(root, read_clip(root), Watched("fsync"), overwrite=True)
    assert rest(root) == BYSTANDERS


class PowerLostError(BaseException):
    """Nothing runs after it."""


class DyingFiles(Files):
    """Dies for good at a step: no later one is done."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._dead = False

    def _die_at(self, step: str) -> None:
        self._dead = self._dead or step == self._step
        if self._dead:
            raise PowerLostError

    def rename_at(
        self, folder_fd: int, name: bytes, new_name: bytes, *, durably: bool = True
    ) -> None:
        self._die_at("before the rename")
        super().rename_at(folder_fd, name, new_name, durably=durably)
        self._die_at("after the rename")

    def fsync(self, fd: int) -> None:
        self._die_at("before the zeros are durable")
        super().fsync(fd)
        self._die_at("after the zeros are durable")

    def unlink_at(self, folder_fd: int, name: bytes) -> None:
        self._die_at("before the unlink")
        super().unlink_at(folder_fd, name)
        self._die_at("after the unlink")


@pytest.mark.parametrize(
    ("step", "is_whole"),
    [
        ("before the rename", True),
        ("after the rename", False),
        ("before the zeros are durable", False),
        ("after the zeros are durable", False),
        ("before the unlink", False),
        ("after the unlink", False),
    ],
)
def test_a_crash_while_overwriting_leaves_the_whole_clip_or_nothing_that_looks_like_one(
    root: Path, step: str, is_whole: bool
) -> None:
    clip = read_clip(root)
    with pytest.raises(PowerLostError):
        remove(root, clip, DyingFiles(step), overwrite=True)
    assert file_of(root).exists() is is_whole
    if is_whole:
        assert file_of(root).read_bytes() == DATA
    assert not {name for name in rest(root) - BYSTANDERS - {"DCIM/a/0001.mp4"} if ".mp4" in name}
    wipe.finish(Root(root), clip, Files())
    assert rest(root) - {"DCIM/a/0001.mp4"} == BYSTANDERS
    assert file_of(root).exists() is is_whole


def test_finishing_where_nothing_was_begun_does_nothing(root: Path) -> None:
    clip = read_clip(root)
    wipe.finish(Root(root), clip, Files())
    wipe.finish(Root(root), replace(clip, path=b"nowhere/0001.mp4"), Files())
    assert file_of(root).read_bytes() == DATA


# A folder that others write to


class Intruder(Root):
    """Puts another file into the clip's place once the clip's file has been looked at."""

    def stat(self, fd: int) -> FileStat:
        stat = super().stat(fd)
        assert self.main is not None
        (self.main / "new").write_bytes(OTHER)
        (self.main / "new").rename(file_of(self.main))
        return stat


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_shared_clip_is_removed_like_any_other(root: Path, overwrite: bool) -> None:
    remove(root, read_clip(root), overwrite=overwrite, shared=True)
    assert rest(root) == BYSTANDERS


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_put_in_a_clips_place_at_the_last_moment_stays(root: Path, overwrite: bool) -> None:
    clip = read_clip(root)
    checked = wipe.check(Root(root), clip, DOCKING)
    with pytest.raises(WipeRefusedError, match="was replaced"):
        wipe.remove(Intruder(root), clip, checked, Files(), overwrite=overwrite, shared=True)
    assert file_of(root).read_bytes() == OTHER
    assert rest(root) == BYSTANDERS | {"DCIM/a/0001.mp4"}


class PassingWriter(Root):
    """Writes to the clip once its file has been looked at, and is gone again."""

    def __init__(self, main: Path, mode: str) -> None:
        super().__init__(main)
        self._mode = mode

    def stat(self, fd: int) -> FileStat:
        stat = super().stat(fd)
        assert self.main is not None
        with file_of(self.main).open(self._mode) as file:
            file.write(b"more")
        return stat


@pytest.mark.parametrize("mode", ["ab", "r+b"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_written_to_a_shared_clip_at_the_last_moment_stays(
    root: Path, overwrite: bool, mode: str
) -> None:
    clip = read_clip(root)
    os.utime(file_of(root), ns=(1, 1))
    checked = wipe.check(Root(root), clip, DOCKING)
    with pytest.raises(WipeRefusedError, match="the file changed after it was checked"):
        wipe.remove(
            PassingWriter(root, mode), clip, checked, Files(), overwrite=overwrite, shared=True
        )
    expected = DATA + b"more" if mode == "ab" else b"more" + DATA[4:]
    assert file_of(root).read_bytes() == expected
    assert rest(root) == BYSTANDERS | {"DCIM/a/0001.mp4"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_shared_clip_that_somebody_writes_to_stays_until_he_is_done(
    root: Path, overwrite: bool
) -> None:
    clip = read_clip(root)
    with file_of(root).open("ab") as file:
        with pytest.raises(WipeBusyError):
            remove(root, clip, overwrite=overwrite, shared=True)
        assert rest(root) == BYSTANDERS | {"DCIM/a/0001.mp4"}
        assert file_of(root).read_bytes() == DATA
        file.write(b"more")
    with pytest.raises(WipeRefusedError):
        remove(root, clip, overwrite=overwrite, shared=True)
    assert file_of(root).read_bytes() == DATA + b"more"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_shared_clip_goes_where_nobody_can_tell_of_writers(
    root: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    monkeypatch.setattr(wipe, "has_writer", lambda _: None)
    remove(root, read_clip(root), overwrite=overwrite, shared=True)
    assert rest(root) == BYSTANDERS


def test_a_shared_clip_stays_where_there_is_no_room_to_ask_for_a_writer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_: int) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(wipe, "has_writer", no_room)
    with pytest.raises(OSError, match="memory"):
        remove(root, read_clip(root), overwrite=False, shared=True)
    assert rest(root) == BYSTANDERS | {"DCIM/a/0001.mp4"}


def held(root: Path, clip: Clip) -> Path:
    return file_of(root).with_name(f".dockd-held-{'c' * 16}-{clip.wipe_number:016x}")


def test_what_a_crash_left_held_gets_its_name_back(root: Path) -> None:
    clip = read_clip(root)
    file_of(root).rename(held(root, clip))
    wipe.put_back(Root(root), clip, Files())
    assert file_of(root).read_bytes() == DATA
    assert not held(root, clip).exists()
    wipe.put_back(Root(root), clip, Files())
    assert file_of(root).read_bytes() == DATA


def test_what_was_held_gets_a_name_of_its_own_where_its_own_is_taken(root: Path) -> None:
    clip = read_clip(root)
    file_of(root).rename(held(root, clip))
    file_of(root).write_bytes(OTHER)
    wipe.put_back(Root(root), clip, Files())
    assert file_of(root).read_bytes() == OTHER
    (other,) = file_of(root).parent.glob("0001.*.mp4")
    assert other.read_bytes() == DATA


# Names that others have


@pytest.fixture(params=["renameat2", "without"])
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system that can rename without replacing, and one that answers EINVAL."""
    if request.param == "without":

        class Libc:
            def renameat2(self, *_: object) -> int:
                ctypes.set_errno(errno.EINVAL)
                return -1

        monkeypatch.setattr(files, "_libc", Libc())
    return str(request.param)


@pytest.mark.usefixtures("renames")
@pytest.mark.parametrize("kind", ["held", "wiped"])
@pytest.mark.parametrize("wiping", [1, WIPE])
def test_a_strangers_file_is_not_replaced_by_what_a_wipe_sets_aside(
    root: Path, kind: str, wiping: int
) -> None:
    clip = replace(read_clip(root), wipe_number=wiping)
    tag = clip.clip_id if wiping == 1 else f"{'c' * 16}-{wiping:016x}"
    stranger = file_of(root).with_name(f".dockd-{kind}-{tag}")
    stranger.write_bytes(b"a stranger's")
    with pytest.raises(FileExistsError):
        remove(root, clip, overwrite=kind == "wiped", shared=kind == "held")
    assert stranger.read_bytes() == b"a stranger's"
    assert file_of(root).read_bytes() == DATA


@pytest.mark.usefixtures("renames")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_clip_goes_whether_or_not_its_file_system_can_rename_without_replacing(
    root: Path, overwrite: bool
) -> None:
    remove(root, read_clip(root), overwrite=overwrite, shared=True)
    assert rest(root) == BYSTANDERS


@pytest.mark.usefixtures("renames")
def test_what_was_held_replaces_nothing_when_it_is_put_back(root: Path) -> None:
    clip = read_clip(root)
    file_of(root).rename(held(root, clip))
    file_of(root).write_bytes(OTHER)
    wipe.put_back(Root(root), clip, Files())
    assert file_of(root).read_bytes() == OTHER
    (other,) = file_of(root).parent.glob("0001.*.mp4")
    assert other.read_bytes() == DATA


def test_a_name_that_was_only_taken_before_a_crash_is_given_up_again(root: Path) -> None:
    clip = read_clip(root)
    held(root, clip).touch()
    wipe.put_back(Root(root), clip, Files())
    assert rest(root) == BYSTANDERS | {"DCIM/a/0001.mp4"}
    assert file_of(root).read_bytes() == DATA


@pytest.mark.usefixtures("renames")
def test_a_rename_that_fails_leaves_no_name_behind(root: Path) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(FileNotFoundError):
            files.rename_new(fd, b"nothing", b"new")
        assert not (root / "new").exists()
    finally:
        os.close(fd)


# The absence


def test_a_clip_that_is_still_there_is_not_gone(root: Path) -> None:
    with pytest.raises(WipeFailedError) as caught:
        wipe.verify_gone(Root(root), read_clip(root))
    assert caught.value.hint


@pytest.mark.parametrize("size", [0, 1])
def test_a_clip_that_hid_another_file_of_its_name_is_gone(root: Path, size: int) -> None:
    clip = read_clip(root)
    file_of(root).write_bytes(bytes(clip.size + size))
    wipe.verify_gone(Root(root), clip)


def test_what_cannot_be_read_in_its_place_is_not_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = read_clip(root)

    def fail(fd: int) -> Iterator[memoryview]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(wipe, "read_fd_from_disk", fail)
    with pytest.raises(WipeFailedError):
        wipe.verify_gone(Root(root), clip)


def test_a_link_in_its_place_is_not_gone(root: Path) -> None:
    clip = read_clip(root)
    file_of(root).unlink()
    file_of(root).symlink_to("nowhere")
    with pytest.raises(WipeFailedError):
        wipe.verify_gone(Root(root), clip)


@pytest.mark.parametrize("path", [b"nowhere/at/all.mp4", b"DCIM/a/0001.mp4/x.mp4"])
def test_a_clip_whose_folder_is_gone_is_gone(root: Path, path: bytes) -> None:
    wipe.verify_gone(Root(root), replace(read_clip(root), path=path))


def test_a_root_that_is_gone_says_nothing_about_the_clip(root: Path) -> None:
    clip = read_clip(root)
    moved = root.rename(root.parent / "unplugged")
    try:
        with pytest.raises(FileNotFoundError):
            wipe.verify_gone(Root(root), clip)
    finally:
        moved.rename(root)
