"""A camera is pulled at the worst moment, and put back, here or at another station."""

import pytest

from tests.vm.stages import Stage, each_stage, let_go, reach, record
from tests.vm.station import FIRST, SECOND, Station

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("stage", each_stage(first=Stage.WIPE))
def test_a_pulled_camera_that_is_put_back_ends_empty(station: Station, stage: Stage) -> None:
    _pull_and_put_into(FIRST, station, stage)


@pytest.mark.parametrize("stage", each_stage(first=Stage.UPLOAD))
def test_a_pulled_camera_ends_empty_at_another_station_and_each_clip_is_one_piece_of_evidence(
    station: Station, stage: Stage
) -> None:
    _pull_and_put_into(SECOND, station, stage)


def _pull_and_put_into(where: str, station: Station, stage: Stage) -> None:
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
