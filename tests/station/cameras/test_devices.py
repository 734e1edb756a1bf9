from pathlib import Path
from typing import Any

import pytest

from dockd.station.cameras.devices import Device, Volume
from dockd.station.cameras.udev import Block, SystemUdev, read_device
from tests.usb import make_volume

PATH_ID = "pci-0000:00:14.0-usb-0:1.3:1.0-scsi-0:0:0:0"
FAT: dict[str, Any] = {
    "ID_FS_TYPE": "vfat",
    "ID_FS_UUID": "1A2B-3C4D",
    "ID_FS_LABEL_ENC": "BODYCAM",
}


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    folder = tmp_path / "1-1.3"
    folder.mkdir()
    for name, text in [("idVendor", "1234"), ("idProduct", "5678"), ("serial", "CAM-0001")]:
        (folder / name).write_text(f"{text}\n")
    (folder / "product").write_text("Bodycam X\n")
    return folder


def block(node: str, partition: int = 0, *, lun: int = 0, size: int = 1000, **facts: Any) -> Block:
    return Block(
        usb="",
        node=f"/dev/{node}",
        number=2048 + partition,
        lun=lun,
        partition=partition,
        size=size,
        is_ready=facts.pop("is_ready", True),
        properties={"ID_PATH": PATH_ID} | facts,
    )


def read(usb: Path, *blocks: Block) -> Device:
    device = read_device(usb, blocks)
    assert device is not None
    return device


def test_a_camera_with_a_partition_table_is_read_whole(usb: Path) -> None:
    device = read(usb, block("sda", ID_PART_TABLE_TYPE="dos"), block("sda1", 1, **FAT))
    assert device == Device(
        path=str(usb),
        plugged=usb.stat().st_ino,
        port="pci-0000:00:14.0-usb-0:1.3",
        vendor="1234",
        product="5678",
        serial="CAM-0001",
        model="Bodycam X",
        volumes=(Volume("/dev/sda1", 2049, "vfat", "1A2B-3C4D", "BODYCAM", 0, 1),),
        unusable=(),
    )


def test_a_file_system_without_a_partition_table_is_partition_0(usb: Path) -> None:
    (volume,) = read(usb, block("sda", **FAT)).volumes
    assert (volume.node, volume.partition, volume.name) == ("/dev/sda", 0, "")


def test_a_disk_with_partitions_is_no_volume_whatever_it_looks_like(usb: Path) -> None:
    device = read(usb, block("sda", **FAT), block("sda1", 1, **FAT))
    assert [volume.node for volume in device.volumes] == ["/dev/sda1"]


def test_several_partitions_and_luns_are_volumes_in_order(usb: Path) -> None:
    device = read(
        usb,
        block("sda"),
        block("sda1", 1, **FAT),
        block("sda2", 2, ID_FS_TYPE="exfat"),
        block("sdb", lun=1, ID_FS_TYPE="ext4"),
        block("sdc", lun=2),
        block("sdc1", 1, lun=2, **FAT),
    )
    assert [volume.node for volume in device.volumes] == [
        "/dev/sda1",
        "/dev/sda2",
        "/dev/sdb",
        "/dev/sdc1",
    ]
    assert device.unusable == ()


def test_a_slot_without_a_medium_is_skipped(usb: Path) -> None:
    device = read(usb, block("sda", size=0), block("sdb", lun=1, **FAT))
    assert [volume.node for volume in device.volumes] == ["/dev/sdb"]
    assert device.unusable == ()


@pytest.mark.parametrize("kind", ["ntfs", "iso9660", "crypto_LUKS", "btrfs", None])
def test_what_has_no_supported_file_system_is_unusable(usb: Path, kind: str | None) -> None:
    facts: dict[str, Any] = {"ID_FS_TYPE": kind} if kind else {}
    device = read(usb, block("sda"), block("sda1", 1, **FAT), block("sda2", 2, **facts))
    assert device.unusable == ("/dev/sda2",)
    assert len(device.volumes) == 1


@pytest.mark.parametrize("kind", ["vfat", "exfat", "ext2", "ext3", "ext4"])
def test_the_file_systems_of_cameras_are_supported(usb: Path, kind: str) -> None:
    (volume,) = read(usb, block("sda", ID_FS_TYPE=kind)).volumes
    assert (volume.filesystem, volume.uuid, volume.label) == (kind, "", "")


def test_an_extended_partition_only_holds_others(usb: Path) -> None:
    extended: dict[str, Any] = {"ID_PART_ENTRY_SCHEME": "dos", "ID_PART_ENTRY_TYPE": "0x5"}
    device = read(usb, block("sda"), block("sda1", 1, **extended), block("sda5", 5, **FAT))
    assert [volume.partition for volume in device.volumes] == [5]
    assert device.unusable == ()


def test_a_device_that_udev_is_not_done_with_is_not_there_yet(usb: Path) -> None:
    assert read_device(usb, [block("sda", **FAT), block("sdb", lun=1, is_ready=False)]) is None


def test_a_device_that_goes_away_meanwhile_is_an_error_of_the_system(usb: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_device(usb.with_name("1-2"), [block("sda")])


def test_a_port_without_a_path_id_has_the_kernels_name(usb: Path) -> None:
    assert read(usb, Block("", "/dev/sda", 2048, 0, 0, 1000, True, {})).port == "1-1.3"


@pytest.mark.parametrize(
    ("path_id", "port"),
    [
        ("pci-0000:00:14.0-usb-0:1.3:1.0-scsi-0:0:0:0", "pci-0000:00:14.0-usb-0:1.3"),
        ("pci-0000:00:14.0-usb-0:1.3:1.0-scsi-0:0:0:1-part2", "pci-0000:00:14.0-usb-0:1.3"),
        ("platform-xhci-hcd.0.auto-usb-0:2:1.0-scsi-0:0:0:0", "platform-xhci-hcd.0.auto-usb-0:2"),
    ],
)
def test_a_port_is_named_without_interface_and_lun(usb: Path, path_id: str, port: str) -> None:
    assert read(usb, block("sda", ID_PATH=path_id)).port == port


@pytest.mark.parametrize(
    ("raw", "serial"),
    [
        (b"CAM-0001\n", "CAM-0001"),
        (b"CAM 0001 \n", "CAM 0001 "),
        (b"a\nb\n", r"a\x0ab"),
        (b"caf\xc3\xa9\n", "café"),
        (b"\xff\xfe\n", r"\xff\xfe"),
        (b"\xe2\x80\xaeCAM\n", r"\xe2\x80\xaeCAM"),
        (b"a\\x0ab\n", r"a\x5cx0ab"),
        (b"\n", ""),
        (b"    \n", ""),
    ],
)
def test_no_two_serials_are_made_one(usb: Path, raw: bytes, serial: str) -> None:
    (usb / "serial").write_bytes(raw)
    assert read(usb, block("sda")).serial == serial


def test_a_device_without_a_serial_has_an_empty_one(usb: Path) -> None:
    (usb / "serial").unlink()
    (usb / "product").unlink()
    device = read(usb, block("sda"))
    assert (device.serial, device.model) == ("", "")


@pytest.mark.parametrize(
    ("encoded", "label"),
    [
        ("BODYCAM", "BODYCAM"),
        (r"MY\x20CAM", "MY CAM"),
        (r"a\x5cb\x0a", r"a\x5cb\x0a"),
        ("Caméra", "Caméra"),
        (r"\xff", r"\xff"),
    ],
)
def test_a_label_is_shown_as_it_is_and_in_one_line(usb: Path, encoded: str, label: str) -> None:
    device = read(usb, block("sda", **FAT | {"ID_FS_LABEL_ENC": encoded}))
    assert device.labels == [label]


def test_a_device_is_plugged_in_until_it_leaves_and_is_not_mistaken_for_the_next(
    usb: Path,
) -> None:
    device = read(usb, block("sda"))
    assert device.is_plugged()
    usb.rename(usb.with_name("gone"))
    assert not device.is_plugged()
    usb.mkdir()
    assert not device.is_plugged()


@pytest.mark.parametrize(
    ("lun", "partition", "name"),
    [(0, 0, ""), (0, 1, ""), (0, 2, "p2"), (1, 0, "lun1"), (1, 1, "lun1p1"), (2, 12, "lun2p12")],
)
def test_a_volumes_name_does_not_depend_on_the_others(
    tmp_path: Path, lun: int, partition: int, name: str
) -> None:
    assert make_volume(tmp_path, lun=lun, partition=partition).name == name


def test_this_machines_devices_can_be_listed() -> None:
    if not Path("/sys/class/block").is_dir():
        pytest.skip("there is no sysfs here")
    for device in SystemUdev().devices():
        assert device.is_plugged()
        assert len(device.vendor) == len(device.product) == 4
