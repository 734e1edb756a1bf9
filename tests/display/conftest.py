"""A real browser; the tests that use it are slow ones."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

SCREENSHOTS = Path(
    os.environ.get("DOCKD_SCREENSHOTS", Path(__file__).parents[2] / ".cache" / "screenshots")
)
PATIENCE_MS = 30_000
"""How long a page may take to show what it must; never reached when all is well."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


expect.set_options(timeout=PATIENCE_MS)


# Not for the session: while it runs, no other test could run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with an empty profile."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


class Pages:
    """Opens pages, and makes sure that each behaves: no script error, nothing from outside."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._pages: list[Page] = []
        self._misdeeds: list[str] = []

    def blank(
        self,
        *,
        scheme: Literal["light", "dark"] = "light",
        locale: str = "en-GB",
        width: int = 1920,
        height: int = 1080,
    ) -> Page:
        """Return a page before it is sent anywhere."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self._misdeeds.append(str(error)))
        page.on("dialog", lambda dialog: self._misdeeds.append(dialog.message))
        page.on(
            "console",
            lambda said: self._misdeeds.append(said.text) if "Security" in said.text else None,
        )
        page.on("request", lambda request: self._note_outside(page, request.url))
        self._pages.append(page)
        return page

    def open(
        self,
        url: str,
        *,
        scheme: Literal["light", "dark"] = "light",
        locale: str = "en-GB",
        width: int = 1920,
        height: int = 1080,
    ) -> Page:
        """Return a page that shows an address, on a screen of that size in pixels."""
        page = self.blank(scheme=scheme, locale=locale, width=width, height=height)
        page.goto(url)
        return page

    def _note_outside(self, page: Page, url: str) -> None:
        here = urlsplit(page.url).netloc
        if here and urlsplit(url).netloc != here:
            self._misdeeds.append(f"loads {url}")

    def forgive(self) -> None:
        """Forget what went wrong: the test wanted it."""
        self._misdeeds.clear()

    def close(self) -> None:
        """Close them."""
        for page in self._pages:
            page.context.close()
        assert not self._misdeeds


def keep_screenshot(page: Page, name: str) -> None:
    """Keep what a page shows, for people to look at."""
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Opens pages."""
    pages = Pages(browser)
    yield pages
    pages.close()
