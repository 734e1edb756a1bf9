from itertools import product

import pytest

from dockd.base.errors import TransitionError
from dockd.base.log_events import EVENTS
from dockd.station.ledger.journal_kinds import KINDS
from dockd.station.lifecycle import (
    LIFECYCLE,
    PENDING,
    STATE_NAMES,
    Happening,
    State,
    follow,
)
from tests.pages import ROOT


def leading_to(state: State) -> set[State | None]:
    """The other states that it can be reached from."""
    return {
        before
        for (before, _), transition in LIFECYCLE.items()
        if transition.to is state and before is not state
    }


def after(state: State) -> set[State | None]:
    return {transition.to for (before, _), transition in LIFECYCLE.items() if before is state}


@pytest.mark.parametrize("happening", Happening)
@pytest.mark.parametrize("state", [None, *State])
def test_what_is_not_in_the_table_can_not_happen(state: State | None, happening: Happening) -> None:
    transition = LIFECYCLE.get((state, happening))
    if transition is not None:
        assert follow(state, happening, present=not transition.present) is transition
    else:
        for present in (True, False, None):
            with pytest.raises(TransitionError):
                follow(state, happening, present=present)


@pytest.mark.parametrize(
    ("happening", "present"),
    [(Happening.VANISHED, False), (Happening.REPLACED, False), (Happening.RETURNED, True)],
)
def test_a_file_leaves_only_a_camera_that_it_is_on_and_comes_back_only_to_one_that_it_is_not_on(
    happening: Happening, present: bool
) -> None:
    with pytest.raises(TransitionError):
        follow(State.SPOOLED, happening, present=present)


def test_everything_that_can_happen_happens_in_some_state() -> None:
    assert {happening for _, happening in LIFECYCLE} == set(Happening)


def test_only_a_clip_whose_wipe_has_begun_can_be_wiped() -> None:
    assert leading_to(State.WIPED) == {State.WIPING}


def test_only_an_acknowledged_clip_is_wiped() -> None:
    assert leading_to(State.WIPING) == {State.ACKNOWLEDGED}


def test_only_an_uploading_clip_can_be_acknowledged() -> None:
    wiping_broke_off = State.WIPING
    assert leading_to(State.ACKNOWLEDGED) - {wiping_broke_off} == {
        State.UPLOADING,
        State.UPLOADED,
    }


def test_after_an_acknowledgement_comes_a_wipe_or_another_reading() -> None:
    assert after(State.ACKNOWLEDGED) - {State.ACKNOWLEDGED} == {State.WIPING, State.FOUND}
    assert after(State.WIPED) == set()


def test_a_wipe_that_has_begun_ends_or_is_undone_and_nothing_else() -> None:
    assert after(State.WIPING) - {State.WIPING} == {State.WIPED, State.ACKNOWLEDGED}


def test_every_state_is_reached_from_found() -> None:
    reached = {State.FOUND}
    while more := {to for state in reached for to in after(state) if to} - reached:
        reached |= more
    assert reached == set(State)


def test_what_can_still_be_acknowledged_by_itself_is_pending() -> None:
    waiting_for_a_person = {State.UNREADABLE, State.REJECTED}
    received = {State.ACKNOWLEDGED, State.WIPING, State.WIPED}
    assert set(State) - PENDING == waiting_for_a_person | received


def test_states_are_shown_under_the_names_that_the_api_has_always_had() -> None:
    assert {state.shown for state in State} == set(STATE_NAMES)
    assert {state: state.shown for state in State if state.shown != state} == {
        State.UPLOADED: "uploading",
        State.WIPING: "acknowledged",
    }


def test_journal_and_log_know_what_the_table_names() -> None:
    assert {transition.kind for transition in LIFECYCLE.values()} <= set(KINDS)
    assert {one.event for one in LIFECYCLE.values() if one.event} <= set(EVENTS)


def test_the_documentation_shows_the_table() -> None:
    lines = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    start = lines.index(_HEADING)
    shown = lines[start : start + len(as_markdown())]
    assert shown == as_markdown()
    assert not lines[start + len(shown)].startswith("|")


_HEADING = "| what happens | before | after | on the camera | journal | log |"


def as_markdown() -> list[str]:
    rows: dict[tuple[str, ...], list[str]] = {}
    for happening, state in product(Happening, [None, *State]):
        transition = LIFECYCLE.get((state, happening))
        if transition is None:
            continue
        to = "unchanged" if transition.to is state else _code(transition.to)
        present = {True: "yes", False: "no", None: ""}[transition.present]
        key = (happening.value, to, present, _code(transition.kind), _code(transition.event))
        rows.setdefault(key, []).append(_code(state) or "new")
    return [
        _HEADING,
        "|---|---|---|---|---|---|",
        *(
            f"| {happening} | {', '.join(before)} | {' | '.join(others)} |"
            for (happening, *others), before in rows.items()
        ),
    ]


def _code(name: str | None) -> str:
    return f"`{name}`" if name else ""
