import contextlib
import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dockd.station.cameras.tree import MAIN, Failures, Root, is_below, open_file, parent_of, walk
from tests.support import open_descriptors

DEPTH = 1200


def listed(root: Path) -> list[bytes]:
    return [entry.path for entry in walk(Root(root))]


def make_files(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_every_file_is_listed_with_its_status(tmp_path: Path) -> None:
    make_files(tmp_path, "z.mp4", "a/b/c.mp4", "a/d.mp4", "e/.hidden")
    (tmp_path / "empty").mkdir()
    found = {entry.path: entry.status for entry in walk(Root(tmp_path))}
    assert set(found) == {b"z.mp4", b"a/b/c.mp4", b"a/d.mp4", b"e/.hidden"}
    assert found[b"a/d.mp4"].st_ino == (tmp_path / "a/d.mp4").stat().st_ino


def test_the_order_is_the_same_every_time(tmp_path: Path) -> None:
    make_files(tmp_path, "b/2", "b/1", "a/1", "c", "a/b/x")
    assert listed(tmp_path) == [b"c", b"a/1", b"a/b/x", b"b/1", b"b/2"]


def test_names_of_any_bytes_are_listed(tmp_path: Path) -> None:
    name = bytes(range(1, 256)).replace(b"/", b"")[:255]
    (tmp_path / os.fsdecode(name)).write_bytes(b"")
    assert listed(tmp_path) == [name]


def test_links_and_special_files_are_passed_by(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    make_files(outside, "secret.mp4")
    make_files(root, "clip.mp4")
    (root / "file").symlink_to(outside / "secret.mp4")
    (root / "folder").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "fifo.mp4")
    assert listed(root) == [b"clip.mp4"]


def test_a_root_that_is_a_link_is_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "real/clip.mp4")
    (tmp_path / "root").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        listed(tmp_path / "root")


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        listed(tmp_path / "nowhere")


def vanish(path: Path) -> None:
    path.rmdir()


def become_a_link(path: Path) -> None:
    path.rmdir()
    path.symlink_to(path.parent.parent / "outside")


def become_a_file(path: Path) -> None:
    path.rmdir()
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [vanish, become_a_link, become_a_file])
def test_a_folder_that_changes_after_it_was_listed_is_passed_by(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    root = tmp_path / "root"
    make_files(tmp_path / "outside", "secret.mp4")
    make_files(root, "a/1.mp4", "c/3.mp4")
    (root / "b").mkdir()
    paths = []
    for entry in walk(Root(root)):
        paths.append(entry.path)
        if entry.path == b"a/1.mp4":
            change(root / "b")
    assert paths == [b"a/1.mp4", b"c/3.mp4"]


def test_a_root_that_vanishes_at_once_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        listed(tmp_path / "root")


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A file below so many folders that Python's own ways of removing them give up."""
    root = tmp_path / "deep"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=fd)
        child = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = child
    os.close(os.open("clip.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    yield root
    subprocess.run(["rm", "-rf", root], check=True)


def test_further_volumes_are_listed_under_their_names(tmp_path: Path) -> None:
    make_files(tmp_path / "first", "DCIM/1.mp4", "p2/1.mp4")
    make_files(tmp_path / "second", "DCIM/1.mp4")
    root = Root(tmp_path / "first", {b"p2": tmp_path / "second"})
    assert [one.path for one in walk(root)] == [b"DCIM/1.mp4", b"p2/1.mp4", b"/p2/DCIM/1.mp4"]


def test_a_path_leads_to_its_own_volume(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    make_files(tmp_path / "second", "1.mp4")
    root = Root(tmp_path / "first", {b"p2": tmp_path / "second"})
    with open_file(root, b"/p2/1.mp4") as fd:
        assert os.read(fd, 100) == b"1.mp4"
    with pytest.raises(FileNotFoundError), open_file(root, b"p2/1.mp4"):
        pass


@pytest.mark.parametrize("path", [b"/p3/1.mp4", b"/p2", b"/p2/../first/1.mp4", b"//1.mp4", b"/"])
def test_a_path_to_no_volume_leads_nowhere(tmp_path: Path, path: bytes) -> None:
    make_files(tmp_path / "first", "1.mp4")
    (tmp_path / "second").mkdir()
    root = Root(tmp_path / "first", {b"p2": tmp_path / "second"})
    with pytest.raises(FileNotFoundError), open_file(root, path):
        pass


@pytest.mark.parametrize(
    ("path", "places", "below"),
    [
        (b"DCIM/1.mp4", {b"DCIM/1.mp4"}, True),
        (b"DCIM/1.mp4", {b"DCIM"}, True),
        (b"DCIM/1.mp4", {MAIN}, True),
        (b"1.mp4", {MAIN}, True),
        (b"DCIM/1.mp4", {b"DC", b"DCIM/1", b"DCIM/1.mp4/x", b"1.mp4", b"", b"/"}, False),
        (b"/p2/DCIM/1.mp4", {b"/p2"}, True),
        (b"/p2/1.mp4", {b"/p2"}, True),
        (b"/p2/1.mp4", {MAIN, b"p2", b"/p", b"", b"/"}, False),
        (b"p2/1.mp4", {b"/p2"}, False),
    ],
)
def test_a_path_is_below_its_folders_and_its_volume(
    path: bytes, places: set[bytes], *, below: bool
) -> None:
    assert is_below(path, places) is below


def test_a_camera_without_its_first_volume_has_the_others(tmp_path: Path) -> None:
    make_files(tmp_path, "1.mp4")
    root = Root(None, {b"lun1": tmp_path})
    assert [one.path for one in walk(root)] == [b"/lun1/1.mp4"]
    with pytest.raises(FileNotFoundError), open_file(root, b"1.mp4"):
        pass


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Root]:
    """Three folders, the one in the middle not to be read by whoever this process is now."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    make_files(tmp_path, "a/1.mp4", "b/2.mp4", "c/3.mp4")
    (tmp_path / "b").chmod(0)
    parents = [folder for folder in tmp_path.parents if folder.stat().st_mode & 0o55 != 0o55]
    modes = {folder: folder.stat().st_mode for folder in [tmp_path, *parents]}
    for folder, mode in modes.items():
        folder.chmod(mode | 0o55)
    os.seteuid(65534)
    try:
        yield Root(tmp_path)
    finally:
        os.seteuid(0)
        for folder, mode in modes.items():
            folder.chmod(mode)


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_listed(locked: Root) -> None:
    failures: Failures = {}
    assert [one.path for one in walk(locked, failures)] == [b"a/1.mp4", b"c/3.mp4"]
    assert list(failures) == [b"b"]
    assert isinstance(failures[b"b"], PermissionError)


def test_the_folder_that_fsck_keeps_on_ext4_is_not_missed(locked: Root) -> None:
    assert locked.main is not None
    for folder in (b"lost+found", b"a/lost+found"):
        os.seteuid(0)
        kept = locked.main / os.fsdecode(folder)
        kept.mkdir(mode=0o700)
        os.seteuid(65534)
    failures: Failures = {}
    assert [one.path for one in walk(locked, failures)] == [b"a/1.mp4", b"c/3.mp4"]
    assert set(failures) == {b"b", b"a/lost+found"}


def test_without_a_place_for_failures_a_folder_that_cannot_be_read_is_an_error(
    locked: Root,
) -> None:
    with pytest.raises(PermissionError):
        list(walk(locked))


def test_a_name_that_is_listed_and_cannot_be_looked_up_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As exFAT answers for a name whose hash is wrong.
    make_files(tmp_path, "1.mp4", "2.mp4")
    real = os.stat

    def stat_of(name: Any, **how: Any) -> os.stat_result:
        if name == b"1.mp4":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return real(name, **how)

    monkeypatch.setattr(os, "stat", stat_of)
    failures: Failures = {}
    assert [one.path for one in walk(Root(tmp_path), failures)] == [b"2.mp4"]
    assert list(failures) == [b"1.mp4"]


def test_a_file_that_vanishes_while_it_is_listed_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path, "1.mp4", "2.mp4")
    real = os.stat

    def stat_of(name: Any, **how: Any) -> os.stat_result:
        if name == b"1.mp4":
            (tmp_path / "1.mp4").unlink()
        return real(name, **how)

    monkeypatch.setattr(os, "stat", stat_of)
    failures: Failures = {}
    assert [one.path for one in walk(Root(tmp_path), failures)] == [b"2.mp4"]
    assert not failures


@pytest.mark.parametrize(("links", "unseen"), [(True, []), (False, [b"b/2.mp4"])])
def test_a_second_name_of_a_file_hides_another_where_there_are_no_hard_links(
    tmp_path: Path, *, links: bool, unseen: list[bytes]
) -> None:
    make_files(tmp_path, "a/1.mp4", "b/3.mp4")
    os.link(tmp_path / "a/1.mp4", tmp_path / "b/2.mp4")
    failures: Failures = {}
    found = [one.path for one in walk(Root(tmp_path, stable_inodes=links), failures)]
    assert sorted([*found, *unseen]) == [b"a/1.mp4", b"b/2.mp4", b"b/3.mp4"]
    assert list(failures) == unseen
    assert all(error.errno == errno.EUCLEAN for error in failures.values())


@pytest.mark.parametrize(("links", "unseen"), [(True, []), (False, [b"1.mp4"])])
def test_a_name_that_is_listed_twice_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool, unseen: list[bytes]
) -> None:
    make_files(tmp_path, "1.mp4")
    scandir = os.scandir

    @contextlib.contextmanager
    def twice(fd: int) -> Iterator[list[Any]]:
        with scandir(fd) as entries:
            yield 2 * list(entries)

    monkeypatch.setattr(os, "scandir", twice)
    failures: Failures = {}
    root = Root(tmp_path, stable_inodes=links)
    assert [one.path for one in walk(root, failures)] == [b"1.mp4"]
    assert list(failures) == unseen


def test_a_files_inode_counts_only_where_it_lasts(tmp_path: Path) -> None:
    make_files(tmp_path, "1.mp4", "2.mp4")
    for name in ("1.mp4", "2.mp4"):
        os.utime(tmp_path / name, (0, 0))
    stats = []
    for stable in (True, False):
        root = Root(tmp_path, stable_inodes=stable)
        with open_file(root, b"1.mp4") as fd:
            stats.append(root.stat(fd))
    assert stats[0].inode == (tmp_path / "1.mp4").stat().st_ino
    assert stats[1].inode == 0


def test_only_where_files_have_no_holes_is_a_size_held_against_the_disk(tmp_path: Path) -> None:
    system = os.statvfs(tmp_path)
    size = system.f_blocks * system.f_frsize
    fat = Root(tmp_path, stable_inodes=False)
    assert fat.can_hold(b"1.mp4", size)
    assert not fat.can_hold(b"1.mp4", size + 1)
    assert Root(tmp_path).can_hold(b"1.mp4", size + 1)


def test_very_deep_folders_need_neither_stack_nor_descriptors(deep: Path) -> None:
    before = open_descriptors()
    entries = walk(Root(deep))
    path = next(entries).path
    assert len(open_descriptors()) == len(before) + 1
    assert path == b"d/" * DEPTH + b"clip.mp4"
    with open_file(Root(deep), path) as clip:
        assert stat.S_ISREG(os.fstat(clip).st_mode)
    assert list(entries) == []
    assert open_descriptors() == before


def test_a_folder_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path, "a/1.mp4")
    scandir = os.scandir
    asked = iter([False, True])

    def failing(fd: int) -> object:
        if next(asked):
            raise OSError(errno.EIO, "Input/output error")
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", failing)
    before = open_descriptors()
    with pytest.raises(OSError, match="Input/output"):
        listed(tmp_path)
    assert open_descriptors() == before


def test_a_file_is_opened_by_its_path(tmp_path: Path) -> None:
    make_files(tmp_path, "a/b/c.mp4")
    with open_file(Root(tmp_path), b"a/b/c.mp4") as fd:
        assert os.read(fd, 100) == b"a/b/c.mp4"


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/etc/passwd",
        b"..",
        b".",
        b"../outside/secret.mp4",
        b"a/../../outside/secret.mp4",
        b"a//clip.mp4",
        b"a/",
        b"nowhere/clip.mp4",
        b"a/nowhere",
    ],
)
def test_a_path_that_leads_to_no_file_below_the_root_is_refused(
    tmp_path: Path, path: bytes
) -> None:
    make_files(tmp_path, "outside/secret.mp4", "root/a/clip.mp4")
    before = open_descriptors()
    with pytest.raises(FileNotFoundError) as caught, open_file(Root(tmp_path / "root"), path):
        pass
    assert caught.value.errno == errno.ENOENT
    assert caught.value.strerror
    assert open_descriptors() == before


def link_to_file(root: Path) -> bytes:
    (root / "link").symlink_to(root.parent / "outside/secret.mp4")
    return b"link"


def link_to_folder(root: Path) -> bytes:
    (root / "link").symlink_to(root.parent / "outside")
    return b"link/secret.mp4"


def fifo(root: Path) -> bytes:
    os.mkfifo(root / "fifo")
    return b"fifo"


def folder(root: Path) -> bytes:
    (root / "folder").mkdir()
    return b"folder"


def file_as_folder(root: Path) -> bytes:
    make_files(root, "file")
    return b"file/clip.mp4"


@pytest.mark.parametrize("make", [link_to_file, link_to_folder, fifo, folder, file_as_folder])
def test_what_is_no_regular_file_is_not_opened(
    tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    make_files(tmp_path, "outside/secret.mp4")
    root = tmp_path / "root"
    root.mkdir()
    path = make(root)
    before = open_descriptors()
    with pytest.raises(OSError, match=r"\[Errno") as caught, open_file(Root(root), path):
        pass
    assert caught.value.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
    assert open_descriptors() == before


def test_the_parent_of_a_path_is_the_folder_itself(tmp_path: Path) -> None:
    make_files(tmp_path, "a/b/c.mp4")
    with parent_of(Root(tmp_path), b"a/b/c.mp4") as (fd, name):
        assert os.fstat(fd).st_ino == (tmp_path / "a/b").stat().st_ino
        assert name == b"c.mp4"
    with parent_of(Root(tmp_path), b"c.mp4") as (fd, name):
        assert os.fstat(fd).st_ino == tmp_path.stat().st_ino
