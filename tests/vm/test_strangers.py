"""A USB stick that is no camera."""

import pytest

from tests.vm.media import clip
from tests.vm.station import Station

pytestmark = pytest.mark.vm


def test_of_a_stick_that_is_no_camera_no_block_is_read_or_changed(station: Station) -> None:
    machine = station.machine
    stick = station.bodycam({"DCIM/1.mp4": clip("holiday"), "letter.txt": b"Dear"}).card
    before = stick.path.read_bytes()
    machine.run("systemctl stop dockd")
    plugged = machine.plug(stick.path, serial="STICK")
    machine.wait_for_node("STICK-0:0-part1")
    # Else what dockd reads could be in memory from what udev has read.
    machine.run("sync && echo 3 > /proc/sys/vm/drop_caches")
    seen = machine.traffic(plugged)
    since = station.mark()
    machine.run("systemctl start dockd")
    ignored = machine.journal.wait_for("device.ignored", since=since, serial="STICK")
    assert (ignored["vendor"], ignored["product"]) == ("46f4", "0001")
    # The dock works, and what came later was looked at: the stick had its turn.
    camera = station.bodycam({"DCIM/1.mp4": clip("beside a stick")})
    station.plug(camera)
    station.wait_for("camera.safe", camera, since=since)
    assert machine.traffic(plugged) == seen
    machine.unplug(plugged)
    assert stick.path.read_bytes() == before
    assert len(machine.journal.find("device.ignored", since=since, serial="STICK")) == 1
