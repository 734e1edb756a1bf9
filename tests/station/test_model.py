import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd.station.model import PENDING, TRANSITIONS, Camera, State, display_path


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"DCIM/0001.mp4", "DCIM/0001.mp4"),
        ("Straße 𝄞 東京.mp4".encode(), "Straße 𝄞 東京.mp4"),
        (b"a\xffb", r"a\xffb"),
        (b"\xc3", r"\xc3"),
        (b"a\\xffb", r"a\x5cxffb"),
        (b"a\nb\x1b[2J\x00", r"a\x0ab\x1b[2J\x00"),
        ("a\u202egpj.mp4".encode(), r"a\xe2\x80\xaegpj.mp4"),
        ("a\u200b\ufeff\u061c\u2028b".encode(), r"a\xe2\x80\x8b\xef\xbb\xbf\xd8\x9c\xe2\x80\xa8b"),
        (b"\xed\xb2\x80", r"\xed\xb2\x80"),
        (b"", ""),
    ],
)
def test_a_path_is_shown_as_one_printable_line(path: bytes, shown: str) -> None:
    assert display_path(path) == shown


@given(st.binary())
def test_a_shown_path_is_printable_and_says_which_bytes_it_was(path: bytes) -> None:
    shown = display_path(path)
    assert shown.isprintable()
    first, *escapes = shown.split("\\x")
    pieces = [bytes.fromhex(piece[:2]) + piece[2:].encode() for piece in escapes]
    assert first.encode() + b"".join(pieces) == path


def test_a_camera_is_named_by_profile_and_serial() -> None:
    assert Camera("generic", "CAM-0001").id == "generic:CAM-0001"


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(State)


def test_only_an_acknowledged_clip_can_be_wiped() -> None:
    assert [state for state, to in TRANSITIONS.items() if State.WIPED in to] == [State.ACKNOWLEDGED]


def test_only_an_uploading_clip_can_be_acknowledged() -> None:
    assert [state for state, to in TRANSITIONS.items() if State.ACKNOWLEDGED in to] == [
        State.UPLOADING
    ]


def test_after_an_acknowledgement_comes_a_wipe_or_another_reading() -> None:
    assert TRANSITIONS[State.ACKNOWLEDGED] == {State.WIPED, State.FOUND}
    assert TRANSITIONS[State.WIPED] == set()


def test_every_state_is_reached_from_found() -> None:
    reached = {State.FOUND}
    while more := {to for state in reached for to in TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(State)


def test_what_can_still_be_acknowledged_by_itself_is_pending() -> None:
    waiting_for_a_person = {State.UNREADABLE, State.REJECTED}
    assert set(State) - PENDING == waiting_for_a_person | {State.ACKNOWLEDGED, State.WIPED}
