"""What nobody should type, and what nobody foresaw."""

from pathlib import Path

import pytest

from dockd.cli import status
from tests.cli.support import Daemon
from tests.cli.test_cli import Shell

_NOT_UTF8 = "caf\udce9"
"""As Python has what a terminal with another encoding sends."""


@pytest.mark.parametrize(
    "call",
    [
        ["pause", "--reason", "x", "--for", "999999w"],
        ["pause", "--reason", _NOT_UTF8],
        ["clips", "--since", "999999w"],
        ["clips", "--camera", _NOT_UTF8],
        ["clips", "--camera", ""],
        ["show", ""],
        ["show", "."],
        ["show", ".."],
        ["show", "../.."],
        ["show", _NOT_UTF8],
        ["resync", "--camera", _NOT_UTF8],
        ["resync", "--camera", ""],
        ["resync", "--clip", ""],
    ],
)
def test_what_can_not_be_meant_is_a_wrong_call_and_orders_nothing(
    dockd: Shell, socket: Path, daemon: Daemon, call: list[str]
) -> None:
    said = dockd(*call, "--socket", socket)
    assert said.code == 64
    assert said.err.startswith("dockd: invalid command line: ")
    assert f"dockd {call[0]} --help" in said.err
    assert daemon.asked == []


def test_a_clip_that_can_not_be_is_not_there(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    assert dockd("resync", "--clip", "9" * 20, "--socket", socket).code == 65
    assert daemon.asked == []


def test_a_mistake_in_dockd_is_said_to_be_one(
    dockd: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_options: object) -> int:
        raise KeyError("\x1b[2J")

    monkeypatch.setattr(status, "_run", mistaken)
    said = dockd("status")
    assert said.code == 70
    assert "\x1b" not in said.err
    assert "in mistaken" in said.err
    assert said.err.endswith(
        "dockd: internal error: KeyError\ndockd: hint: please report the traceback above\n"
    )
