"""The technicians' page in a real browser, on made-up statuses."""

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from dockd.station.control.views import LeftAloneView, Stage, Verdict
from tests.display.conftest import Pages
from tests.display.samples import STUCK, camera, every_stage, pause, status, trouble, work
from tests.display.serving import serving

pytestmark = pytest.mark.slow

SENDING = camera("Bay 2", Stage.UPLOADING, serial="BWC-2")


def open_page(pages: Pages, url: str) -> Page:
    page = pages.open(f"{url}technician")
    expect(page.locator("#verdict")).to_be_visible()
    return page


def section(page: Page, heading: str) -> str:
    return page.get_by_role("region", name=heading).inner_text()


def test_a_trouble_is_told_with_its_cause_and_its_remedy(pages: Pages) -> None:
    shown = replace(every_stage(), verdict=Verdict.NEEDS_PERSON)
    with serving(shown) as daemon:
        page = open_page(pages, daemon.url)
        expect(page.locator("#verdict")).to_have_text("A technician is needed.")
        first, second, _ = page.locator("#troubles li").all_inner_texts()
        assert "BWC-00451, clip 4711" in first
        assert "Clip 4711: the server refused it: 413 Content Too Large" in first
        assert "What to do: raise max_clip_size" in first
        assert "needs operator action" in first
        assert "5 tries · next try at" in second


def test_cameras_are_listed_with_what_goes_on(pages: Pages) -> None:
    with serving(every_stage()) as daemon:
        page = open_page(pages, daemon.url)
        rows = page.get_by_role("region", name="Cameras").get_by_role("row")
        expect(rows).to_have_count(1 + len(Stage))
        expect(rows.nth(3)).to_contain_text("Sending to the server")
        expect(rows.nth(3)).to_contain_text("4 acknowledged, 1 uploading and 4 spooled")
        expect(rows.nth(3).get_by_role("progressbar")).to_have_attribute(
            "aria-valuetext", "46%, 4 min left"
        )
        expect(rows.nth(6)).to_contain_text("Safe to take")


def test_what_is_under_way_is_listed_by_number(pages: Pages) -> None:
    with serving(status(SENDING, work=[work(SENDING, 7)])) as daemon:
        page = open_page(pages, daemon.url)
        row = page.get_by_role("region", name="Under way").get_by_role("row").nth(1)
        for words in ["clip 7", "Bay 2: BWC-2", "Uploading", "42% · 2 min left", "11.3 MiB/s"]:
            expect(row).to_contain_text(words)


def test_server_spool_clips_and_pauses_are_told(pages: Pages) -> None:
    shown = status(SENDING, pauses=[pause()])
    with serving(shown) as daemon:
        page = open_page(pages, daemon.url)
        assert "Reachable" in section(page, "Server")
        assert "38 GiB of 200 GiB" in section(page, "Spool")
        assert "5,127" in section(page, "Clips")
        assert "line under repair" in section(page, "Pauses")
        target = replace(shown.target, reachable=False, gives_receipts=False, last_success=None)
        daemon.show(replace(shown, target=target, pauses=[]))
        expect(page.locator("#server")).to_contain_text("The server is unreachable.")
        expect(page.locator("#server")).to_contain_text("No: nothing is cleared")
        expect(page.locator("#pauses")).to_have_text("Nothing is paused.")


def test_an_idle_station_says_that_all_is_well(pages: Pages) -> None:
    target = replace(status().target, reachable=None)
    with serving(status(bays=["Bay 1"], clips={}, target=target)) as daemon:
        page = open_page(pages, daemon.url)
        expect(page.locator("#verdict")).to_have_text("All is well.")
        expect(page.locator("#troubles")).to_have_text("Nothing is stuck.")
        expect(page.locator("#server")).to_contain_text("Not contacted yet")


def test_nothing_is_well_or_safe_over_files_that_nobody_has_read(pages: Pages) -> None:
    left = LeftAloneView(files=3, size=100)
    shown = status(camera("Bay 1", Stage.DONE, left_alone=left), verdict=Verdict.WELL)
    with serving(shown) as daemon:
        page = open_page(pages, daemon.url)
        expect(page.locator("#verdict")).to_have_text(
            "Nothing is stuck, but not all files were read."
        )
        expect(page.locator("#verdict")).not_to_have_attribute("data-verdict", "well")
        row = page.get_by_role("region", name="Cameras").get_by_role("row").nth(1)
        expect(row).to_contain_text("Not all files read")
        expect(row).not_to_contain_text("Safe to take")


def test_no_clip_is_named(pages: Pages) -> None:
    shown = status(SENDING, troubles=[STUCK], work=[work(SENDING, 7)])
    with serving(shown) as daemon:
        text = open_page(pages, daemon.url).locator("body").inner_text()
    assert not any(part in text for part in ("PC1", "20260114", ".mp4"))


def test_markup_in_anything_is_only_text(pages: Pages) -> None:
    hostile = '<img src="//evil.example/x" onerror="alert(1)">'
    device = camera(hostile, Stage.FAILING, serial=hostile, profile=hostile)
    told = trouble(what=hostile, hint=hostile, camera=device.id)
    shown = status(device, troubles=[told], work=[work(device, 1)], pauses=[pause(reason=hostile)])
    with serving(shown) as daemon:
        page = open_page(pages, daemon.url)
        expect(page.locator("#troubles .what")).to_have_text(hostile)
        assert page.locator("body").inner_text().count(hostile) >= 7
        expect(page.locator("img, main script")).to_have_count(0)


def test_the_two_pages_lead_to_each_other(pages: Pages) -> None:
    with serving(every_stage()) as daemon:
        page = open_page(pages, daemon.url)
        page.get_by_role("link", name="Bays").click()
        expect(page.locator(".tile").first).to_be_visible()
        page.get_by_role("link", name="For technicians").click()
        expect(page.locator("#verdict")).to_be_visible()
