from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockd.base.errors import CameraRefusedError
from dockd.station.cameras.devices import Device
from dockd.station.cameras.identity import camera_of, match, place_of, recognise
from dockd.station.config import BayConfig
from dockd.station.model import Camera
from tests.usb import make_device, make_profile, make_volume


def device(folder: Path, **changes: Any) -> Device:
    return make_device(**{"volumes": (make_volume(folder),)} | changes)


# Profiles


@pytest.mark.parametrize(
    ("usb", "fits"),
    [
        ({"vendor": "1234"}, True),
        ({"vendor": "12*"}, True),
        ({"vendor": "0951"}, False),
        ({"vendor": "1234", "product": "5678"}, True),
        ({"vendor": "1234", "product": "0001"}, False),
        ({"vendor": "*", "serial": "CAM-*"}, True),
        ({"vendor": "*", "serial": "cam-*"}, False),
        ({"vendor": "*", "serial": "CAM-000[2-9]"}, False),
        ({"vendor": "*", "model": "Bodycam ?"}, True),
        ({"vendor": "*", "model": "Bodycam"}, False),
        ({"vendor": "*", "label": "BODY*"}, True),
        ({"vendor": "*", "label": "CARD"}, True),
        ({"vendor": "*", "label": "BODY"}, False),
        ({"vendor": "*", "serials": ["CAM-0001"]}, True),
        ({"vendor": "*", "serials": ["CAM-0002", "CAM-000?"]}, False),
        ({"vendor": "1234", "serials": ["CAM-0002"]}, False),
    ],
)
def test_a_device_is_a_camera_if_all_that_the_profile_says_fits(
    tmp_path: Path, usb: dict[str, Any], fits: bool
) -> None:
    volumes = (make_volume(tmp_path), make_volume(tmp_path, partition=2, label="CARD"))
    profile = make_profile(**usb)
    assert match(device(tmp_path, volumes=volumes), [profile]) == (profile if fits else None)


def test_the_first_profile_that_fits_wins(tmp_path: Path) -> None:
    broad, narrow = make_profile("broad"), make_profile("narrow", serial="CAM-0001")
    assert match(device(tmp_path), [broad, narrow]) is broad
    assert match(device(tmp_path), [narrow, broad]) is narrow
    assert match(device(tmp_path, serial="CAM-0002"), [narrow, broad]) is broad


def test_a_profile_without_usb_is_of_no_device(tmp_path: Path) -> None:
    folders_only = make_profile().model_copy(update={"usb": None})
    assert match(device(tmp_path), [folders_only]) is None


def test_a_device_without_a_label_has_none_that_fits(tmp_path: Path) -> None:
    profile = make_profile(label="?*")
    assert match(device(tmp_path, volumes=(make_volume(tmp_path, label=""),)), [profile]) is None


# Cameras


def test_a_camera_is_known_by_its_usb_serial(tmp_path: Path) -> None:
    assert camera_of(device(tmp_path), make_profile()) == Camera("bodycam", "CAM-0001")


def test_a_serial_keeps_its_case_and_blanks(tmp_path: Path) -> None:
    for serial in ("abc", "ABC", " ABC", "ABC "):
        assert camera_of(device(tmp_path, serial=serial), make_profile()).serial == serial


def test_a_serial_cannot_look_like_a_path_or_another_cameras_id(tmp_path: Path) -> None:
    camera = camera_of(device(tmp_path, serial="../a:b"), make_profile())
    assert camera.serial == r"..\x2fa\x3ab"


def test_a_camera_known_by_its_volume_bears_the_serial_and_the_first_volumes_uuid(
    tmp_path: Path,
) -> None:
    profile = make_profile(identity="volume")
    volumes = (make_volume(tmp_path, uuid="AAAA-BBBB"), make_volume(tmp_path, uuid="CCCC-DDDD"))
    assert camera_of(device(tmp_path, volumes=volumes), profile).serial == "CAM-0001+AAAA-BBBB"
    anonymous = device(tmp_path, volumes=volumes, serial="")
    assert camera_of(anonymous, profile).serial == "none+AAAA-BBBB"


@pytest.mark.parametrize(
    ("identity", "changes", "told"),
    [
        ("serial", {"serial": ""}, "the device 1234:5678 Bodycam X has no serial number"),
        ("serial", {"volumes": ()}, "has no supported file system"),
        ("volume", {"volumes": ()}, "has no supported file system"),
        ("serial", {"serial": "x" * 201}, "a serial number of 201 characters"),
    ],
)
def test_a_camera_that_cannot_be_told_from_others_is_refused_with_a_hint(
    tmp_path: Path, identity: str, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(CameraRefusedError, match=told) as caught:
        camera_of(device(tmp_path, **changes), make_profile(identity=identity))
    assert caught.value.hint


def test_a_camera_known_by_its_volume_needs_a_uuid(tmp_path: Path) -> None:
    nameless = device(tmp_path, volumes=(make_volume(tmp_path, uuid="", node="/dev/sdb1"),))
    assert camera_of(nameless, make_profile()).serial == "CAM-0001"
    with pytest.raises(CameraRefusedError, match=r"/dev/sdb1 .* has no UUID"):
        camera_of(nameless, make_profile(identity="volume"))


def test_devices_that_say_they_are_one_camera_are_all_refused(tmp_path: Path) -> None:
    first = device(tmp_path)
    second = replace(first, path="/sys/devices/usb1/1-2")
    third = replace(first, path="/sys/devices/usb1/1-3", serial="CAM-0003")
    stick = replace(first, path="/sys/devices/usb1/1-4", vendor="0951")
    verdicts = recognise([first, second, third, stick], [make_profile()])
    for double in (first, second):
        refusal = verdicts[double]
        assert isinstance(refusal, CameraRefusedError)
        assert refusal.detail == "2 devices identify themselves as bodycam:CAM-0001"
    assert verdicts[third] == Camera("bodycam", "CAM-0003")
    assert verdicts[stick] is None
    assert recognise([second], [make_profile()]) == {second: Camera("bodycam", "CAM-0001")}


def test_one_serial_in_two_profiles_is_two_cameras(tmp_path: Path) -> None:
    first = device(tmp_path)
    second = replace(first, path="/sys/devices/usb1/1-2", product="0001")
    profiles = [make_profile("old", product="0001"), make_profile("new")]
    assert list(recognise([first, second], profiles).values()) == [
        Camera("new", "CAM-0001"),
        Camera("old", "CAM-0001"),
    ]


# Bays


def test_a_port_has_the_name_of_the_first_bay_that_fits(tmp_path: Path) -> None:
    bays = [
        BayConfig(name="bay 1", port="pci-0000:00:14.0-usb-0:1"),
        BayConfig(name="rack", port="*-usb-0:*"),
    ]
    assert place_of(device(tmp_path), bays) == "bay 1"
    assert place_of(device(tmp_path, port="pci-0000:00:14.0-usb-0:1.3"), bays) == "rack"
    assert place_of(device(tmp_path, port="usb-1-7"), bays) == "usb-1-7"
