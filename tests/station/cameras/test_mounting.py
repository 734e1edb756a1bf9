import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from dockd.base.errors import MountError
from dockd.station.cameras.devices import Volume
from dockd.station.cameras.mounting import Mount, check_mount, parse_mountinfo, read_mounts
from tests.mounts import mounted, mounted_tmpfs, volume

SAFE = "nosuid,nodev,noexec"


@pytest.mark.parametrize("optional", [b"", b"shared:12 ", b"shared:12 master:3 propagate_from:2 "])
def test_a_line_of_mountinfo_is_read_with_any_number_of_optional_fields(optional: bytes) -> None:
    line = b"52 29 8:17 / /media/dockd/CAM ro,nosuid " + optional + b"- vfat /dev/sdb1 ro,utf8\n"
    assert parse_mountinfo(line) == [
        Mount(
            id=52,
            device=os.makedev(8, 17),
            point=Path("/media/dockd/CAM"),
            filesystem="vfat",
            options=frozenset({"ro", "nosuid"}),
            super_options=frozenset({"ro", "utf8"}),
        )
    ]


@pytest.mark.parametrize(
    ("field", "point"),
    [
        (rb"/a\040b\011c\012d\134e\043f", b"/a b\tc\nd\\e#f"),
        (rb"/a\134040", rb"/a\040"),
        (b"/\xff\xc3", b"/\xff\xc3"),
        (b"/a\rb\x0bc\x85d", b"/a\rb\x0bc\x85d"),
        (b"/-", b"/-"),
    ],
)
def test_a_mount_point_may_have_any_name(field: bytes, point: bytes) -> None:
    line = b"1 0 0:5 / " + field + b" rw - tmpfs none rw\n"
    assert [os.fsencode(mount.point) for mount in parse_mountinfo(line * 2)] == [point] * 2


def test_what_is_mounted_here_is_read_with_its_options(tmp_path: Path) -> None:
    point = tmp_path / os.fsdecode(b"a \\ \n\xff\r")
    with mounted_tmpfs(point, f"ro,{SAFE}") as camera:
        [mount] = [mount for mount in read_mounts() if mount.device == camera.number]
    assert mount.point == point
    assert mount.filesystem == "tmpfs"
    assert {"ro", "nosuid", "nodev", "noexec"} <= mount.options
    assert "ro" in mount.super_options


@pytest.mark.parametrize("writable", [False, True])
def test_a_mount_as_it_must_be_passes(tmp_path: Path, writable: bool) -> None:
    access = "rw" if writable else "ro"
    with mounted_tmpfs(tmp_path / "camera", f"{access},{SAFE}") as camera:
        check_mount(tmp_path / "camera", camera, writable=writable)


@pytest.mark.parametrize(
    ("options", "writable", "missing"),
    [
        (f"rw,{SAFE}", False, "ro"),
        (f"ro,{SAFE}", True, "rw"),
        ("ro,nodev,noexec", False, "nosuid"),
        ("ro,nosuid,noexec", False, "nodev"),
        ("ro,nosuid,nodev", False, "noexec"),
        ("rw", False, "nodev, noexec, nosuid, ro"),
    ],
)
def test_a_mount_without_an_option_that_it_must_have_is_refused(
    tmp_path: Path, options: str, writable: bool, missing: str
) -> None:
    with (
        mounted_tmpfs(tmp_path / "camera", options) as camera,
        pytest.raises(MountError) as caught,
    ):
        check_mount(tmp_path / "camera", camera, writable=writable)
    assert caught.value.detail == f"/dev/sdb1 is mounted without {missing}"
    assert caught.value.hint


def test_a_read_only_view_of_a_writable_file_system_is_refused(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with mounted_tmpfs(tmp_path / "writable", f"rw,{SAFE}") as camera:
            view = ["--bind", "-o", f"ro,{SAFE}", str(tmp_path / "writable")]
            stack.enter_context(mounted(tmp_path / "camera", *view))
        with pytest.raises(MountError, match=r"is mounted without ro$"):
            check_mount(tmp_path / "camera", camera, writable=False)


def test_a_file_system_that_is_mounted_elsewhere_as_well_is_refused(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "camera", f"ro,{SAFE}") as camera:
        with (
            mounted(tmp_path / "desk\ntop", "--bind", str(tmp_path / "camera")),
            pytest.raises(MountError) as caught,
        ):
            check_mount(tmp_path / "camera", camera, writable=False)
        check_mount(tmp_path / "camera", camera, writable=False)
    assert caught.value.detail == f"/dev/sdb1 is mounted at {tmp_path}/desk\\x0atop as well"


def test_another_file_system_at_the_mount_point_is_refused(tmp_path: Path) -> None:
    point = tmp_path / "camera"
    with mounted_tmpfs(point, f"ro,{SAFE}") as camera:
        with mounted_tmpfs(point, f"ro,{SAFE}"), pytest.raises(MountError, match="is not what"):
            check_mount(point, camera, writable=False)
        check_mount(point, camera, writable=False)


def test_a_mount_that_this_process_does_not_see_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="is not what is seen at") as caught:
        check_mount(tmp_path, volume(os.makedev(8, 17)), writable=False)
    assert "what the host mounts" in caught.value.hint


def test_a_mount_point_that_can_not_be_reached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"can't be reached at .*: No such file or directory"):
        check_mount(tmp_path / "gone", volume(os.makedev(8, 17)), writable=False)


def test_a_file_system_whose_owner_lets_nobody_else_in_is_refused() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        point = Path(folder, "camera")
        with mounted_tmpfs(point, f"ro,mode=0700,{SAFE}") as camera:
            child = os.fork()
            if child == 0:
                os._exit(_refused_as_nobody(point, camera))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _refused_as_nobody(point: Path, camera: Volume) -> int:
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
    try:
        check_mount(point, camera, writable=False)
    except MountError as error:
        return 0 if "lets user 65534 read nothing" in error.detail else 2
    return 1


@pytest.mark.parametrize("filesystem", ["vfat", "ext4"])
def test_a_mounted_disk_has_the_number_of_its_block_device(tmp_path: Path, filesystem: str) -> None:
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    if shutil.which(f"mkfs.{filesystem}") is None:
        pytest.skip(f"mkfs.{filesystem} is not installed")
    subprocess.run([f"mkfs.{filesystem}", image], capture_output=True, check=True)
    point = tmp_path / "camera"
    with mounted(point, "-t", filesystem, "-o", f"loop,ro,{SAFE}", str(image)):
        [source] = {line.split()[0] for line in _mount_table() if line.split()[1] == str(point)}
        check_mount(point, volume(Path(source).stat().st_rdev), writable=False)


def _mount_table() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()
