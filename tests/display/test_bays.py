"""The bay display in a real browser, on made-up statuses."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dockd.station.control.pages import FOLDER
from dockd.station.control.views import LeftAloneView, Stage, Status, Verdict
from tests.display.conftest import Pages, keep_screenshot
from tests.display.samples import camera, every_stage, many, pause, status
from tests.display.serving import Daemon, serving

pytestmark = pytest.mark.slow

LEGIBLE_PX = 20
"""A 24-inch screen at 1080p shows this as 5.5 mm: read at two metres with ordinary eyes."""

SHOWN = """tile => ({
    label: tile.getAttribute("aria-label"),
    icon: tile.querySelector("use").getAttribute("href").split("#")[1],
    colour: getComputedStyle(tile).backgroundColor,
    instruction: tile.querySelector(".instruction").innerText,
    stage: tile.querySelector(".stage").innerText,
})"""
CLIPPED = """() => [...document.querySelectorAll(".tile h2, .tile p")]
    .filter(part => part.scrollWidth > part.clientWidth + 1)
    .map(part => part.textContent)"""
OUTSIDE = """() => [...document.querySelectorAll(".tile")].flatMap(tile => {
    const frame = tile.getBoundingClientRect();
    return [...tile.querySelectorAll("*")].filter(part => {
        const box = part.getBoundingClientRect();
        return box.bottom > frame.bottom || box.right > frame.right
            || frame.bottom > innerHeight || frame.right > innerWidth;
    }).map(part => part.className.baseVal ?? part.className);
})"""
SCROLLS = """() => [
    document.documentElement.scrollWidth > innerWidth,
    document.documentElement.scrollHeight > innerHeight,
]"""


def texts_of(page: Page, selector: str) -> list[str]:
    expect(page.locator(".tile").first).to_be_visible()
    return page.locator(selector).all_inner_texts()


@pytest.fixture
def stages() -> Iterator[Daemon]:
    with serving(every_stage()) as daemon:
        yield daemon


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_stage_differs_in_words_and_in_shape(
    pages: Pages, stages: Daemon, scheme: str
) -> None:
    page = pages.open(stages.url, scheme="dark" if scheme == "dark" else "light")
    assert texts_of(page, ".instruction") == [
        *["Leave it docked"] * 5,
        "Safe to take",
        "Call a technician",
        "Leave it docked",
        "Call a technician",
        "Empty",
        "Empty",
    ]
    shown = page.locator(".tile").evaluate_all(f"tiles => tiles.map({SHOWN})")
    keep_screenshot(page, f"stages-{scheme}")
    assert [one["icon"] for one in shown] == [*Stage, "empty", "empty"]
    assert len({one["stage"] for one in shown}) == len(Stage) + 1
    colours = {one["instruction"]: one["colour"] for one in shown}
    assert len(set(colours.values())) == len(colours)
    assert shown[5]["label"] == "Bay 6, camera BWC-00370: Safe to take."
    drawn = page.locator("use").evaluate_all("uses => uses.every(use => use.getBBox().width > 5)")
    assert drawn


def test_a_camera_with_files_that_nobody_has_read_is_not_green(pages: Pages) -> None:
    left = LeftAloneView(files=3, size=100)
    with serving(status(camera("1", Stage.DONE), camera("2", Stage.DONE, left_alone=left))) as one:
        page = pages.open(one.url)
        assert texts_of(page, ".instruction") == ["Safe to take", "Not all files read"]
        assert texts_of(page, ".stage") == ["Everything is stored", "3 files not read"]
        first, second = page.locator(".tile").evaluate_all(f"tiles => tiles.map({SHOWN})")
        assert first["colour"] != second["colour"]


def test_progress_tells_share_and_time_left(pages: Pages, stages: Daemon) -> None:
    page = pages.open(stages.url)
    bar = page.get_by_role("progressbar", name="Progress of Bay 3")
    expect(bar).to_have_attribute("aria-valuetext", "46%, 4 min left")
    expect(page.locator(".tile").nth(2).locator(".left")).to_have_text("46%4 min left")
    # Nothing to tell of: no total yet, done, stuck, refused, empty.
    for index in (0, 5, 6, 8, 9):
        expect(page.locator(".tile").nth(index).get_by_role("progressbar")).to_be_hidden()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "under a minute"),
        (61, "2 min left"),
        (3541, "1 h 0 min left"),
        (9000, "2 h 30 min left"),
    ],
)
def test_time_left_is_told_in_words(pages: Pages, seconds: int, words: str) -> None:
    with serving(status(camera("B", Stage.UPLOADING, seconds_left=seconds))) as daemon:
        page = pages.open(daemon.url)
        expect(page.locator(".left span")).to_have_text(words)


def test_what_is_not_all_there_is_not_told_as_all_there(pages: Pages) -> None:
    nearly = camera("B", Stage.UPLOADING, bytes_done=10**9 - 1, bytes_total=10**9)
    with serving(status(nearly)) as daemon:
        expect(pages.open(daemon.url).locator(".left b")).to_have_text("99%")


@pytest.mark.parametrize("count", [1, 2, 3, 6, 12, 17, 24, 33, 48, 64])
def test_all_bays_are_on_the_screen_and_legible(pages: Pages, count: int) -> None:
    shown = replace(many(count), pauses=[pause(), pause("wipes")])
    with serving(shown) as daemon:
        page = pages.open(daemon.url)
        assert len(texts_of(page, ".tile")) == count
        keep_screenshot(page, f"bays-{count}")
        assert page.evaluate(SCROLLS) == [False, False]
        assert page.evaluate(CLIPPED) == []
        assert page.evaluate(OUTSIDE) == []
        size = page.locator(".instruction").first.evaluate("e => getComputedStyle(e).fontSize")
        assert float(size.removesuffix("px")) >= LEGIBLE_PX


def test_a_telephone_scrolls_downwards_only(pages: Pages) -> None:
    with serving(many(64)) as daemon:
        page = pages.open(daemon.url, width=390, height=800)
        assert len(texts_of(page, ".tile")) == 64
        keep_screenshot(page, "telephone")
        assert page.evaluate(SCROLLS) == [False, True]


def columns(page: Page) -> int:
    expect(page.locator(".tile").first).to_be_visible()
    style = "e => getComputedStyle(e).gridTemplateColumns.split(' ').length"
    count: int = page.locator("#tiles").evaluate(style)
    return count


def in_trouble(bays: int, *troubled: int) -> Status:
    """Return a dock where some of the bays, by number, need a technician."""
    cameras = [
        camera(str(bay), Stage.STUCK if bay in troubled else Stage.UPLOADING)
        for bay in range(1, bays + 1)
    ]
    return status(*cameras, verdict=Verdict.NEEDS_PERSON)


@pytest.mark.parametrize(("width", "height"), [(800, 480), (1920, 1080)])
def test_a_small_screen_turns_pages_with_trouble_first_and_names_it(
    pages: Pages, width: int, height: int
) -> None:
    with serving(in_trouble(64, 23, 62)) as daemon:
        page = pages.open(daemon.url, width=width, height=height)
        bays = texts_of(page, ".bay")
        keep_screenshot(page, f"trouble-{width}")
        assert notices(page) == ["A technician is needed: Bay 23 and Bay 62."]
        assert page.evaluate(SCROLLS) == [False, False]
        assert page.evaluate(OUTSIDE) == []
        if width == 1920:
            assert bays == [f"Bay {number}" for number in range(1, 65)]
            return
        assert bays[:3] == ["Bay 23", "Bay 62", "Bay 1"]
        expect(page.locator("#page")).to_have_text("Page 1 of 4")
        seen = {*bays}
        for number in (2, 3, 4):
            expect(page.locator("#page")).to_have_text(f"Page {number} of 4")
            seen |= {*texts_of(page, ".bay")}
        assert len(seen) == 64
        expect(page.locator("#page")).to_have_text("Page 1 of 4")


@pytest.mark.parametrize("sign", ["touch", "pointer"])
def test_pages_turn_again_once_nobody_is_at_a_tile_any_more(
    pages: Pages, tmp_path: Path, sign: str
) -> None:
    """A touch leaves the focus behind, and a pointer rests where it was left."""
    hasty = shutil.copytree(str(FOLDER), tmp_path / "display") / "bays.js"
    hasty.write_text(hasty.read_text().replace("8_000", "1_000").replace("30_000", "3_000"))
    with serving(many(64), folder=hasty.parent) as daemon:
        page = pages.open(daemon.url, width=800, height=480)
        first = page.locator(".tile").first
        if sign == "touch":
            first.focus()
            first.dispatch_event("pointerdown")
        else:
            first.hover()
        shown = page.locator("#page").inner_text()
        expect(page.locator("#page")).not_to_have_text(shown)


@pytest.mark.parametrize("count", [3, 12, 24, 33])
@pytest.mark.parametrize(("width", "height"), [(800, 480), (1280, 800)])
def test_tiles_stay_where_they_are_when_a_notice_comes(
    pages: Pages, count: int, width: int, height: int
) -> None:
    with serving(many(count)) as daemon:
        page = pages.open(daemon.url, width=width, height=height)
        before = columns(page)
        daemon.show(replace(many(count), pauses=[pause(), pause("wipes")]))
        assert len(notices(page)) == 2
        assert columns(page) == before
        assert page.evaluate(SCROLLS) == [False, False]


def test_columns_are_those_of_the_dock(pages: Pages) -> None:
    with serving(many(12), columns=2) as daemon:
        page = pages.open(daemon.url)
        assert columns(page) == 2
        assert page.evaluate(SCROLLS) == [False, False]
        assert page.evaluate(OUTSIDE) == []


def test_a_long_serial_leaves_the_bays_name_whole_and_shows_its_end(pages: Pages) -> None:
    cameras = [
        camera(str(bay), Stage.UPLOADING, serial=f"BWC-2026-EVIDENCE-{bay:010}")
        for bay in range(1, 25)
    ]
    with serving(status(*cameras)) as daemon:
        page = pages.open(daemon.url, width=1280, height=800)
        assert texts_of(page, ".bay")[23] == "Bay 24"
        keep_screenshot(page, "long-serials")
        assert not [one for one in page.evaluate(CLIPPED) if one.startswith("Bay ")]
        last = page.locator(".camera bdi").last.bounding_box()
        frame = page.locator(".camera").last.bounding_box()
        assert last is not None
        assert frame is not None
        assert last["x"] + last["width"] <= frame["x"] + frame["width"] + 1
        assert last["x"] < frame["x"]


def test_a_long_reason_stays_on_the_screen(pages: Pages) -> None:
    held = [pause(reason="because " * 25), pause("wipes", reason="W" * 200)]
    with serving(replace(many(12), pauses=held)) as daemon:
        page = pages.open(daemon.url, width=800, height=480)
        assert len(notices(page)) == 2
        keep_screenshot(page, "long-reason")
        assert page.evaluate(SCROLLS) == [False, False]
        assert page.evaluate(OUTSIDE) == []


def test_a_kiosk_leads_officers_nowhere(pages: Pages) -> None:
    with serving(many(6)) as daemon:
        page = pages.open(daemon.url)
        expect(page.get_by_role("link")).to_have_count(1)
        page = pages.open(f"{daemon.url}kiosk")
        expect(page.locator(".tile")).to_have_count(6)
        expect(page.get_by_role("link")).to_have_count(0)


def test_the_tiles_follow_the_window(pages: Pages) -> None:
    with serving(many(12)) as daemon:
        page = pages.open(daemon.url)
        expect(page.locator(".tile").first).to_be_visible()
        page.set_viewport_size({"width": 1080, "height": 1920})
        page.wait_for_function(f"() => !({SCROLLS})().includes(true)")
        assert page.evaluate(OUTSIDE) == []


def test_changes_are_shown_as_they_come_and_told_to_screen_readers(pages: Pages) -> None:
    before = [camera("Bay 1", Stage.UPLOADING), camera("Bay 2", Stage.READING)]
    with serving(status(*before)) as daemon:
        page = pages.open(daemon.url)
        expect(page.locator(".instruction").first).to_have_text("Leave it docked")
        changes = page.get_by_role("status")
        expect(changes).to_have_text("")
        daemon.show(status(camera("Bay 1", Stage.DONE, serial="BWC-1"), before[1]))
        expect(page.locator(".instruction").first).to_have_text("Safe to take")
        expect(changes).to_have_text("Bay 1, camera BWC-1: Safe to take.")
        daemon.show(status(before[1], bays=["Bay 1", "Bay 2"]))
        expect(changes).to_have_text("Bay 1: Empty.")


def test_the_keyboard_goes_through_the_bays_in_order_and_stays_where_it_is(pages: Pages) -> None:
    shown = many(6)
    with serving(shown) as daemon:
        page = pages.open(daemon.url)
        expect(page.locator(".tile")).to_have_count(6)
        focused = "document.activeElement.querySelector('.bay')?.innerText"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "A"
        for bay in shown.bays[:4]:
            page.keyboard.press("Tab")
            assert page.evaluate(focused) == bay
        daemon.show(status(camera("Bay 4", Stage.DONE), bays=shown.bays))
        expect(page.locator(".instruction").first).to_have_text("Empty")
        assert page.evaluate(focused) == "Bay 4"
        keep_screenshot(page, "focus")


def notices(page: Page) -> list[str]:
    expect(page.locator("#notices")).to_be_visible()
    return page.locator("#notices li").all_inner_texts()


def test_pauses_are_shown_with_their_reason(pages: Pages) -> None:
    wipes = pause("wipes", since="2026-01-01T10:00:00.000Z", until="2026-01-02T18:30:00.000Z")
    with serving(replace(many(6), pauses=[pause(), wipes])) as daemon:
        page = pages.open(daemon.url)
        uploads_notice, wipes_notice = notices(page)
        keep_screenshot(page, "paused")
        assert uploads_notice.startswith("Uploads are paused since ")
        assert uploads_notice.endswith(": line under repair")
        assert wipes_notice.startswith("Cameras are not cleared from 1 Jan 2026")
        assert "to 2 Jan 2026" in wipes_notice
        daemon.show(many(6))
        expect(page.locator("#notices")).to_be_hidden()


def test_an_unreachable_server_and_a_station_in_need_are_shown(pages: Pages) -> None:
    target = replace(status().target, reachable=False)
    shown = replace(many(6), target=target, verdict=Verdict.NEEDS_PERSON)
    with serving(shown) as daemon:
        assert notices(pages.open(daemon.url)) == [
            "The server is unreachable. Retrying until it responds.",
            "A technician is needed.",
        ]


def test_places_have_names_that_people_use(pages: Pages) -> None:
    usb = "pci-0000:00:14.0-usb-0:1.3"
    shown = status(camera("3", Stage.READING), bays=["3", "Desk", usb, "/srv/cameras/blue"])
    with serving(shown) as daemon:
        page = pages.open(daemon.url)
        assert texts_of(page, ".bay") == ["Bay 3", "Desk", usb, "blue"]
        expect(page.get_by_role("article", name="Bay 3, camera ")).to_be_visible()


HOSTILE = '<img src="//evil.example/x" onerror="alert(1)">{bay}$&\u202e<script>alert(2)</script>'


def hostile() -> Status:
    shown = status(camera(HOSTILE, Stage.DONE, serial=HOSTILE), pauses=[pause(reason=HOSTILE)])
    station = replace(shown.station, id=HOSTILE)
    return replace(shown, station=station)


def test_markup_in_a_serial_a_bay_or_a_reason_is_only_text(pages: Pages) -> None:
    with serving(hostile()) as daemon:
        page = pages.open(daemon.url)
        assert texts_of(page, ".camera") == texts_of(page, ".bay") == [HOSTILE]
        expect(page.locator(".tile")).to_have_attribute(
            "aria-label", f"{HOSTILE}, camera {HOSTILE}: Safe to take."
        )
        assert notices(page)[0].endswith(f": {HOSTILE}")
        expect(page.locator("#station")).to_have_text(f"Dock {HOSTILE}")
        expect(page.locator("img, main script")).to_have_count(0)
        keep_screenshot(page, "hostile")
        assert page.evaluate(SCROLLS) == [False, False]
        assert page.evaluate(OUTSIDE) == []
        for name in (".bay", ".camera"):
            box = page.locator(name).bounding_box()
            assert box is not None
            assert box["width"] > 600


# Languages


@pytest.fixture
def translated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A station whose pages have a second, made-up language, which is read from the right."""
    folder = tmp_path_factory.mktemp("display")
    for entry in FOLDER.iterdir():
        (folder / entry.name).write_bytes(entry.read_bytes())
    (folder / "texts.tlh.json").write_text(
        '{"direction": "rtl", "instruction.call": "Qughvam yIrI\' \\u2014 tugh!",'
        ' "stage.wiping": "The camera is being emptied, have some patience"}'
    )
    with serving(every_stage(), folder) as daemon:
        yield daemon


@pytest.mark.parametrize(("query", "locale"), [("?lang=tlh", "en-GB"), ("", "tlh")])
def test_another_language_is_one_more_file(
    pages: Pages, translated: Daemon, query: str, locale: str
) -> None:
    page = pages.open(translated.url + query, locale=locale)
    instructions = texts_of(page, ".instruction")
    keep_screenshot(page, "other-language")
    assert instructions[6] == "Qughvam yIrI' — tugh!"
    assert instructions[5] == "Safe to take"
    expect(page.locator("html")).to_have_attribute("lang", "tlh")
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate(OUTSIDE) == []
    page.get_by_role("link").click()
    expect(page.locator("html")).to_have_attribute("lang", "tlh")


def test_an_unknown_language_falls_back_to_english(pages: Pages, translated: Daemon) -> None:
    page = pages.open(f"{translated.url}?lang=xx")
    assert texts_of(page, ".instruction")[5] == "Safe to take"
    expect(page.locator("html")).to_have_attribute("lang", "en")
