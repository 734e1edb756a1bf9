"""Which failures need a person, and from when on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
from dockd.base.events import daemon_part_failed
from dockd.base.incidents import Incident
from dockd.base.log_events import Failure
from dockd.station import events
from dockd.station.control.troubles import of_incident, of_incidents

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def lasting(event: Failure[Any], error: DockdError, span: timedelta) -> Incident:
    return Incident(event.name, {}, error, NOW - span, NOW, failures=9, next_try=None)


@pytest.mark.parametrize(
    ("event", "error", "patience"),
    [
        (events.clip_ingest_interrupted, ClipChangedError(), timedelta(minutes=1)),
        (events.usb_monitor_failed, SourceError(), timedelta(minutes=1)),
        (daemon_part_failed, LedgerError(), timedelta(minutes=1)),
        (events.wipe_failed, WipeError(), timedelta(minutes=1)),
        (
            events.wipe_unconfirmed,
            WipeUnconfirmedError(needs_operator=True),
            timedelta(minutes=1),
        ),
        (events.wipe_failed, WipeBusyError(), timedelta(hours=1)),
        (events.clip_unsettled, ClipUnsettledError(), timedelta(hours=1)),
    ],
)
def test_what_does_not_end_by_itself_needs_a_person_once_it_has_lasted(
    event: Failure[Any], error: DockdError, patience: timedelta
) -> None:
    assert not of_incident(lasting(event, error, patience)).needs_person
    assert of_incident(lasting(event, error, patience + timedelta(seconds=1))).needs_person


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (events.wipe_unconfirmed, WipeUnconfirmedError("the server is down")),
        (events.target_down, TargetDownError("it is down")),
    ],
)
def test_what_ends_by_itself_needs_nobody_however_long_it_lasts(
    event: Failure[Any], error: DockdError
) -> None:
    assert not of_incident(lasting(event, error, timedelta(days=3))).needs_person


def test_of_very_many_troubles_alike_some_are_shown_and_the_rest_counted() -> None:
    def about(n: int) -> dict[str, object]:
        return {"camera": f"p:{n % 2}", "clip": n, "path": "a"}

    error = WipeRefusedError("its receipt's key is not pinned")
    many = [
        Incident("wipe.refused", about(n), error, NOW, NOW, failures=1, next_try=None)
        for n in range(1000)
    ]
    shown = of_incidents([*many, lasting(events.target_down, TargetDownError(), timedelta(0))])
    assert len(shown) < 150
    assert sum(one.count for one in shown) == 1001
    for camera in ("p:0", "p:1"):
        *some, rest = [one for one in shown if one.camera == camera]
        assert all(one.needs_person for one in (*some, rest))
        assert rest.what == f"{500 - len(some)} more of the same kind"
        assert (rest.clip, rest.path) == (None, None)
