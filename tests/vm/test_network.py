"""The receiver is away, or the way to it is cut."""

import pytest

from tests.vm.media import clip
from tests.vm.stages import record
from tests.vm.station import Station

pytestmark = pytest.mark.vm

_CUT_AFTER_1_MB = """\
table inet cut {
    chain input {
        type filter hook input priority filter
        tcp dport 8443 quota over 1 mbytes drop
    }
}
"""


@pytest.mark.thorough
def test_clips_wait_for_a_receiver_that_is_down_for_the_whole_docking(station: Station) -> None:
    machine = station.machine
    camera = station.bodycam(record("receiver down"))
    machine.run("systemctl stop dockd-receiver")
    since = station.mark()
    plugged = station.plug(camera)
    station.wait_for("clip.spooled", camera, since=since, count=len(camera.digests))
    machine.journal.wait_for("target.down", since=since)
    machine.unplug(plugged)
    station.wait_for("camera.undocked", camera, since=since)
    assert station.evidence(camera) == []
    machine.run("systemctl start dockd-receiver")
    station.wait_for("clip.acknowledged", camera, since=since, count=len(camera.digests))
    assert station.evidence(camera) == camera.digests
    assert station.left_on(camera) == camera.recorded

    since = station.mark()
    plugged = station.plug(camera)
    station.wait_for("camera.safe", camera, since=since)
    machine.unplug(plugged)
    station.assert_done(camera)


@pytest.mark.thorough
def test_an_upload_that_is_cut_in_the_middle_of_a_chunk_goes_on_from_there(
    station: Station,
) -> None:
    machine = station.machine
    camera = station.bodycam({"DCIM/1.mp4": clip("cut", 4_000_000)})
    machine.run("nft -f -", stdin=_CUT_AFTER_1_MB.encode())
    since = station.mark()
    plugged = station.plug(camera)
    machine.journal.wait_for("target.down", since=since)
    machine.run("nft flush ruleset")
    resumed = station.wait_for("clip.upload_resumed", camera, since=since)
    assert 0 < resumed["offset"] < 4_000_000
    station.wait_for("camera.safe", camera, since=since)
    machine.unplug(plugged)
    station.assert_done(camera)
