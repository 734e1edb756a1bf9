"""What the core refuses reaches a client as a problem of HTTP."""

import json

import pytest

from dockd.base.errors import ClocksDifferError, HistoryForkedError
from dockd.receiver.core.errors import OffsetError, Reason, RefusedError
from dockd.receiver.http.translating import translated


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_problem_with_its_detail_and_hint(reason: Reason) -> None:
    response = translated(RefusedError(reason, "why", hint="what to do")).response()
    problem = json.loads(bytes(response.body))
    assert response.status_code == problem["status"] >= 400
    assert (problem["detail"], problem["hint"]) == ("why", "what to do")


def test_a_time_to_come_back_an_offset_and_a_broken_connection_are_headers() -> None:
    def headers(error: RefusedError) -> dict[str, str]:
        return translated(error).headers

    assert headers(RefusedError(Reason.NO_ROOM, "full", retry_after=30)) == {"Retry-After": "30"}
    assert headers(OffsetError(7, sent=3)) == {"Upload-Offset": "7"}
    assert headers(RefusedError(Reason.INCOMPLETE, "slow")) == {"Connection": "close"}
    assert headers(RefusedError(Reason.NOT_STORED, "upload it")) == {}


def test_clocks_and_histories_that_disagree_are_problems_too() -> None:
    clocks = translated(ClocksDifferError("late", hint="correct it"))
    assert (clocks.problem.code, clocks.hint) == ("clocks-differ", "correct it")
    assert clocks.headers == {"Retry-After": "300"}
    history = translated(HistoryForkedError("two of them"))
    assert (history.problem.code, history.problem.status) == ("history-forked", 409)
