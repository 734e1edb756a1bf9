import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import FileFacts, sign
from dockd.station.cameras.profile import Profile
from dockd.station.config import ProfileConfig
from dockd.station.model import Match
from tests.support import make_manifest


@pytest.fixture(autouse=True)
def london(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/London")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def make_profile(*rules: dict[str, Any], case_sensitive: bool = False) -> Profile:
    keys = {"name": "generic", "case_sensitive": case_sensitive, "rules": rules}
    return Profile(ProfileConfig.model_validate(keys))


VIDEO = {"pattern": "**/*.mp4", "kind": "video"}


def test_the_first_rule_that_fits_decides() -> None:
    profile = make_profile(
        {"pattern": "**/test_*.mp4", "kind": "ignore"},
        {"pattern": "**/*_E.mp4", "kind": "video", "event": True},
        VIDEO,
        {"pattern": "**/*.gps", "kind": "sidecar"},
    )
    assert profile.match(b"DCIM/a.mp4") == Match("video")
    assert profile.match(b"DCIM/a_E.mp4") == Match("video", event=True)
    assert profile.match(b"DCIM/test_E.mp4") is None
    assert profile.match(b"DCIM/a.gps") == Match("sidecar")


@pytest.mark.parametrize("path", [b"a.txt", b"a.mp4.part", b"a.mp4/x", b""])
def test_a_file_without_a_rule_is_left_alone(path: bytes) -> None:
    assert make_profile(VIDEO).match(path) is None


@pytest.mark.parametrize(("case_sensitive", "expected"), [(False, Match("video")), (True, None)])
def test_case_counts_only_where_it_is_said_to(case_sensitive: bool, expected: Match | None) -> None:
    assert make_profile(VIDEO, case_sensitive=case_sensitive).match(b"A.MP4") == expected


NAMED = {
    "pattern": "DCIM/{officer}/{time!_}_*.mp4",
    "kind": "video",
    "time_format": "%Y%m%d%H%M%S",
}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20260115131415", datetime(2026, 1, 15, 13, 14, 15, tzinfo=UTC)),
        ("20260715131415", datetime(2026, 7, 15, 12, 14, 15, tzinfo=UTC)),
    ],
)
def test_a_time_in_the_name_is_the_stations_local_time(text: str, moment: datetime) -> None:
    found = make_profile(NAMED).match(f"DCIM/Doe/{text}_1.mp4".encode())
    assert found == Match(
        "video", recorded_at=moment.timestamp(), metadata={"officer": "Doe", "time": text}
    )


@pytest.mark.parametrize(
    "text",
    [
        "20261345131415",
        "yesterday",
        "00010101000000",
        "2026112419050",  # of 13 digits: strptime takes the last one for the seconds
        "２０２６１１２４１９０５００",  # noqa: RUF001
    ],
)
def test_a_time_that_is_none_is_kept_as_it_stands(text: str) -> None:
    found = make_profile(NAMED).match(f"DCIM/Doe/{text}_1.mp4".encode())
    assert found is not None
    assert found.metadata["time"] == text
    if text != "00010101000000":
        assert found.recorded_at is None


def test_a_rule_may_begin_at_the_cameras_root() -> None:
    profile = make_profile({"pattern": "/DCIM/*.mp4", "kind": "video"})
    assert profile.match(b"DCIM/1.mp4") == Match("video")
    assert profile.match(b"X/DCIM/1.mp4") is None
    profile = make_profile({"pattern": "/p2/DCIM/*.mp4", "kind": "video"})
    assert profile.match(b"/p2/DCIM/1.mp4") == Match("video")


def test_an_offset_in_the_name_counts() -> None:
    rule = {"pattern": "{time:*}.mp4", "kind": "video", "time_format": "%Y-%m-%dT%H%M%S%z"}
    found = make_profile(rule).match(b"2026-11-21T140000+0200.mp4")
    assert found is not None
    assert found.recorded_at == datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


def test_what_a_name_says_can_be_signed_whatever_its_bytes() -> None:
    found = make_profile(NAMED).match(b"DCIM/D\xffoe\n\xe2\x80\xae/20260115131415_1.mp4")
    assert found is not None
    assert found.metadata["officer"] == r"D\xffoe\x0a\xe2\x80\xae"
    facts = FileFacts(
        path="x", kind="video", modified_at="2026-11-21T11:00:00.000Z", metadata=found.metadata
    )
    key = SigningKey.generate()
    assert sign(make_manifest(key, file=facts), key)


def test_a_name_of_other_bytes_than_utf8_is_matched_byte_by_byte() -> None:
    path = bytes(range(1, 256)).replace(b"/", b"") + b".mp4"
    assert os.fsencode(os.fsdecode(path)) == path
    assert make_profile(VIDEO).match(path) == Match("video")


def test_a_file_on_another_volume_is_matched_by_its_path_from_the_volumes_name() -> None:
    profile = make_profile({"pattern": "p2/DCIM/*.mp4", "kind": "video"})
    assert profile.match(b"/p2/DCIM/1.mp4") == Match("video")
    assert profile.match(b"/lun1/DCIM/1.mp4") is None
    assert make_profile(VIDEO).match(b"/lun1p2/1.mp4") == Match("video")
