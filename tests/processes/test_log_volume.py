"""How much a station logs: an idle day is a handful of lines, an outage is no flood."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from dockd.base import logs
from dockd.host.notify import Notifier
from dockd.station import config as configuration
from dockd.station.app import Seams, Station
from dockd.station.config import FolderConfig, TargetConfig
from tests import virtual
from tests.processes.support import Site

pytestmark = pytest.mark.slow

DAY = 24 * 3600.0
CAMERAS = ["CAM-1", "CAM-2", "CAM-3"]
CLIPS = 3
"""On each of the cameras."""


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(style="json", stream=stream)
    yield stream
    logs.configure()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Cameras, and nobody at the server's address."""
    site = Site(tmp_path)
    site.enrol("camden")
    site.url = "http://127.0.0.1:8443/"
    for camera in CAMERAS:
        site.camera(camera)
    return site


def fill(site: Site) -> None:
    for camera in CAMERAS:
        site.fill(camera, {f"{clip}.mp4": f"{camera} {clip}".encode() for clip in range(CLIPS)})


def a_day(
    site: Site, log: io.StringIO, answer: Callable[[httpx.Request], httpx.Response]
) -> Counter[str]:
    """Let a station work for a day with a server that answers so; returns what it logged."""
    path = site.configure("camden", *CAMERAS)
    config = configuration.load(path)
    # Retries and looks as often as they are by default.
    config = config.model_copy(
        update={
            "target": TargetConfig.model_validate(
                config.target.model_dump(exclude={"retry_first_seconds", "retry_cap_seconds"})
            ),
            "folders": tuple(
                FolderConfig(path=folder.path, serial=folder.serial, profile=folder.profile)
                for folder in config.folders
            ),
        }
    )

    async def synchronised() -> bool:
        return True

    async def main() -> None:
        seams = Seams(
            clock=virtual.VirtualClock(),
            transport=httpx.MockTransport(answer),
            synchronised=synchronised,
        )
        station = Station(config, seams)
        await virtual.run_for(DAY, station.run(Notifier({})))

    virtual.run(main())
    return Counter(json.loads(line)["event"] for line in log.getvalue().splitlines())


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


A_LASTING_FAILURE = 29
"""Lines in a day: at once, after 1, 3, 7, 15 and 31 minutes, then every hour."""


def test_an_idle_day_with_docked_cameras_is_a_handful_of_lines(
    site: Site, log: io.StringIO
) -> None:
    assert a_day(site, log, unreachable) == {
        "daemon.started": 1,
        "camera.docked": len(CAMERAS),
        "camera.safe": len(CAMERAS),
        "camera.undocked": len(CAMERAS),
        "journal.unwitnessed": A_LASTING_FAILURE,
    }


def test_a_day_without_the_server_is_a_line_an_hour(site: Site, log: io.StringIO) -> None:
    fill(site)
    assert a_day(site, log, unreachable) == {
        "daemon.started": 1,
        "camera.docked": len(CAMERAS),
        "camera.looked_through": len(CAMERAS),
        "camera.undocked": len(CAMERAS),
        "clip.spooled": len(CAMERAS) * CLIPS,
        "journal.unwitnessed": A_LASTING_FAILURE,
        "target.down": A_LASTING_FAILURE,
    }


def test_a_day_of_refused_receipts_is_a_line_an_hour_for_each_clip_under_way(
    site: Site, log: io.StringIO
) -> None:
    fill(site)

    def nonsense(_: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "application/jose"}
        return httpx.Response(200, content=b"nonsense", headers=headers)

    said = a_day(site, log, nonsense)
    clips = len(CAMERAS) * CLIPS
    assert clips <= said["receipt.refused"] <= clips * A_LASTING_FAILURE
    assert said["clip.retrying"] == 0
