import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dockd.station.cameras.timeformats import TimeFormat


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read(written: str, text: str) -> str | None:
    seconds = TimeFormat(written).read(text)
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}"


@pytest.mark.parametrize(
    ("written", "text", "moment"),
    [
        ("%Y%m%d%H%M%S", "20261121131415", "20261121T131415"),
        ("%Y%m%d", "20261121", "20261121T000000"),
        ("%Y-%m-%d_%H-%M", "2026-1-5_3-07", "20260105T030700"),
        ("%d%m%y%I%M%p", "2111260114pm", "20261121T131400"),
        ("%Y%j", "2026325", "20261121T000000"),
        ("%G-W%V-%u", "2026-W47-6", "20261121T000000"),
        ("%d %b %Y", "21 nov 2026", "20261121T000000"),
        ("%Y%m%dT%H%M%S%z", "20261121T131415+0200", "20261121T111415"),
        ("%Y%m%dT%H%M%S%z", "20261121T131415Z", "20261121T131415"),
        ("%Y%m%d%H%M%S.%f", "20261121131415.123", "20261121T131415"),
        ("%Y%m", "202611", "20261101T000000"),
        ("100%%%Y%m%d", "100%20261121", "20261121T000000"),
    ],
)
def test_a_time_is_read(written: str, text: str, moment: str) -> None:
    assert read(written, text) == moment


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("%Y%m%d", "2026112"),
        ("%Y%m%d", "20261131"),
        ("%Y%m%d", "00000000"),
        ("%Y%m%d", "२०२६११२१"),
        ("%d%m%Y", "1112026"),
        ("%Y%m%d%H%M%S", "2026112113141"),
        ("%Y-%m-%d", "2026-13-01"),
        ("%Y %m %d", "2026  11  21"),
        ("%Y%m%d", ""),
    ],
)
def test_a_text_that_could_only_be_guessed_at_is_no_time(written: str, text: str) -> None:
    assert read(written, text) is None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "is not a time format"),
        ("YYYYMMDD", "is not a time format"),
        ("%H%M%S", "'131415', and that would be read as 1900-01-01 13:14:15"),
        ("%m%d", "1900-11-21"),
        ("%Y%d", "read as 2026-01-21"),
        ("%Y%m%H", "read as 2026-11-01 13:00"),
        ("%Y%m%d%I%M", "read as 2026-11-21 01:14"),
        ("%Y%m%d%M%S", "read as 2026-11-21 00:14:15"),
        ("%%Y%%m%%d", "1900"),
        ("%Y%m%d%d", "duplicate"),
        ("%Y%m%d%f%H", "where %f ends"),
        ("%c", "differs from system to system"),
        ("%Y%m%d%Z", "differs from system to system"),
        ("%Q", "'Q' is a bad directive"),
        ("%-d", "'-' is a bad directive"),
        ("%Y%m%d%", "stray %"),
    ],
)
def test_a_format_that_does_not_tell_times_apart_is_refused(written: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        TimeFormat(written)
    assert told in str(refused.value)
