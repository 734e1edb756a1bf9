from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dockd.base.clock import timestamp
from dockd.cli import moments, text
from tests.cli.support import Daemon, pause
from tests.cli.test_cli import Shell


def ordered(daemon: Daemon) -> tuple[str, dict[str, Any]]:
    (order,) = daemon.asked
    daemon.asked.clear()
    return order


@pytest.mark.parametrize(
    ("named", "meant"),
    [([], ["uploads", "wipes"]), (["uploads"], ["uploads"]), (["wipes"], ["wipes"])],
)
def test_what_is_named_is_held_and_let_go(
    dockd: Shell, socket: Path, daemon: Daemon, named: list[str], meant: list[str]
) -> None:
    daemon.pauses = [pause()]
    said = dockd("pause", *named, "--reason", " the line is needed ", "--socket", socket)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("PAUSED   uploads, by root since ")
    assert said.out.endswith(": the line is needed\n")
    assert ordered(daemon) == (
        "pause",
        {"what": meant, "reason": "the line is needed", "until": None},
    )
    daemon.pauses = []
    said = dockd("resume", *named, "--socket", socket)
    assert (said.code, said.out) == (0, "nothing is paused\n")
    assert ordered(daemon) == ("resume", {"what": meant})


def test_a_pause_ends_after_a_span_or_at_a_time(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    before = moments.now()
    dockd("pause", "--reason", "x", "--for", "2h", "--socket", socket)
    until = text.moment(ordered(daemon)[1]["until"])
    assert abs((until - before).total_seconds() - 7200) < 60
    end = (moments.now() + timedelta(days=2)).replace(microsecond=0)
    dockd("pause", "--reason", "x", "--until", end.isoformat(), "--socket", socket)
    assert ordered(daemon)[1]["until"] == timestamp(end)


def test_an_end_is_shown(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    until = timestamp(moments.now() + timedelta(days=3))
    daemon.pauses = [pause(until=until)]
    said = dockd("resume", "wipes", "--socket", socket)
    assert f" until {text.local(text.moment(until), moments.now())}, by root" in said.out


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--reason", " "],
        ["--reason", "x" * 201],
        ["everything", "--reason", "x"],
        ["--reason", "x", "--until", "2020-01-01"],
        ["--reason", "x", "--for", "soon"],
        ["--reason", "x", "--for", "2h", "--until", "12:00"],
    ],
)
def test_a_pause_that_can_not_be_meant_is_a_wrong_call(
    dockd: Shell, socket: Path, daemon: Daemon, wrong: list[str]
) -> None:
    assert dockd("pause", "--socket", socket, *wrong).code == 64
    assert daemon.asked == []
