"""A camera whose medium fails under one clip."""

import pytest

from dockd.model import State
from tests.vm.media import clip
from tests.vm.station import Bodycam, Station

pytestmark = pytest.mark.vm


def test_a_clip_on_a_bad_sector_stays_and_is_shown_and_the_others_are_wiped(
    station: Station,
) -> None:
    damaged = clip("damaged", 2_000_000)
    good = {"DCIM/1.mp4": clip("good 1"), "DCIM/3.mp4": clip("good 3")}
    camera = station.bodycam({**good, "DCIM/2.mp4": damaged})
    sector = camera.card.sector_of(damaged[1_000_000:1_000_512])
    since = station.mark()
    plugged = station.machine.plug(camera.card.path, serial=camera.serial, bad_sectors=(sector,))
    unreadable = station.wait_for("clip.unreadable", camera, since=since)
    assert unreadable["path"] == "DCIM/2.mp4"
    stuck = station.wait_for("camera.stuck", camera, since=since)
    assert stuck["clips"] == 1
    states = {clip.name: clip.state for clip in station.clips(camera)}
    assert states == {
        "DCIM/1.mp4": State.WIPED,
        "DCIM/2.mp4": State.UNREADABLE,
        "DCIM/3.mp4": State.WIPED,
    }
    station.machine.unplug(plugged)
    assert station.left_on(camera) == {"DCIM/2.mp4": damaged}
    assert camera.card.check() == ""
    assert station.evidence(camera) == Bodycam(camera.card, camera.serial, good).digests
