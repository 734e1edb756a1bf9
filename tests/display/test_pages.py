"""What the pages' routes answer, without a browser."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import httpx
import pytest

from dockd.base.log_events import EVENTS
from dockd.station.control import pages
from dockd.station.control.decoding import decode
from dockd.station.control.encoding import encode
from dockd.station.control.pages import display_of, redacted
from dockd.station.control.views import Display, Stage, Status, Verdict
from dockd.station.lifecycle import StateName
from tests.display.samples import STUCK, camera, every_stage, pause, status, trouble, work
from tests.display.serving import Daemon, serving

PATHS = ["/", "/technician", "/display/style.css", "/v1/display", "/v1/technician"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with serving(every_stage()) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=daemon.url) as client:
        yield client


def events(response: httpx.Response) -> Iterator[str]:
    """Yield the data of each event, all of which must have one name."""
    name = "display" if "display" in str(response.url) else "status"
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")
        else:
            assert line in {f"event: {name}", ""}


# What is shown of a status


def test_bays_come_first_in_their_order_and_then_other_places() -> None:
    shown = display_of(
        status(camera("port 7", Stage.READING), camera("B", Stage.DONE), bays=["C", "B", "A"])
    )
    assert [(tile.bay, tile.stage) for tile in shown.tiles] == [
        ("C", None),
        ("B", Stage.DONE),
        ("A", None),
        ("port 7", Stage.READING),
    ]


def test_two_cameras_at_one_place_are_two_tiles() -> None:
    cameras = [camera("B", Stage.DONE, serial="1"), camera("B", Stage.READING, serial="2")]
    shown = display_of(status(*cameras, bays=["B"]))
    assert [(tile.bay, tile.camera, tile.safe_to_take) for tile in shown.tiles] == [
        ("B", "1", True),
        ("B", "2", False),
    ]


@pytest.mark.parametrize("stage", list(Stage))
def test_a_person_is_called_where_nothing_goes_on_without_one(stage: Stage) -> None:
    (tile,) = display_of(status(camera("B", stage))).tiles
    assert tile.needs_person == (stage in {Stage.STUCK, Stage.REFUSED})


def test_a_trouble_that_needs_a_person_calls_one() -> None:
    passing = camera("A", Stage.UPLOADING, troubles=[trouble()])
    lasting = camera("B", Stage.UPLOADING, troubles=[trouble(), trouble(needs_person=True)])
    tiles = display_of(status(passing, lasting)).tiles
    assert [tile.needs_person for tile in tiles] == [False, True]


def test_the_display_tells_pauses_and_an_unreachable_server() -> None:
    target = replace(status().target, reachable=False)
    shown = display_of(status(pauses=[pause()], target=target))
    assert shown.paused[0].reason == "line under repair"
    assert shown.target_reachable is False


def names_in(shown: Status | Display) -> bool:
    text = encode(shown).decode()
    return any(part in text for part in ("PC1", "20260114", ".mp4"))


def test_neither_page_names_a_clip() -> None:
    device = camera("A", Stage.STUCK, troubles=[STUCK])
    shown = status(device, work=[work(device, 3)])
    assert names_in(shown)
    assert not names_in(display_of(shown))
    assert not names_in(redacted(shown))


def test_technicians_read_a_clips_number_for_its_name() -> None:
    (shown,) = redacted(status(troubles=[STUCK])).troubles
    assert shown.what == "clip 4711: the server refused it: 413 Content Too Large"
    assert shown.hint == STUCK.hint
    assert (shown.clip, shown.path) == (4711, None)


def test_a_name_as_short_as_a_digit_leaves_other_numbers_alone() -> None:
    short = replace(STUCK, path="4/1", what="1: 413 Content Too Large")
    (shown,) = redacted(status(troubles=[short])).troubles
    assert shown.what == "clip 4711: 413 Content Too Large"


@pytest.mark.parametrize(
    "what", ["[Errno 5] '/media/PC1'", "20260114.gps is gone", "PC1\\20260114.mp4"]
)
def test_a_text_that_quotes_a_part_of_the_name_gives_way_to_what_the_event_means(what: str) -> None:
    quoting = replace(STUCK, what=what, hint=what)
    (shown,) = redacted(status(troubles=[quoting])).troubles
    assert shown.what == EVENTS["clip.rejected"].meaning
    assert shown.hint == ""


def test_what_is_shown_again_and_again_is_worked_out_once() -> None:
    many = [
        replace(STUCK, clip=n, path=f"PC1/X{n}.mp4", what=f"PC1/X{n}.mp4: 413") for n in range(500)
    ]
    shown = status(camera("A", Stage.STUCK, troubles=many), troubles=many)
    first = redacted(shown)
    misses = pages._scrubbed.cache_info().misses
    assert redacted(shown) == first
    assert pages._scrubbed.cache_info().misses == misses
    assert [one.what for one in first.troubles[:2]] == ["clip 0: 413", "clip 1: 413"]
    assert first.cameras[0].troubles == first.troubles


# The routes


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/technician", "text/html; charset=utf-8"),
        ("/display/style.css", "text/css; charset=utf-8"),
        ("/display/bays.js", "text/javascript; charset=utf-8"),
        ("/display/icons.svg", "image/svg+xml"),
        ("/display/texts", "application/json"),
        ("/v1/display", "application/json"),
        ("/v1/technician", "application/json"),
    ],
)
def test_everything_has_its_media_type_for_get_and_head(
    client: httpx.Client, path: str, media_type: str
) -> None:
    got, head = client.get(path), client.head(path)
    assert got.status_code == head.status_code == 200
    assert got.headers["content-type"] == head.headers["content-type"] == media_type
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.content
    assert not head.content


@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_changed(client: httpx.Client, path: str) -> None:
    for method in ["POST", "PUT", "PATCH", "DELETE"]:
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "name", ["none.css", "texts.en.json", "%2e%2e%2fpages.py", "..%2F__init__.py", "style.css%00"]
)
def test_other_files_are_not_there(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/display/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


def test_pages_may_load_nothing_from_outside_and_nothing_inline(client: httpx.Client) -> None:
    for path in ["/", "/technician"]:
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["/v1/display", "/v1/technician"])
def test_data_is_what_the_contract_says_and_is_not_kept(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["cache-control"] == "no-store"
    view: type[Display | Status] = Display if path == "/v1/display" else Status
    assert asdict(decode(view, answer.content)) == answer.json()


@pytest.mark.parametrize("path", ["v1/display/events", "v1/technician/events"])
def test_events_come_at_once_on_a_change_and_as_a_sign_of_life(path: str) -> None:
    with (
        serving(every_stage(), quiet_seconds=0.1) as daemon,
        httpx.stream("GET", daemon.url + path) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        told = events(answer)
        first = next(told)
        assert json.loads(first)["at"] == daemon.status.at
        assert next(told) == first
        daemon.show(status(camera("Z", Stage.DONE)))
        while next(told) == first:
            pass


def test_a_head_of_the_events_ends(client: httpx.Client) -> None:
    answer = client.head("/v1/display/events")
    assert answer.headers["content-type"].startswith("text/event-stream")


# The texts


@pytest.fixture
def translated(tmp_path: Path) -> Path:
    """A catalogue beside the English one, which has not all of it."""
    source = pages.FOLDER / "texts.en.json"
    (tmp_path / "texts.en.json").write_bytes(source.read_bytes())
    (tmp_path / "texts.sv.json").write_text('{"instruction.empty": "Tom"}')
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "language", "empty"),
    [
        ("sv", "sv", "Tom"),
        ("SV-fi,en", "sv", "Tom"),
        ("xx,sv", "sv", "Tom"),
        ("en-GB,sv", "en", "Empty"),
        ("xx", "en", "Empty"),
        ("", "en", "Empty"),
        ("../en,,-,--", "en", "Empty"),
    ],
)
def test_the_first_language_that_there_is_serves_and_english_fills_its_gaps(
    translated: Path, wanted: str, language: str, empty: str
) -> None:
    with serving(status(), translated) as daemon:
        texts = httpx.get(f"{daemon.url}display/texts", params={"lang": wanted}).json()
    assert texts["language"] == language
    assert texts["instruction.empty"] == empty
    assert texts["instruction.safe"] == "Safe to take"


CATALOGUE = json.loads((pages.FOLDER / "texts.en.json").read_text())


def test_every_state_has_its_text() -> None:
    named = {f"stage.{stage}" for stage in Stage} | {f"verdict.{verdict}" for verdict in Verdict}
    named |= {f"clip.{state}" for state in get_args(StateName)}
    assert named <= set(CATALOGUE)


def test_every_text_is_used() -> None:
    sources = [one for one in pages.FOLDER.iterdir() if one.name.endswith((".js", ".html"))]
    source = "".join(one.read_text() for one in sources)
    for key in CATALOGUE:
        assert f'"{key}"' in source or f"{key.split('.')[0]}.${{" in source or key == "direction"
