import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd.base.sizes import shown_size
from dockd.cli import moments, text


@given(st.text())
def test_what_is_printed_holds_nothing_that_a_terminal_obeys(any_text: str) -> None:
    assert text.printable(any_text).isprintable()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("DCIM/1.mp4", "DCIM/1.mp4"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\x0ab"),
        ("\x9b31m", "\\xc2\\x9b31m"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}4pm", "\\xe2\\x80\\xae4pm"),
        ("already \\x0a", "already \\x0a"),
        ("映画", "映画"),
    ],
)
def test_a_name_is_shown_as_it_is_or_escaped(raw: str, shown: str) -> None:
    assert text.printable(raw) == shown


@given(st.text(), st.integers(1, 20))
def test_a_cell_is_as_wide_as_it_is_meant_to_be(any_text: str, width: int) -> None:
    shown = text.printable(any_text)
    assert text.columns(text.fit(shown, width)) == width
    assert text.columns(text.cut(shown, width)) <= width


def test_what_is_cut_says_so() -> None:
    assert text.cut("abcdef", 4) == "abc…"
    assert text.cut("abcd", 4) == "abcd"
    assert text.cut("映画館", 4) == "映…"
    assert text.cut_start("abcdef", 4) == "…def"
    assert text.cut_start("abcd", 4) == "abcd"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10_239, "10.0 KiB"),
        (1_048_575, "1.00 MiB"),
        (11.2 * 2**20, "11.2 MiB"),
        (64 * 2**30, "64.0 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_a_size_has_three_digits_or_four(count: float, shown: str) -> None:
    assert shown_size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_400, "1 d"),
        (187_200, "2 d 4 h"),
    ],
)
def test_a_duration_has_one_unit_or_two(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_a_bar_is_full_only_when_all_is_done() -> None:
    assert text.bar(0, 10) == "[..........]   0%"
    assert text.bar(999, 1000) == "[#########.]  99%"
    assert text.bar(10, 10) == text.bar(0, 0) == "[##########] 100%"


def test_a_time_of_another_day_has_its_date() -> None:
    now = datetime.now().astimezone().replace(hour=12, minute=0)
    assert text.local(now.astimezone(UTC), now) == "12:00"
    assert text.local(now - timedelta(days=1), now) == f"{now - timedelta(days=1):%Y-%m-%d} 12:00"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("30m", 1800), ("5 min", 300), ("2h", 7200), ("3d", 259200)],
)
def test_a_span_is_a_number_with_a_unit(written: str, seconds: int) -> None:
    assert moments.span(written).total_seconds() == seconds
    assert abs((moments.now() - moments.past(written)).total_seconds() - seconds) < 60


@pytest.mark.parametrize("read", [moments.past, moments.future, moments.span])
@pytest.mark.parametrize("written", ["", "yesterday", "25:00", "2h3", "-2h", "2026-13-01", "٣h٣"])
def test_what_is_no_time_is_a_wrong_call(read: Callable[[str], object], written: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time"):
        read(written)


def test_an_hour_is_the_last_one_or_the_next_one() -> None:
    for written in ("00:00", "12:34", "23:59:59"):
        past, future = moments.past(written), moments.future(written)
        assert past <= moments.now() < future
        assert f"{past.astimezone():%H:%M:%S}".startswith(written)
        assert f"{future.astimezone():%H:%M:%S}".startswith(written)
        assert future - past <= timedelta(days=1, hours=1)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place where the clocks change at night: on 29 March and on 25 October 2026."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("today", "next_in_utc", "last_in_utc"),
    [
        ("2026-10-24 20:00", "25 06:00", "24 05:00"),
        ("2026-10-25 05:00", "25 06:00", "24 05:00"),
        ("2026-03-28 20:00", "29 05:00", "28 06:00"),
        ("2026-03-29 05:00", "29 05:00", "28 06:00"),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_an_hour_is_that_of_the_local_clock_when_the_clocks_change(
    monkeypatch: pytest.MonkeyPatch, today: str, next_in_utc: str, last_in_utc: str
) -> None:
    monkeypatch.setattr(moments, "now", datetime.fromisoformat(today).astimezone)
    assert f"{moments.future('07:00').astimezone(UTC):%d %H:%M}" == next_in_utc
    assert f"{moments.past('07:00').astimezone(UTC):%d %H:%M}" == last_in_utc


@pytest.mark.parametrize(
    ("read", "written"),
    [
        (moments.ahead, "999999w"),
        (moments.past, "999999w"),
        (moments.past, "0001-01-01T00:00+14:00"),
        (moments.future, "9999-12-31T23:59-12:00"),
    ],
)
def test_what_no_calendar_has_is_a_wrong_call(read: Callable[[str], object], written: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="out of range"):
        read(written)


def test_a_date_is_local() -> None:
    assert moments.past("2026-01-14") == datetime(2026, 1, 14).astimezone()
    assert moments.past("2026-01-14T10:00Z") == datetime(2026, 1, 14, 10, tzinfo=UTC)


def test_an_end_that_is_over_is_a_wrong_call() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is in the past"):
        moments.future("2020-01-01")
