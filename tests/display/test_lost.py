"""A page that doesn't hear of its daemon says so, and comes back by itself."""

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from dockd.station.control.views import Stage, Status
from tests.display.conftest import Pages
from tests.display.samples import camera, status
from tests.display.serving import serving

pytestmark = pytest.mark.slow

SAFE = status(camera("Bay 1", Stage.DONE))
BUSY = status(camera("Bay 1", Stage.READING))


def expect_lost(page: Page) -> None:
    lost = page.get_by_role("alert")
    expect(lost).to_contain_text("No contact with the dock")
    expect(lost).to_contain_text("Leave all cameras docked.")
    expect(page.get_by_text("Safe to take")).to_be_hidden()


def expect_shown(page: Page, words: str) -> None:
    expect(page.locator(".instruction")).to_have_text(words)
    expect(page.locator(".instruction")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_an_ended_daemon_is_told_of_instead_of_stale_tiles_until_it_is_back(pages: Pages) -> None:
    with serving(SAFE) as daemon:
        page = pages.open(daemon.url)
        expect_shown(page, "Safe to take")
        daemon.show(BUSY)
        expect(page.get_by_role("status")).to_contain_text("Leave it docked")
        daemon.stop()
        expect_lost(page)
        expect(page.get_by_role("status")).to_have_text("")
        expect(page.get_by_role("alert")).to_contain_text("Last contact at ")
        daemon.status = SAFE
        daemon.start()
        expect_shown(page, "Safe to take")


def test_the_technicians_page_tells_of_it_as_well(pages: Pages) -> None:
    with serving(SAFE) as daemon:
        page = pages.open(f"{daemon.url}technician")
        expect(page.get_by_text("Safe to take")).to_be_visible()
        daemon.stop()
        expect_lost(page)
        daemon.start()
        expect(page.get_by_text("Safe to take")).to_be_visible()


def test_a_daemon_that_gives_no_sign_of_life_is_lost(pages: Pages) -> None:
    page = pages.blank()
    page.clock.install()
    with serving(SAFE, quiet_seconds=3600) as daemon:
        page.goto(daemon.url)
        expect_shown(page, "Safe to take")
        page.clock.fast_forward(11_000)
        expect_shown(page, "Safe to take")
        page.clock.fast_forward(2_000)
        expect_lost(page)
        page.clock.fast_forward(2_500)
        expect_shown(page, "Safe to take")


def test_signs_of_life_keep_an_idle_page(pages: Pages) -> None:
    page = pages.blank()
    page.clock.install()
    with serving(SAFE, quiet_seconds=0.1) as daemon:
        page.goto(daemon.url)
        expect_shown(page, "Safe to take")
        for _ in range(3):
            page.clock.fast_forward(10_000)
            # What is heard of the daemon from now on is later than the jump.
            heard = "new EventSource('/v1/display/events').addEventListener('display', done)"
            page.evaluate(f"() => new Promise(done => {heard})")
            expect_shown(page, "Safe to take")


def test_an_error_status_does_not_end_the_attempts(pages: Pages) -> None:
    page = pages.blank()
    page.route("**/events", lambda route: route.fulfill(status=503))
    with serving(SAFE) as daemon:
        page.goto(daemon.url)
        expect_lost(page)
        page.unroute("**/events")
        expect_shown(page, "Safe to take")


def test_texts_that_do_not_come_at_once_are_asked_for_again(pages: Pages) -> None:
    page = pages.blank()
    page.route("**/texts?*", lambda route: route.abort())
    with serving(SAFE) as daemon:
        with page.expect_event("requestfailed"):
            page.goto(daemon.url)
        page.unroute("**/texts?*")
        expect_shown(page, "Safe to take")


def test_what_the_page_can_not_show_counts_as_lost(pages: Pages) -> None:
    page = pages.blank()
    page.clock.install()
    body = f'event: display\ndata: {{"version": "{SAFE.station.version}"}}\n\n'
    with serving(SAFE) as daemon:
        page.goto(daemon.url)
        expect_shown(page, "Safe to take")
        page.route(
            "**/events", lambda route: route.fulfill(content_type="text/event-stream", body=body)
        )
        daemon.stop()
        daemon.start()
        with page.expect_event("pageerror"):
            page.clock.fast_forward(2_500)
        page.clock.fast_forward(13_000)
        expect_lost(page)
    pages.forgive()


def test_what_another_version_sends_is_not_shown_by_this_page(pages: Pages) -> None:
    page = pages.blank()
    page.clock.install()
    body = 'event: display\ndata: {"version": "2.0"}\n\n'
    with serving(SAFE) as daemon:
        page.goto(daemon.url)
        expect_shown(page, "Safe to take")
        page.route(
            "**/events",
            lambda route: route.fulfill(content_type="text/event-stream", body=body),
            times=1,
        )
        daemon.stop()
        daemon.start()
        with page.expect_event("domcontentloaded"):
            page.clock.fast_forward(2_500)
        expect_shown(page, "Safe to take")


def upgraded(shown: Status) -> Status:
    station = replace(shown.station, version="2.0")
    return replace(shown, station=station)


@pytest.mark.parametrize("path", ["", "technician"])
def test_a_page_of_another_version_loads_itself_anew(pages: Pages, path: str) -> None:
    with serving(SAFE) as daemon:
        page = pages.open(daemon.url + path)
        expect(page.get_by_text("Safe to take")).to_be_visible()
        daemon.stop()
        daemon.status = upgraded(BUSY)
        with page.expect_event("domcontentloaded"):
            daemon.start()
        expect(page.get_by_text("Copying from the camera")).to_be_visible()
