"""What axe-core finds on the pages: nothing."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from dockd.station.control.views import Verdict
from tests.display.conftest import Pages, keep_screenshot
from tests.display.samples import every_stage, many, pause, work
from tests.display.serving import serving
from tests.fetching import npm_ci

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
RUN = """async () => {
    const { violations, incomplete } = await axe.run();
    const told = (rule) => `${rule.id}: ${rule.nodes.map(n => n.html.slice(0, 120)).join(" | ")}`;
    return [...violations.map(told), ...incomplete.map(told)];
}"""

Scheme = Literal["light", "dark"]
BUSY = replace(
    every_stage(),
    pauses=[pause(), pause("wipes")],
    verdict=Verdict.NEEDS_PERSON,
    target=replace(many(1).target, reachable=False),
    work=[work(every_stage().cameras[2], 7)],
)


@pytest.fixture(scope="module")
def axe() -> str:
    """The checker's source, as its lock file pins it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    npm_ci(HERE)
    return (HERE / "node_modules" / "axe-core" / "axe.min.js").read_text()


def faults(page: Page, axe: str) -> list[str]:
    """Return what breaks a rule, and what the checker could not decide."""
    page.evaluate(axe)
    found: list[str] = page.evaluate(RUN)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "technician"])
def test_a_busy_station_in_trouble(pages: Pages, axe: str, path: str, scheme: Scheme) -> None:
    with serving(BUSY) as daemon:
        page = pages.open(daemon.url + path, scheme=scheme)
        expect(page.locator("#current")).to_be_visible()
        keep_screenshot(page, f"busy-{path or 'bays'}-{scheme}")
        assert faults(page, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_64_bays(pages: Pages, axe: str, scheme: Scheme) -> None:
    with serving(many(64)) as daemon:
        page = pages.open(daemon.url, scheme=scheme)
        expect(page.locator("#current")).to_be_visible()
        keep_screenshot(page, f"64-bays-{scheme}")
        assert faults(page, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_lost_daemon(pages: Pages, axe: str, scheme: Scheme) -> None:
    with serving(BUSY) as daemon:
        page = pages.open(daemon.url, scheme=scheme)
        expect(page.locator("#current")).to_be_visible()
        daemon.stop()
        expect(page.locator("#lost")).to_be_visible()
        keep_screenshot(page, f"lost-{scheme}")
        assert faults(page, axe) == []
