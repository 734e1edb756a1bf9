import json

from hypothesis import given
from hypothesis import strategies as st

from dockd.station.model import display_path, shorten, whole_path
from dockd.station.pipeline.shortening import fit, fit_all, json_size


def test_a_text_that_is_short_enough_stays() -> None:
    assert shorten("abc", 3) == fit("abc", 5) == "abc"
    assert fit_all({"a": "b"}, 100) == {"a": "b"}


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert fit("a" * 500 + "z", 100).startswith("aaa")
    assert fit("a" * 500 + "z", 100).endswith("z")


@given(st.text(), st.integers(5, 300))
def test_no_text_takes_more_room_than_it_has(text: str, room: int) -> None:
    assert len(shorten(text, room)) <= max(room, 1)
    assert json_size(fit(text, room)) <= max(room, 8)


@given(st.dictionaries(st.text("abc", max_size=5), st.text()), st.integers(2, 400))
def test_no_named_texts_take_more_room_than_they_have(values: dict[str, str], room: int) -> None:
    kept = fit_all(values, room)
    assert json_size(kept) <= room
    assert kept.keys() <= values.keys()


def test_json_is_as_long_as_it_is_said_to_be() -> None:
    for value in ({"a": "é\x01\\"}, "…", ""):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        assert json_size(value) == len(text.encode())


def test_a_path_that_fills_screens_is_shown_cut() -> None:
    path = b"/".join([b"folder\n"] * 10_000)
    assert len(display_path(path)) == 1000
    assert len(whole_path(path)) > 10_000
