"""The commands that ask the daemon, against a real one."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockd.station.control.decoding import decode
from dockd.station.control.views import ClipStory, Status
from tests.cli.test_cli import Shell
from tests.processes.support import Process, Site

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def dockd(capsysbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(capsysbinary)


def _configure(site: Site) -> Path:
    """Configure a station whose daemon can be asked."""
    config = site.configure("camden-07", "CAM-0001")
    config.write_text(config.read_text().replace('socket = ""', 'socket = "control.sock"'))
    return config


def _start(site: Site, config: Path) -> Process:
    station = site.start_station(config)
    station.wait_for("control.listens")
    return station


def test_a_technician_sees_a_clips_whole_life(dockd: Shell, site: Site) -> None:
    site.start_receiver("camden-07")
    site.fill("CAM-0001", {"one.mp4": b"1" * 1000})
    config = _configure(site)
    station = _start(site, config)
    station.wait_for("camera.safe")

    asked = dockd("status", "--config", config)
    assert (asked.code, asked.err) == (0, "")
    assert "safe to take" in asked.out
    assert asked.out.startswith("camden-07: ALL IS WELL")
    status = decode(Status, dockd("status", "--json", "--config", config).out)
    assert status.clips == {"wiped": 1}

    assert "CAM-0001, one.mp4" in dockd("clips", "--state", "wiped", "--config", config).out
    assert dockd("clips", "--since", "2999-01-01T00:00", "--config", config).out == ""
    story = decode(ClipStory, dockd("show", "1", "--json", "--config", config).out)
    assert story.receipt is not None
    assert story.clip.clip_id is not None
    assert [line.event for line in story.journal][::7] == ["clip.found", "clip.wiped"]
    assert "clip.wiped" in dockd("show", story.clip.clip_id, "--config", config).out
    assert dockd("show", "2", "--config", config).code == 65


def test_a_pause_holds_uploads_until_somebody_resumes_them(dockd: Shell, site: Site) -> None:
    site.start_receiver("camden-07")
    config = _configure(site)
    station = _start(site, config)
    station.wait_for("camera.safe")
    held = dockd("pause", "uploads", "--reason", "a test", "--config", config)
    assert held.code == 0
    assert held.out.startswith("PAUSED   uploads, by ")

    site.fill("CAM-0001", {"one.mp4": b"1" * 1000})
    resynced = dockd("resync", "--config", config)
    assert resynced.code == 20, resynced.out
    assert "paused (dockd resume)" in resynced.out
    status = dockd("status", "--config", config)
    assert status.code == 20
    assert ": a test" in status.out

    assert dockd("resume", "--config", config).out == "nothing is paused\n"
    station.wait_for("clip.wiped")


def test_a_resync_sees_a_new_clip_and_comes_back_when_it_is_safe(dockd: Shell, site: Site) -> None:
    site.start_receiver("camden-07")
    config = _configure(site)
    config.write_text(config.read_text().replace("rescan_seconds = 1", "rescan_seconds = 3600"))
    station = _start(site, config)
    station.wait_for("camera.safe")
    for number in range(3):
        site.fill("CAM-0001", {f"{number}.mp4": b"%d" % number * 1000})
        resynced = dockd("resync", "--camera", "CAM-0001", "--config", config)
        assert resynced.code == 0, resynced.out
        assert resynced.out.splitlines()[-1] == "done"
        assert site.on_camera("CAM-0001") == []


def test_a_server_that_is_down_is_shown_and_a_resync_sees_it_come_back(
    dockd: Shell, site: Site
) -> None:
    site.start_receiver("camden-07").stop()
    site.fill("CAM-0001", {"one.mp4": b"1" * 1000})
    config = _configure(site)
    slow = "retry_first_seconds = 3600\nretry_cap_seconds = 3600"
    text = config.read_text().replace("retry_first_seconds = 0.05\nretry_cap_seconds = 0.2", slow)
    config.write_text(text)
    station = _start(site, config)
    station.wait_for("target.down")
    status = dockd("status", "--config", config)
    assert status.code == 10
    assert "UNREACHABLE" in status.out
    assert "retried in " in status.out
    site.start_receiver("camden-07")
    assert dockd("resync", "--config", config).code == 0
    assert json.loads(dockd("status", "--json", "--config", config).out)["verdict"] == "well"


def test_a_clip_larger_than_the_spool_waits_for_a_person_and_holds_up_no_other(
    dockd: Shell, site: Site
) -> None:
    site.start_receiver("camden-07")
    site.fill("CAM-0001", {"large.mp4": bytes(2**21), "small.mp4": b"small"})
    config = _configure(site)
    roomy = config.read_text()
    config.write_text(roomy.replace("[spool]", '[spool]\nbudget = "1 MiB"'))
    station = _start(site, config)
    told = station.wait_for("clip.unreadable")
    assert (told["path"], told["error"]) == ("large.mp4", "clip.too_large")
    station.wait_for("camera.stuck")
    assert site.on_camera("CAM-0001") == ["large.mp4"]
    asked = dockd("status", "--config", config)
    assert asked.code == 20
    assert "exceed spool.budget, 1.00 MiB" in " ".join(asked.out.split())

    config.write_text(roomy)
    station.signal(signal.SIGHUP)
    station.wait_for("config.reloaded")
    station.wait_for("camera.docked", count=2)
    assert dockd("resync", "--failed", "--config", config).code == 0
    station.wait_for("camera.safe")
    assert site.on_camera("CAM-0001") == []
