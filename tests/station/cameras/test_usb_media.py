import asyncio
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dockd.base.errors import CameraLostError, MountError
from dockd.station.cameras.devices import Volume
from dockd.station.cameras.identity import camera_of
from dockd.station.cameras.tree import MAIN, Root
from dockd.station.cameras.usb_media import UsbMedia
from tests.usb import FakeMounter, FakeUdev, make_profile


class Camera:
    """A plugged-in camera of some volumes."""

    def __init__(self, folder: Path, when_done: str = "leave-powered") -> None:
        self.mounter = FakeMounter()
        self.udev = FakeUdev(folder / "sys")
        self.folder = folder
        self.when_done = when_done
        self.volumes: list[Volume] = []
        self.errors: Iterator[int] = itertools.repeat(0)
        """How often its disk has failed, each time when somebody asks."""

    def volume(self, partition: int = 1, lun: int = 0, filesystem: str = "vfat") -> Volume:
        volume = self.mounter.volume(
            self.folder / f"volume-{lun}-{partition}",
            node=f"/dev/sd{'ab'[lun]}{partition}",
            partition=partition,
            lun=lun,
            filesystem=filesystem,
            uuid=f"UUID-{lun}-{partition}",
        )
        self.volumes.append(volume)
        return volume

    def media(self) -> UsbMedia:
        device = self.udev.plug(volumes=tuple(self.volumes))
        profile = make_profile(when_done=self.when_done)
        return UsbMedia(
            device,
            camera_of(device, profile),
            "bay 3",
            profile,
            self.mounter,
            errors=lambda _: next(self.errors),
        )


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


def test_all_volumes_are_mounted_read_only_and_unmounted_at_the_end(camera: Camera) -> None:
    main, second, other = camera.volume(), camera.volume(2), camera.volume(0, lun=1)

    async def scenario() -> None:
        async with camera.media().opened() as root:
            assert camera.mounter.mounted == {
                "/dev/sda1": False,
                "/dev/sda2": False,
                "/dev/sdb0": False,
            }
            folders = camera.mounter.folders
            assert root == Root(
                folders[main.node],
                {b"p2": folders[second.node], b"lun1": folders[other.node]},
                stable_inodes=False,
            )
        assert not camera.mounter.mounted

    asyncio.run(scenario())


def test_a_camera_whose_first_partition_cannot_be_read_has_no_main_volume(camera: Camera) -> None:
    second = camera.volume(2)

    async def scenario() -> None:
        async with camera.media().opened() as root:
            assert root.main is None
            assert root.volumes == {b"p2": camera.mounter.folders[second.node]}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("filesystems", "stable"),
    [(["ext4"], True), (["vfat"], False), (["exfat"], False), (["ext4", "vfat"], False)],
)
def test_inode_numbers_count_where_every_file_system_keeps_them(
    camera: Camera, filesystems: list[str], stable: bool
) -> None:
    for partition, filesystem in enumerate(filesystems, start=1):
        camera.volume(partition, filesystem=filesystem)

    async def scenario() -> None:
        async with camera.media().opened() as root:
            assert root.stable_inodes is stable

    asyncio.run(scenario())


def test_a_volume_that_cannot_be_mounted_leaves_none_mounted(camera: Camera) -> None:
    camera.volume()
    second = camera.volume(2)
    camera.mounter.fail["mount", second.node] = MountError("/dev/sda2: wrong fs type")

    async def scenario() -> None:
        with pytest.raises(MountError, match="wrong fs type"):
            async with camera.media().opened():
                pytest.fail("half a camera was shown")
        assert camera.mounter.calls == [
            ("mount", "/dev/sda1"),
            ("mount", "/dev/sda2"),
            ("unmount", "/dev/sda1"),
        ]

    asyncio.run(scenario())


def test_a_mount_that_fails_because_the_camera_is_gone_is_a_lost_camera(camera: Camera) -> None:
    volume = camera.volume()
    camera.mounter.fail["mount", volume.node] = MountError("no such device")

    async def scenario() -> None:
        media = camera.media()
        camera.udev.unplug()
        with pytest.raises(CameraLostError, match="bodycam:CAM-0001 is gone from bay 3"):
            async with media.opened():
                pytest.fail("nothing is mounted")

    asyncio.run(scenario())


def test_a_volume_that_stays_mounted_is_an_error_and_the_others_are_unmounted(
    camera: Camera,
) -> None:
    first = camera.volume()
    camera.volume(2)
    camera.mounter.fail["unmount", first.node] = MountError("/dev/sda1 is busy")

    async def scenario() -> None:
        with pytest.raises(MountError, match="busy"):
            async with camera.media().opened():
                pass
        assert list(camera.mounter.mounted) == [first.node]

    asyncio.run(scenario())


def test_what_goes_wrong_while_it_is_mounted_outweighs_an_unmount_that_fails(
    camera: Camera,
) -> None:
    first = camera.volume()
    camera.mounter.fail["unmount", first.node] = MountError("/dev/sda1 is busy")

    async def scenario() -> None:
        with pytest.raises(KeyError):
            async with camera.media().opened():
                raise KeyError

    asyncio.run(scenario())


def test_an_io_error_of_a_camera_that_is_gone_is_a_lost_camera(camera: Camera) -> None:
    camera.volume()

    async def scenario() -> None:
        async with camera.media().opened():
            camera.udev.unplug()
            raise OSError(5, "Input/output error")

    with pytest.raises(CameraLostError):
        asyncio.run(scenario())
    assert not camera.mounter.mounted


def test_an_io_error_of_a_camera_that_is_there_stays_one(camera: Camera) -> None:
    camera.volume()

    async def scenario() -> None:
        with pytest.raises(OSError, match="Input/output"):
            async with camera.media().opened():
                raise OSError(5, "Input/output error")

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["opened", "writable"])
def test_a_mount_that_vanished_is_a_lost_camera_and_not_an_empty_one(
    camera: Camera, way: str
) -> None:
    volume = camera.volume()
    # The mount point's own file system is seen instead of the camera's.
    camera.volumes = [replace(volume, number=volume.number + 1)]

    async def scenario() -> None:
        media = camera.media()
        with pytest.raises(CameraLostError):
            async with getattr(media, way)():
                pass
        with pytest.raises(CameraLostError):
            media.look(Root(camera.mounter.folders[volume.node]))

    asyncio.run(scenario())


def test_what_was_written_is_on_the_medium_when_the_window_ends(
    camera: Camera, tmp_path: Path
) -> None:
    volume = camera.volume(filesystem="ext4")
    point, image = camera.mounter.folders[volume.node], tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    run(["mkfs.ext4", "-q", str(image)])
    run(["mount", "-o", "loop", str(image), str(point)])
    try:
        camera.volumes = [replace(volume, number=point.stat().st_dev)]
        written = os.urandom(4096)

        async def scenario() -> None:
            async with camera.media().writable() as root:
                assert camera.mounter.mounted == {volume.node: True}
                assert root.main is not None
                (root.main / "file").write_bytes(written)
                assert written not in image.read_bytes()

        asyncio.run(scenario())
        assert written in image.read_bytes()
    finally:
        run(["umount", str(point)])


def run(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"file systems can't be made and mounted here: {error}")


def test_a_look_finds_the_clips_of_all_volumes_by_the_same_rules(camera: Camera) -> None:
    for volume in (camera.volume(), camera.volume(2)):
        folder = camera.mounter.folders[volume.node]
        (folder / "DCIM").mkdir()
        (folder / "DCIM" / "1.mp4").write_bytes(b"clip")
        (folder / "notes.txt").write_bytes(b"")
        (folder / "link.mp4").symlink_to("DCIM/1.mp4")

    async def scenario() -> None:
        media = camera.media()
        async with media.opened() as root:
            look = media.look(root)
        assert [file.path for file in look.files] == [b"DCIM/1.mp4", b"/p2/DCIM/1.mp4"]
        assert [file.size for file in look.files] == [4, 4]
        assert look.left_alone == {b"notes.txt": 0, b"/p2/notes.txt": 0}
        assert look.again_in is None
        assert not look.failures

    asyncio.run(scenario())


def test_a_look_during_which_the_disk_fails_does_not_show_all_there_is(camera: Camera) -> None:
    volume = camera.volume()
    (camera.mounter.folders[volume.node] / "1.mp4").write_bytes(b"clip")
    camera.errors = itertools.count()

    async def scenario() -> None:
        media = camera.media()
        async with media.opened() as root:
            look = media.look(root)
        assert [file.path for file in look.files] == [b"1.mp4"]
        assert list(look.failures) == [MAIN]

    asyncio.run(scenario())


def test_a_disk_that_is_gone_in_a_look_is_a_lost_camera(camera: Camera) -> None:
    camera.volume()

    def pulled() -> Iterator[int]:
        yield 0
        camera.udev.unplug()
        raise FileNotFoundError

    camera.errors = pulled()

    async def scenario() -> None:
        media = camera.media()
        async with media.opened() as root:
            media.look(root)

    with pytest.raises(CameraLostError):
        asyncio.run(scenario())


@pytest.mark.parametrize("way", ["opened", "writable"])
def test_what_was_swapped_while_it_was_mounted_is_not_touched(camera: Camera, way: str) -> None:
    volume = camera.volume()
    gate = camera.mounter.gates["mount"] = asyncio.Event()

    async def scenario() -> None:
        async def use() -> None:
            async with getattr(camera.media(), way)():
                pytest.fail("it may be another camera by now")

        task = asyncio.create_task(use())
        await camera.mounter.reached.wait()
        camera.udev.unplug()
        gate.set()
        with pytest.raises(CameraLostError):
            await task
        assert volume.node not in camera.mounter.mounted

    asyncio.run(scenario())


def test_a_look_at_a_camera_that_was_pulled_out_shows_nothing(camera: Camera) -> None:
    volume = camera.volume()

    async def scenario() -> None:
        media = camera.media()
        async with media.opened() as root:
            camera.udev.unplug()
            with pytest.raises(CameraLostError):
                media.look(root)

    with pytest.raises(CameraLostError):
        asyncio.run(scenario())
    assert volume.node not in camera.mounter.mounted


@pytest.mark.parametrize(
    ("when_done", "calls"), [("leave-powered", []), ("power-off", [("power_off", "/dev/sda1")])]
)
def test_a_camera_is_switched_off_only_where_its_profile_says_so(
    tmp_path: Path, when_done: str, calls: list[tuple[str, str]]
) -> None:
    camera = Camera(tmp_path, when_done)
    camera.volume()
    asyncio.run(camera.media().release())
    assert camera.mounter.calls == calls


def test_the_manifest_learns_what_is_known_of_the_device(camera: Camera) -> None:
    camera.volume()
    camera.volume(2, filesystem="ext4")
    assert camera.media().facts == {
        "usb_vendor": "1234",
        "usb_product": "5678",
        "usb_serial": "CAM-0001",
        "model": "Bodycam X",
        "port": "pci-0000:00:14.0-usb-0:1",
        "filesystem": "vfat",
        "filesystem_uuid": "UUID-0-1",
        "filesystem_p2": "ext4",
        "filesystem_uuid_p2": "UUID-0-2",
    }


def test_a_cancellation_in_a_mount_waits_for_it_and_unmounts(camera: Camera) -> None:
    volume = camera.volume()
    gate = camera.mounter.gates["mount"] = asyncio.Event()

    async def scenario() -> None:
        async def use() -> None:
            async with camera.media().opened():
                pytest.fail("it was cancelled before")

        task = asyncio.create_task(use())
        await camera.mounter.reached.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert camera.mounter.calls == [("mount", volume.node), ("unmount", volume.node)]
        assert not camera.mounter.mounted

    asyncio.run(scenario())
