import os
import socket as sockets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from dockd.base.errors import (
    ConfigError,
    ControlDeniedError,
    ControlError,
    ControlVersionError,
    DaemonDownError,
    OrderHeldError,
    OrderRefusedError,
)
from dockd.station.config import ControlConfig
from dockd.station.control.client import DEFAULT_SOCKET, Client, socket_path
from tests.cli.support import Daemon, clip, refuse, status
from tests.cli.test_cli import Shell

NOBODY = 65534


@pytest.fixture
def client(socket: Path, daemon: Daemon) -> Client:
    return Client(socket)


def test_what_the_daemon_says_is_read(client: Client, daemon: Daemon) -> None:
    daemon.status = status(bays=["a \N{LINE SEPARATOR} b"])
    assert client.status() == daemon.status
    daemon.clips = [clip(3)]
    assert client.clips() == [clip(3)]
    assert client.story("3").clip == clip(3)


def test_events_are_the_status_at_once_and_each_change(client: Client, daemon: Daemon) -> None:
    daemon.status = status(bays=["a \N{LINE SEPARATOR}\N{NEXT LINE} b"])
    with closing(client.events()) as events:
        assert next(events) == daemon.status
        daemon.become(status(bays=["3"]))
        assert next(events).bays == ["3"]


def test_only_what_is_asked_for_is_sent(client: Client, daemon: Daemon) -> None:
    client.clips()
    client.clips(camera="3", state="found", since="2026-11-21T10:00:00.000Z", limit=2)
    assert daemon.asked == [
        ("clips", {"limit": "1000"}),
        (
            "clips",
            {"camera": "3", "state": "found", "since": "2026-11-21T10:00:00.000Z", "limit": "2"},
        ),
    ]


def test_a_daemon_that_does_not_run_is_said(socket: Path) -> None:
    with pytest.raises(DaemonDownError) as raised:
        Client(socket).status()
    assert str(socket) in raised.value.detail
    assert "No such file" in raised.value.detail
    assert "systemctl status dockd" in raised.value.hint


def test_a_socket_that_a_dead_daemon_left_is_said(socket: Path) -> None:
    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(socket))
    with pytest.raises(DaemonDownError, match="Connection refused"):
        Client(socket).status()


def test_a_daemon_that_takes_no_more_questions_is_said(client: Client, daemon: Daemon) -> None:
    daemon.refusal = PlainTextResponse("Service Unavailable", 503)
    with pytest.raises(DaemonDownError) as raised:
        client.status()
    assert "connection limit" in raised.value.hint


def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(DaemonDownError, match="too long"):
        Client(tmp_path / ("x" * 120)).status()


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be a user who is in no group."""
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_who_may_not_use_the_socket_is_told_which_group_to_join(
    socket: Path, daemon: Daemon
) -> None:
    socket.chmod(0o660)
    with somebody_else(), pytest.raises(ControlDeniedError) as raised:
        Client(socket).status()
    assert "group dockd" in raised.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"v": 2}),
        JSONResponse([]),
        PlainTextResponse("<html>"),
        PlainTextResponse("Not Found", 404),
    ],
)
def test_an_answer_of_another_version_is_no_traceback(
    client: Client, daemon: Daemon, answer: JSONResponse
) -> None:
    daemon.refusal = answer
    with pytest.raises(ControlVersionError) as raised:
        client.status()
    assert "restart dockd" in raised.value.hint
    with closing(client.events()) as events:
        if answer.status_code == 404:
            with pytest.raises(ControlVersionError):
                next(events)


def test_members_that_are_new_are_passed_by(client: Client, daemon: Daemon) -> None:
    daemon.refusal = JSONResponse(asdict(status()) | {"new": 1})
    assert client.status() == status()


def test_a_refusal_keeps_what_the_daemon_said(client: Client, daemon: Daemon) -> None:
    with pytest.raises(OrderRefusedError) as raised:
        client.story("no such clip?")
    assert raised.value.detail == "there is no clip no such clip?"
    assert raised.value.hint == "dockd clips lists them"


def test_a_daemon_that_has_not_begun_is_as_good_as_none(client: Client, daemon: Daemon) -> None:
    daemon.refusal = refuse(503, "the work has not begun")
    with pytest.raises(ControlError, match="the work has not begun") as raised:
        client.status()
    assert raised.value.exit_code == 69


def test_an_order_that_the_ledger_holds_up_is_not_told_as_a_daemon_that_is_away(
    client: Client, daemon: Daemon
) -> None:
    held = {"error": "busy", "detail": "it is taken", "hint": "dockd status"}
    daemon.refusal = JSONResponse(held, 503)
    with pytest.raises(OrderHeldError, match="it is taken") as raised:
        client.resync()
    assert raised.value.exit_code == 75
    with pytest.raises(ControlError) as raised_by_question:
        client.status()
    assert raised_by_question.value.exit_code == 69


def test_the_socket_is_the_one_that_the_configuration_names(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[control]\nsocket = "run/x.sock"\n[station]\nmistake = 1\n')
    assert socket_path(config, is_required=True) == tmp_path / "run" / "x.sock"
    for silent in ("[control]\n", '[control]\nsocket = ""\n'):
        config.write_text(silent)
        assert socket_path(config, is_required=True) == DEFAULT_SOCKET == ControlConfig().socket


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_configuration_is_read_as_windows_editors_leave_it(tmp_path: Path, encoding: str) -> None:
    config = tmp_path / "config.toml"
    config.write_bytes('[control]\r\nsocket = "x.sock"\r\n'.encode(encoding))
    for is_required in (True, False):
        assert socket_path(config, is_required=is_required) == tmp_path / "x.sock"


@pytest.mark.parametrize("content", [None, "[", "\xff"])
def test_a_configuration_that_can_not_be_read_matters_only_where_it_was_named(
    tmp_path: Path, content: str | None
) -> None:
    config = tmp_path / "config.toml"
    if content is not None:
        config.write_text(content, encoding="latin-1")
    assert socket_path(config, is_required=False) == DEFAULT_SOCKET
    with pytest.raises(ConfigError, match=r"config\.toml"):
        socket_path(config, is_required=True)


@pytest.mark.parametrize(
    "command",
    ["status", "watch", "clips", "show 1", "resync", "pause --reason x", "resume"],
)
def test_every_command_ends_with_69_without_a_daemon(
    dockd: Shell, socket: Path, command: str
) -> None:
    said = dockd(*command.split(), "--socket", socket)
    assert (said.code, said.out) == (69, "")
    assert said.err == (
        f"dockd: the daemon is unreachable: {socket}: No such file or directory\n"
        "dockd: hint: is it running? systemctl status dockd\n"
    )


def test_a_refusal_is_printed_without_orders_to_the_terminal(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.refusal = refuse(409, "no \x1b[31m red", "\x9b\x07")
    said = dockd("status", "--socket", socket)
    assert said.code == 65
    assert said.err == (
        "dockd: the daemon refused the request: no \\x1b[31m red\ndockd: hint: \\xc2\\x9b\\x07\n"
    )
