"""A camera is pulled at the worst moment, and put back, here or at another station."""

import pytest

from tests.vm.stages import Stage, let_go, reach, record
from tests.vm.station import FIRST, SECOND, Station

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("where", [FIRST, SECOND], ids=["put back", "put into another station"])
def test_a_pulled_camera_ends_empty_and_each_clip_one_piece_of_evidence(
    station: Station, stage: Stage, where: str
) -> None:
    camera = station.bodycam(record(f"pulled {stage} {where}"))
    since = station.mark()
    plugged = reach(station, camera, stage)
    station.machine.unplug(plugged)
    station.wait_for("camera.undocked", camera, since=since)
    assert not station.machine.journal.find("camera.wiped", since=since, camera=camera.id)
    let_go(station, plugged)

    station.become(where)
    since = station.mark()
    plugged = station.plug(camera)
    station.wait_for("camera.safe", camera, since=since)
    station.machine.unplug(plugged)
    station.assert_done(camera, torn=stage is Stage.WIPE)

    # What the first station had sealed by then is brought too, and makes no second piece.
    station.become(FIRST)
    station.settle(camera)
    assert station.evidence(camera) == camera.digests
