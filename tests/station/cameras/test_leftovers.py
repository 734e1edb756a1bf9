import pytest

from dockd.station.cameras.leftovers import Leftovers, weigh


def test_nothing_left_alone_is_nothing() -> None:
    assert weigh({}) == Leftovers()


@pytest.mark.parametrize(
    "name", [b"A.mp4", b"101MEDIA/A.MP4", b".hidden.mov", b"\xff.avi", b"p.JPG", b"s.wav", b".mp4"]
)
def test_video_sound_and_pictures_may_be_recordings_however_small(name: bytes) -> None:
    left = weigh({b"index.bin": 10, name: 0})
    assert (left.files, left.size, left.suspect) == (2, 10, 1)


def test_a_large_file_may_be_a_recording_whatever_it_is_called() -> None:
    assert weigh({b"mp4": 2**20}).suspect == 1
    assert weigh({b"REC0001.XYZ": 2**20 - 1}).suspect == 0


def test_many_small_files_may_be_a_recording_together() -> None:
    assert weigh({b"%d.seg" % number: 2**19 for number in range(31)}).suspect == 0
    assert weigh({b"%d.seg" % number: 2**19 for number in range(32)}).suspect == 32


def test_the_suspect_ones_are_named_fit_to_be_shown_and_no_more_than_three() -> None:
    left = weigh({b"a.txt": 1, b"z\n.mp4": 1} | {b"b%d.mp4" % number: 1 for number in range(9)})
    assert left.named == ("b0.mp4", "b1.mp4", "b2.mp4")
    assert weigh({b"a.txt": 1, b"z\n.mp4": 1}).named == ("z\\x0a.mp4",)
    assert weigh({b"a.txt": 1}).named == ("a.txt",)
