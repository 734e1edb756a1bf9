"""The daemon ends at the worst moment, and systemd starts it again."""

from collections.abc import Iterator

import pytest

from tests.vm.stages import Stage, each_stage, let_go, reach, record
from tests.vm.station import Station

pytestmark = pytest.mark.vm

_FOLDER = "/etc/systemd/system/dockd.service.d"
_HURRIED = """\
[Service]
WatchdogSec=20
TimeoutAbortSec=1
RestartSec=0
"""


@pytest.fixture
def hurried(station: Station) -> Iterator[Station]:
    """The station, whose watchdog has less patience than the unit gives it."""
    machine = station.machine
    machine.run(f"mkdir -p {_FOLDER}")
    machine.put(_HURRIED.encode(), f"{_FOLDER}/hurried.conf")
    machine.run("systemctl daemon-reload && systemctl restart dockd")
    yield station
    machine.run(f"rm -r {_FOLDER} && systemctl daemon-reload && systemctl restart dockd")


def _carries_on(station: Station, stage: Stage, ending: str, said: str) -> None:
    camera = station.bodycam(record(f"{stage} {ending}"))
    started = station.mark()
    plugged = reach(station, camera, stage)
    since = station.mark()
    assert not station.machine.journal.find("camera.wiped", since=started, camera=camera.id)
    station.machine.run(ending)
    station.machine.journal.wait_for("systemd", since=since, message=said)
    let_go(station, plugged)
    station.machine.journal.wait_for("daemon.started", since=since)
    station.wait_for("camera.safe", camera, since=since)
    station.machine.unplug(plugged)
    station.assert_done(camera)


@pytest.mark.parametrize("stage", each_stage(first=Stage.WIPE))
def test_after_a_sigkill_the_work_goes_on(station: Station, stage: Stage) -> None:
    said = "dockd.service: Main process exited, code=killed, status=9/KILL"
    _carries_on(station, stage, "systemctl kill --signal=KILL dockd", said)


@pytest.mark.parametrize("stage", each_stage(first=Stage.UPLOAD))
def test_after_a_restart_the_work_goes_on(station: Station, stage: Stage) -> None:
    said = "dockd.service: Deactivated successfully."
    _carries_on(station, stage, "systemctl restart dockd", said)


@pytest.mark.parametrize("stage", each_stage(first=Stage.INGEST))
def test_after_the_watchdog_has_ended_a_stuck_daemon_the_work_goes_on(
    hurried: Station, stage: Stage
) -> None:
    said = "dockd.service: Watchdog timeout (limit 20s)!"
    _carries_on(hurried, stage, "systemctl kill --kill-whom=main --signal=STOP dockd", said)
