"""Which failures need a person, and from when on."""

from datetime import UTC, datetime, timedelta

import pytest

from dockd.base import events
from dockd.base.board import Failing
from dockd.base.errors import (
    ClipChangedError,
    ClipUnsettledError,
    DockdError,
    LedgerError,
    SourceError,
    TargetDownError,
    WipeBusyError,
    WipeError,
    WipeRefusedError,
    WipeUnconfirmedError,
)
from dockd.base.events import Event
from dockd.station.control.troubles import of_board, of_failing

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def lasting(event: Event, error: DockdError, span: timedelta) -> Failing:
    return Failing(event.name, {}, error, NOW - span, NOW, failures=9, next_try=None)


@pytest.mark.parametrize(
    ("event", "error", "patience"),
    [
        (events.CLIP_INGEST_INTERRUPTED, ClipChangedError(), timedelta(minutes=1)),
        (events.MONITOR_FAILED, SourceError(), timedelta(minutes=1)),
        (events.PART_FAILED, LedgerError(), timedelta(minutes=1)),
        (events.WIPE_FAILED, WipeError(), timedelta(minutes=1)),
        (
            events.WIPE_UNCONFIRMED,
            WipeUnconfirmedError(needs_operator=True),
            timedelta(minutes=1),
        ),
        (events.WIPE_FAILED, WipeBusyError(), timedelta(hours=1)),
        (events.CLIP_UNSETTLED, ClipUnsettledError(), timedelta(hours=1)),
    ],
)
def test_what_does_not_end_by_itself_needs_a_person_once_it_has_lasted(
    event: Event, error: DockdError, patience: timedelta
) -> None:
    assert not of_failing(lasting(event, error, patience)).needs_person
    assert of_failing(lasting(event, error, patience + timedelta(seconds=1))).needs_person


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (events.WIPE_UNCONFIRMED, WipeUnconfirmedError("the server is down")),
        (events.TARGET_DOWN, TargetDownError("it is down")),
    ],
)
def test_what_ends_by_itself_needs_nobody_however_long_it_lasts(
    event: Event, error: DockdError
) -> None:
    assert not of_failing(lasting(event, error, timedelta(days=3))).needs_person


def test_of_very_many_troubles_alike_some_are_shown_and_the_rest_counted() -> None:
    error = WipeRefusedError("its receipt's key is not pinned")
    many = [
        Failing.once("wipe.refused", error, NOW, {"camera": f"p:{n % 2}", "clip": n, "path": "a"})
        for n in range(1000)
    ]
    shown = of_board([*many, lasting(events.TARGET_DOWN, TargetDownError(), timedelta(0))])
    assert len(shown) < 150
    assert sum(one.count for one in shown) == 1001
    for camera in ("p:0", "p:1"):
        *some, rest = [one for one in shown if one.camera == camera]
        assert all(one.needs_person for one in (*some, rest))
        assert rest.what == f"{500 - len(some)} more of the same kind"
        assert (rest.clip, rest.path) == (None, None)
