import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd.station.model import Camera, display_path


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
