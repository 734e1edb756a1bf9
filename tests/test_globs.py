import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd import globs


def fits(glob: str, path: str) -> re.Match[str] | None:
    return re.fullmatch(globs.translate(glob), path, re.DOTALL)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.mp4", "a.mp4"),
        ("*.mp4", ".mp4"),
        ("?.mp4", "a.mp4"),
        ("**/*.mp4", "a.mp4"),
        ("**/*.mp4", "a/b/c.mp4"),
        ("DCIM/**/c.mp4", "DCIM/c.mp4"),
        ("DCIM/**/c.mp4", "DCIM/a/b/c.mp4"),
        ("DCIM/**", "DCIM/a/b"),
        ("[abc].mp4", "b.mp4"),
        ("[a-c].mp4", "b.mp4"),
        ("[!a-c].mp4", "d.mp4"),
        ("[-a].mp4", "-.mp4"),
        ("[a-].mp4", "-.mp4"),
        ("[!].mp4", "!.mp4"),
        ("[^a].mp4", "^.mp4"),
        ("[[].mp4", "[.mp4"),
        ("[a&&b~~||].mp4", "&.mp4"),
        ("[\\d].mp4", "\\.mp4"),
        ("[", "["),
        ("a.mp4", "a.mp4"),
        ("a+(b)|c$", "a+(b)|c$"),
        ("*", "line\nbreak"),
        ("*.mp4", "\udcff.mp4"),
    ],
)
def test_a_pattern_fits(glob: str, path: str) -> None:
    assert fits(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.mp4", "a/b.mp4"),
        ("*.mp4", "a.mp4x"),
        ("?.mp4", "/.mp4"),
        ("?", ""),
        ("DCIM/**/c.mp4", "DCIM/xc.mp4"),
        ("**/c.mp4", "bc.mp4"),
        ("[abc].mp4", "d.mp4"),
        ("[!abc].mp4", "a.mp4"),
        ("a[!b]c", "a/c"),
        ("a[+-9]c", "a/c"),
        ("[^a].mp4", "b.mp4"),
        ("[\\d].mp4", "1.mp4"),
        ("a.mp4", "axmp4"),
        ("{name}.mp4", ".mp4"),
        ("{name}.mp4", "a/b.mp4"),
    ],
)
def test_a_pattern_does_not_fit(glob: str, path: str) -> None:
    assert not fits(glob, path)


def test_named_groups_keep_what_they_matched() -> None:
    found = fits("DCIM/{officer}/{time:????}_{flag:[EN]}.mp4", "DCIM/Doe/1301_E.mp4")
    assert found is not None
    assert found.groupdict() == {"officer": "Doe", "time": "1301", "flag": "E"}


def test_a_named_group_may_span_folders() -> None:
    found = fits("{folder:**}/{name}.mp4", "a/b/c.mp4")
    assert found is not None
    assert found.groupdict() == {"folder": "a/b", "name": "c"}


@pytest.mark.parametrize("glob", ["{", "}", "a{b", "{Name}", "{1a}", "{a b}", "{}", "{a:}"])
def test_a_brace_that_names_no_group_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="brace"):
        globs.translate(glob)


@pytest.mark.parametrize("glob", ["{a}/{a}", "[z-a]"])
def test_a_malformed_pattern_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="is not a pattern"):
        globs.translate(glob)


@given(st.text(st.characters(exclude_characters="*?[]{}")))
def test_text_without_special_characters_fits_itself_alone(text: str) -> None:
    assert fits(text, text)
    assert not fits(text, text + "x")


@given(st.text("ab/*?[]!-^&~|\\", max_size=12), st.text("ab/-^&~|\\", max_size=8))
def test_within_one_folder_no_pattern_reaches_into_another(glob: str, path: str) -> None:
    if "**" in glob:
        return
    try:
        found = fits(glob, path)
    except ValueError:
        return
    assert not found or glob.count("/") == path.count("/")
