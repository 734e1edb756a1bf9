"""A part of the daemon that fails ends nothing but itself, and is started again."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog

from dockd.base.errors import LedgerError, SourceError, UnforeseenError, explained
from dockd.base.fencing import Fence
from dockd.base.incidents import Incidents
from dockd.evidence.keys import SigningKey, write_secret_file
from dockd.host.notify import Notifier
from dockd.station import daemon
from dockd.station.app import Seams
from dockd.station.config import Config
from tests.clocks import FakeClock
from tests.support import log_lines, write_config


def kept(
    *outcomes: Exception | None, clock: FakeClock | None = None
) -> tuple[list[Any], Incidents]:
    """Keep a part that ends like this, time after time; returns the log and what is open."""
    remaining = iter(outcomes)
    clock = clock or FakeClock()
    incidents = Incidents(clock)

    async def part() -> None:
        if (outcome := next(remaining)) is not None:
            raise outcome

    with structlog.testing.capture_logs() as log:
        asyncio.run(Fence(clock, incidents).keep("part", part))
    return log, incidents


def test_a_part_that_fails_is_told_and_started_again() -> None:
    log, incidents = kept(LedgerError("the disk"), LedgerError("the disk"), None)
    assert [line["event"] for line in log] == ["daemon.part_failed", "daemon.part_recovered"]
    assert log[0]["part"] == "part"
    assert log[1]["failures"] == 2
    assert incidents.shown() == []


def test_a_part_that_fails_for_ever_is_shown_and_waits_longer_each_time() -> None:
    clock = FakeClock()
    incidents = Incidents(clock)
    alive = 0

    async def part() -> None:
        if clock.elapsed > 600:
            await asyncio.Event().wait()
        raise KeyError("x")

    def beat() -> None:
        nonlocal alive
        alive += 1

    async def scenario() -> None:
        task = asyncio.create_task(Fence(clock, incidents).keep("part", part, beat))
        while clock.elapsed <= 600:  # noqa: ASYNC110  # time passes as it sleeps
            await asyncio.sleep(0)
        task.cancel()

    with structlog.testing.capture_logs():
        asyncio.run(scenario())
    (failing,) = incidents.shown()
    assert isinstance(failing.error, UnforeseenError)
    pauses = [seconds for seconds in clock.slept if seconds < 60]
    assert pauses == [1, 2, 4, 8, 16, 32]
    assert alive == failing.failures > 6


def test_a_part_that_goes_on_for_a_minute_has_recovered() -> None:
    clock = FakeClock()
    incidents = Incidents(clock)
    fails = iter([True])

    async def part() -> None:
        if next(fails, False):
            raise KeyError("x")
        while incidents.shown():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)

    with structlog.testing.capture_logs():
        asyncio.run(Fence(clock, incidents).keep("part", part))
    assert incidents.shown() == []
    assert 60 in clock.slept


def test_what_one_of_several_tasks_raised_is_told_as_it_is() -> None:
    error = SourceError("it is away")
    group = ExceptionGroup("tasks", [ExceptionGroup("tasks", [error])])
    assert explained(group) is error
    assert isinstance(explained(ExceptionGroup("tasks", [error, error])), UnforeseenError)


class Reloaded:
    """A station that is reloaded as soon as it works; the one that comes next fails then."""

    ran: ClassVar[list[str]] = []

    def __init__(self, config: Config, _: Seams | None = None) -> None:
        self._id = config.station.id
        self.works = False

    async def run(self, _: Notifier) -> None:
        self.ran.append(self._id)
        self.works = True
        if len(self.ran) > 1:
            raise LedgerError("it fails while it works")
        text = self.path.read_text()
        self.path.write_text(text.replace('id = "camden-07"', 'id = "soho"'))
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.Event().wait()

    path: ClassVar[Path]


def test_a_configuration_that_has_worked_is_not_given_up_for_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Reloaded.path = write_config(tmp_path, extra='[control]\nsocket = ""\nlisten = ""\n')
    Reloaded.ran.clear()
    monkeypatch.setattr(daemon, "Station", Reloaded)
    try:
        assert daemon.run(Reloaded.path) == LedgerError.exit_code
    finally:
        structlog.reset_defaults()
    assert Reloaded.ran == ["camden-07", "soho"]


def test_an_end_of_the_daemon_that_nobody_foresaw_has_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, extra='[control]\nsocket = ""\nlisten = ""\n')
    write_secret_file(tmp_path / "station.key", SigningKey.generate().pem())

    def ledger(*_: object) -> Any:
        raise KeyError("x")

    try:
        assert daemon.run(config, Seams(ledger=ledger)) == 70
    finally:
        structlog.reset_defaults()  # this test's standard error is closed after it
    (line,) = log_lines(capsys.readouterr().err)
    assert (line["event"], line["error"]) == ("daemon.failed", "unforeseen")
    assert "KeyError" in line["exception"]
