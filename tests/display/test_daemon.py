"""Both pages on a real station, with cameras that are folders and a real receiver."""

import os
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.display.conftest import Pages, keep_screenshot
from tests.processes.support import Process, Site
from tests.support import unreadable

pytestmark = pytest.mark.slow

MIB = 2**20
HOST = "127.0.0.1"
RECORD_STAGES = """() => {
    window.stages = [];
    const note = () => {
        const stage = document.querySelector(".tile")?.dataset.stage;
        if (stage && stage !== stages.at(-1)) stages.push(stage);
    };
    new MutationObserver(note).observe(document.body, {
        subtree: true, childList: true, attributes: true, attributeFilter: ["data-stage"],
    });
    note();
}"""


class Dock:
    """A station with its display, which keeps its port when it is started again."""

    def __init__(self, site: Site) -> None:
        self.site = site
        with socket.create_server((HOST, 0)) as free:
            self._port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/"

    def configure(
        self, *cameras: str, bays: int = 0, target: str = "", policy: str = "delete"
    ) -> Path:
        config = self.site.configure("camden", *cameras, target=target, policy=policy)
        nowhere = 'socket = ""\nlisten = ""'
        here = f'socket = "{self._socket}"\nlisten = "{HOST}:{self._port}"'
        text = config.read_text().replace(nowhere, here)
        for number in range(1, bays + 1):
            text += f'\n[[bays]]\nname = "{number}"\nport = "none-{number}"\n'
        config.write_text(text)
        return config

    def start(self, config: Path) -> Process:
        station = self.site.start_station(config)
        station.wait_for("control.listens", lambda one: one["address"].startswith("http"))
        return station

    @property
    def _socket(self) -> Path:
        return self.site.folder / "control.sock"

    def order(self, name: str, **body: object) -> None:
        """Give an order on the control socket."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._socket))) as client:
            client.post(f"http://dockd/v1/{name}", json=body).raise_for_status()


@pytest.fixture
def dock(site: Site) -> Dock:
    return Dock(site)


def tile(page: Page, camera: str) -> Locator:
    return page.locator(".tile", has_text=camera)


def expect_tile(page: Page, camera: str, instruction: str, stage: str) -> None:
    expect(tile(page, camera).locator(".instruction")).to_have_text(instruction)
    expect(tile(page, camera).locator(".stage")).to_have_text(stage)


def test_a_camera_is_followed_from_the_dock_to_safe_to_take(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.start_receiver("camden")
    camera = site.camera("CAM-1")
    dock.start(dock.configure("CAM-1", target='bandwidth = "12 MiB"'))
    page = pages.open(dock.url)
    expect(page.locator(".tile")).to_have_count(1)
    page.evaluate(RECORD_STAGES)
    site.fill("CAM-1", {f"{number}.mp4": os.urandom(12 * MIB) for number in range(4)})
    expect_tile(page, "CAM-1", "Leave it docked", "Sending to the server")
    bar = page.get_by_role("progressbar", name=f"Progress of {camera.name}")
    expect(bar).to_be_visible()
    expect(tile(page, "CAM-1").locator(".left")).to_contain_text("under a minute")
    keep_screenshot(page, "daemon-uploading")
    expect_tile(page, "CAM-1", "Safe to take", "Everything is stored")
    assert site.on_camera("CAM-1") == []
    stages = page.evaluate("stages")
    # The first clip may be read, and on its way, between two updates of the page.
    uploads = [number for number, stage in enumerate(stages) if stage == "uploading"]
    assert stages.index("reading") < uploads[-1]
    # An empty camera is safe to take, and so is this one, but it never was in between.
    assert stages[0] == stages[-1] == "done"
    assert stages.count("done") == 2


def test_a_large_clip_is_shown_while_it_is_read(site: Site, dock: Dock, pages: Pages) -> None:
    site.start_receiver("camden").stop()
    with (site.camera("CAM-1") / "long.mp4").open("wb") as clip:
        clip.truncate(1024 * MIB)
    dock.start(dock.configure("CAM-1"))
    page = pages.open(dock.url)
    expect_tile(page, "CAM-1", "Leave it docked", "Copying from the camera")


def test_an_unreachable_server_is_shown_until_it_answers(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.start_receiver("camden").stop()
    site.fill("CAM-1", {"a.mp4": b"a"})
    dock.start(dock.configure("CAM-1"))
    page = pages.open(dock.url)
    notice = page.get_by_text("The server is unreachable. Retrying until it responds.")
    expect(notice).to_be_visible()
    expect(tile(page, "CAM-1").locator(".instruction")).to_have_text("Leave it docked")
    keep_screenshot(page, "daemon-unreachable")
    site.start_receiver()
    expect_tile(page, "CAM-1", "Safe to take", "Everything is stored")
    expect(notice).to_be_hidden()


def test_paused_uploads_and_wipes_are_shown_until_they_are_resumed(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.start_receiver("camden")
    dock.start(dock.configure("CAM-1"))
    page = pages.open(dock.url)
    expect(page.locator(".tile")).to_have_count(1)
    dock.order("pause", what=["uploads", "wipes"], reason="line <b>under</b> repair")
    notices = page.locator("#notices li", has_text=": line <b>under</b> repair")
    expect(notices).to_have_count(2)
    site.fill("CAM-1", {"a.mp4": b"a"})
    expect_tile(page, "CAM-1", "Leave it docked", "Waiting")
    keep_screenshot(page, "daemon-paused")
    dock.order("resume", what=["uploads"])
    expect(notices).to_have_count(1)
    expect_tile(page, "CAM-1", "Leave it docked", "Waiting")
    dock.order("resume", what=["wipes"])
    expect(page.locator("#notices")).to_be_hidden()
    expect_tile(page, "CAM-1", "Safe to take", "Everything is stored")


def test_a_clip_that_can_not_be_read_calls_a_technician_who_reads_why(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.fill("CAM-1", {"PC1/20260114.mp4": b"good", "PC1/20260115.mp4": b""})
    with unreadable(site.camera("CAM-1") / "PC1/20260115.mp4"):
        site.start_receiver("camden")
        station = dock.start(dock.configure("CAM-1"))
        page = pages.open(dock.url)
        expect_tile(page, "CAM-1", "Call a technician", "Stuck")
        expect(page.locator("#notices")).to_have_text("A technician is needed: CAM-1.")
        keep_screenshot(page, "daemon-stuck")
        page.get_by_role("link", name="For technicians").click()
        trouble = page.locator("#troubles li")
        expect(trouble).to_contain_text("dockd resync --failed")
        expect(trouble).to_contain_text("needs operator action")
        keep_screenshot(page, "daemon-stuck-technician")
        body = page.locator("body").inner_text()
        assert not any(part in body for part in ("PC1", "20260115", ".mp4"))
        station.stop()


def test_a_pause_outlasts_the_daemon_and_a_wipe_is_shown(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.start_receiver("camden")
    config = dock.configure("CAM-1")
    station = dock.start(config)
    station.wait_for("camera.safe")
    dock.order("pause", what=["wipes"], reason="audit")
    with (site.camera("CAM-1") / "long.mp4").open("wb") as clip:
        clip.truncate(1024 * MIB)
    station.wait_for("clip.acknowledged")
    station.stop()
    # What was read at another docking is read again before it goes: that can be seen.
    dock.start(config)
    page = pages.open(dock.url)
    notice = page.locator("#notices li", has_text=": audit")
    expect(notice).to_be_visible()
    expect_tile(page, "CAM-1", "Leave it docked", "Waiting")
    page.evaluate(RECORD_STAGES)
    dock.order("resume", what=["wipes"])
    expect_tile(page, "CAM-1", "Safe to take", "Everything is stored")
    assert "wiping" in page.evaluate("stages")
    expect(notice).to_be_hidden()


def test_a_camera_that_can_not_be_worked_on_is_shown_as_failing(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.start_receiver("camden")
    dock.start(dock.configure("CAM-1"))
    page = pages.open(dock.url)
    expect_tile(page, "CAM-1", "Safe to take", "Everything is stored")
    with closing(sqlite3.connect(site.folder / "camden" / "ledger.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        site.fill("CAM-1", {"a.mp4": b"a"})
        expect_tile(page, "CAM-1", "Leave it docked", "Failed, retrying")
    expect_tile(page, "CAM-1", "Safe to take", "Everything is stored")
    assert site.on_camera("CAM-1") == []


def test_a_camera_that_is_looked_through_is_left_docked(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.start_receiver("camden")
    station = dock.start(dock.configure("CAM-1"))
    station.wait_for("camera.safe")
    site.camera("CAM-1").rename(site.folder / "taken")
    station.wait_for("camera.undocked")
    page = pages.open(dock.url)
    with closing(sqlite3.connect(site.folder / "camden" / "ledger.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        (site.folder / "taken").rename(site.folder / "cameras" / "CAM-1")
        expect_tile(page, "CAM-1", "Leave it docked", "Looking for clips")
    expect_tile(page, "CAM-1", "Safe to take", "Everything is stored")


def test_a_camera_that_leaves_and_one_that_comes_are_followed(
    site: Site, dock: Dock, pages: Pages
) -> None:
    site.start_receiver("camden")
    site.camera("CAM-1")
    dock.start(dock.configure("CAM-1", "CAM-2", bays=2))
    page = pages.open(dock.url)
    expect(page.locator(".tile")).to_have_count(4)
    assert page.locator(".bay").all_inner_texts()[:2] == ["Bay 1", "Bay 2"]
    site.camera("CAM-2").rename(site.folder / "taken")
    expect(page.locator(".tile")).to_have_count(3)
    (site.folder / "taken").rename(site.folder / "cameras" / "CAM-2")
    expect(page.locator(".tile")).to_have_count(4)


@pytest.mark.parametrize("path", ["", "technician"])
def test_a_killed_daemon_is_told_of_and_its_successor_shown(
    site: Site, dock: Dock, pages: Pages, path: str
) -> None:
    site.start_receiver("camden")
    site.fill("CAM-1", {"a.mp4": b"a"})
    config = dock.configure("CAM-1")
    station = dock.start(config)
    page = pages.open(dock.url + path)
    safe = page.get_by_text("Safe to take", exact=True)
    expect(safe).to_be_visible()
    station.kill()
    expect(page.get_by_role("alert")).to_contain_text("No contact with the dock")
    expect(safe).to_be_hidden()
    dock.start(config)
    expect(safe).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_daemon_that_hangs_is_told_of(site: Site, dock: Dock, pages: Pages) -> None:
    site.start_receiver("camden")
    site.fill("CAM-1", {"a.mp4": b"a"})
    station = dock.start(dock.configure("CAM-1"))
    page = pages.open(dock.url)
    safe = page.get_by_text("Safe to take", exact=True)
    expect(safe).to_be_visible()
    station.signal(signal.SIGSTOP)
    try:
        expect(page.get_by_role("alert")).to_contain_text("Leave all cameras docked.")
        expect(safe).to_be_hidden()
    finally:
        station.signal(signal.SIGCONT)
    expect(safe).to_be_visible()


def test_a_daemon_stops_while_pages_listen(site: Site, dock: Dock, pages: Pages) -> None:
    site.start_receiver("camden")
    site.fill("CAM-1", {"a.mp4": b"a"})
    station = dock.start(dock.configure("CAM-1"))
    page = pages.open(dock.url)
    expect(page.get_by_text("Safe to take", exact=True)).to_be_visible()
    assert station.stop() == 0


def test_64_bays_are_on_one_screen(site: Site, dock: Dock, pages: Pages) -> None:
    site.start_receiver("camden")
    cameras = [f"CAM-{number}" for number in range(1, 5)]
    for camera in cameras:
        site.fill(camera, {"a.mp4": camera.encode()})
    dock.start(dock.configure(*cameras, bays=60))
    page = pages.open(dock.url, scheme="dark")
    expect(page.locator(".tile")).to_have_count(64)
    expect(page.get_by_text("Safe to take", exact=True)).to_have_count(4)
    keep_screenshot(page, "daemon-64-bays")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
