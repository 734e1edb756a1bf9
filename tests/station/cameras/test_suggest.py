import tomllib
from pathlib import Path
from typing import Any

import pytest

from dockd.station.cameras.devices import Device
from dockd.station.cameras.identity import match, place_of
from dockd.station.cameras.suggest import suggest
from dockd.station.config import Config, load
from tests.support import write_config
from tests.usb import make_device, make_volume


def pasted(folder: Path, *devices: Device) -> Config:
    """The configuration with what is suggested for some devices."""
    return load(write_config(folder, extra="\n" + suggest(devices)))


def test_what_is_suggested_loads_and_takes_the_device_in_its_bay(tmp_path: Path) -> None:
    device = make_device(volumes=(make_volume(tmp_path / "volume"),))
    config = pasted(tmp_path, device)
    profile = match(device, config.profiles)
    assert profile is not None
    assert profile.name == "bodycam-x"
    assert profile.usb is not None
    assert profile.usb.identity == "serial"
    assert place_of(device, config.bays) == "1"
    assert '# label = "BODYCAM"' in suggest([device])
    assert '# serials = ["CAM-0001"]' in suggest([device])


def test_cameras_of_one_kind_share_a_profile_and_have_a_bay_each(tmp_path: Path) -> None:
    devices = [make_device(serial=str(n), port=f"usb-0:{n}", path=str(n)) for n in range(3)]
    config = pasted(tmp_path, *devices)
    assert len(config.profiles) == 2
    assert [place_of(device, config.bays) for device in devices] == ["1", "2", "3"]


@pytest.mark.parametrize("serials", [("",), ("SAME", "SAME")])
def test_cameras_that_serials_do_not_tell_apart_are_known_by_their_volumes(
    tmp_path: Path, serials: tuple[str, ...]
) -> None:
    devices = [make_device(serial=serial, path=str(n)) for n, serial in enumerate(serials)]
    profile = match(devices[0], pasted(tmp_path, *devices).profiles)
    assert profile is not None
    assert profile.usb is not None
    assert profile.usb.identity == "volume"


def test_kinds_with_names_that_look_alike_get_profiles_of_their_own(tmp_path: Path) -> None:
    devices = [
        make_device(model=model, path=str(n))
        for n, model in enumerate(["Cam 1", "cam-1", "cam", "", "***"])
    ]
    config = pasted(tmp_path, *devices)
    matched = [match(device, config.profiles) for device in devices]
    assert len({profile.name for profile in matched if profile}) == 5


HOSTILE = ['a"b', "a\\x0ab", "'''", "[*?]", "a = 1", "#", "\x7f", "\x1b[0m", "\u202e", "😀", "a\nb"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["serial", "model", "port", "label"])
def test_what_a_device_says_of_itself_stays_text(tmp_path: Path, field: str, text: str) -> None:
    facts: dict[str, Any] = {} if field == "label" else {field: text}
    label = text if field == "label" else "BODYCAM"
    device = make_device(volumes=(make_volume(tmp_path / "volume", label=label),), **facts)
    config = pasted(tmp_path, device)
    assert match(device, config.profiles) is config.profiles[1]
    assert place_of(device, config.bays) == "1"
    # The comments hold as well when they are brought in.
    suggested = suggest([device]).replace("# label", "label").replace("# serials", "serials")
    (tmp_path / "whole").mkdir()
    whole = load(write_config(tmp_path / "whole", extra="\n" + suggested))
    assert match(device, whole.profiles) is whole.profiles[1]
    # A pattern in a model fits nothing else.
    assert match(make_device(model="x", serial="x"), config.profiles) is None


def test_without_devices_there_is_a_comment() -> None:
    assert tomllib.loads(suggest([])) == {}
    assert suggest([]).startswith("# No USB storage device")
