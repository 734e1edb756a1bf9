"""What systemd is told: the messages of sd_notify(3), and a watchdog that is fed for work."""

import asyncio
import contextlib
import io
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from dockd.base.clock import Clock
from dockd.base.logs import configure
from dockd.host.notify import STATUS_SECONDS, Heartbeats, Notifier, feed
from tests.support import log_lines

WATCHDOG = {"WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid())}
"""Wants to be fed within 8 seconds, so every two."""


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """The messages since it was asked last."""
        messages = []
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(self._socket.recv(4096).decode())
        return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with contextlib.closing(Manager(str(tmp_path / "notify"))) as manager:
        yield manager


class HandClock(Clock):
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []
        super().__init__()

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        self._sleepers.append((self.elapsed + seconds, over))
        await over.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everything run until it waits again."""
        self.elapsed += seconds
        for due, over in self._sleepers:
            if due <= self.elapsed:
                over.set()
        for _ in range(10):
            await asyncio.sleep(0)


def test_it_says_ready_status_reloading_and_stopping(manager: Manager) -> None:
    notifier = Notifier(manager.environment)
    notifier.ready()
    notifier.status("2 cameras\ndocked")
    notifier.stopping()
    assert manager.heard() == ["READY=1", "STATUS=2 cameras docked", "STOPPING=1"]


def test_a_start_that_takes_long_asks_for_more_time(manager: Manager) -> None:
    Notifier(manager.environment).extend(90)
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=90000000"]


def test_a_reload_says_when_it_began(manager: Manager) -> None:
    Notifier(manager.environment).reloading()
    (message,) = manager.heard()
    reloading, _, monotonic = message.partition("\n")
    assert reloading == "RELOADING=1"
    assert monotonic.startswith("MONOTONIC_USEC=")
    assert int(monotonic.partition("=")[2]) > 0


def test_an_address_with_an_at_sign_is_abstract() -> None:
    with contextlib.closing(Manager(f"@dockd-test-{os.getpid()}")) as manager:
        Notifier(manager.environment).ready()
        assert manager.heard() == ["READY=1"]


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier(WATCHDOG)
    notifier.ready()
    assert not notifier.listening
    assert notifier.watchdog_seconds is None


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        (WATCHDOG, 8.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/x", **environment}).watchdog_seconds == seconds


def test_a_part_is_overdue_until_it_beats_again() -> None:
    clock = HandClock()
    heartbeats = Heartbeats(clock)
    beat = heartbeats.part("uploads", within=30)
    heartbeats.part("usb", within=90)
    clock.elapsed = 31
    assert heartbeats.overdue() == ["uploads"]
    beat()
    assert heartbeats.overdue() == []
    clock.elapsed = 91
    assert heartbeats.overdue() == ["uploads", "usb"]


Story = Callable[[HandClock, Heartbeats], Awaitable[None]]


def _feeding(manager: Manager, probe: Callable[[], Awaitable[None]], story: Story) -> None:
    """Tell a story while a watchdog is fed."""

    async def play() -> None:
        clock = HandClock()
        heartbeats = Heartbeats(clock)
        notifier = Notifier({**manager.environment, **WATCHDOG})
        feeding = asyncio.create_task(
            feed(notifier, heartbeats, probe, lambda: "all is well", clock)
        )
        await clock.advance(0)
        await story(clock, heartbeats)
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding

    asyncio.run(play())


async def _works() -> None:
    await asyncio.sleep(0)


@pytest.fixture
def log() -> io.StringIO:
    log = io.StringIO()
    configure(stream=log)
    return log


def test_a_watchdog_is_fed_four_times_within_its_limit(manager: Manager) -> None:
    async def story(clock: HandClock, _heartbeats: Heartbeats) -> None:
        assert manager.heard() == ["STATUS=all is well", "WATCHDOG=1"]
        for _ in range(4):
            await clock.advance(1)
            assert manager.heard() == []
            await clock.advance(1)
            assert manager.heard() == ["STATUS=all is well", "WATCHDOG=1"]

    _feeding(manager, _works, story)


def test_a_part_that_is_stuck_starves_the_watchdog_and_is_logged_once(
    manager: Manager, log: io.StringIO
) -> None:
    async def story(clock: HandClock, heartbeats: Heartbeats) -> None:
        beat = heartbeats.part("uploads", within=3)
        await clock.advance(2)
        assert "WATCHDOG=1" in manager.heard()
        for _ in range(3):
            await clock.advance(2)
            assert manager.heard() == ["STATUS=all is well"]
        (line,) = log_lines(log.getvalue())
        assert (line["event"], line["parts"]) == ("watchdog.starved", ["uploads"])
        beat()
        await clock.advance(2)
        assert "WATCHDOG=1" in manager.heard()

    _feeding(manager, _works, story)


def test_a_probe_that_does_not_end_starves_the_watchdog_and_is_logged_once(
    manager: Manager, log: io.StringIO
) -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    async def story(clock: HandClock, _heartbeats: Heartbeats) -> None:
        for _ in range(8):
            await clock.advance(1)
        assert manager.heard() == []
        (line,) = log_lines(log.getvalue())
        assert (line["event"], line["parts"]) == ("watchdog.starved", ["probe"])

    _feeding(manager, hangs, story)


def test_a_probe_that_fails_ends_the_feeding(manager: Manager) -> None:
    async def fails() -> None:
        raise OSError("the disk is gone")

    async def play() -> None:
        notifier = Notifier({**manager.environment, **WATCHDOG})
        await feed(notifier, Heartbeats(Clock()), fails, lambda: "", Clock())

    with pytest.raises(OSError, match="the disk is gone"):
        asyncio.run(play())
    assert manager.heard() == []


def test_without_a_watchdog_the_status_is_told_all_the_same(manager: Manager) -> None:
    async def play() -> None:
        clock = HandClock()
        notifier = Notifier(manager.environment)
        feeding = asyncio.create_task(
            feed(notifier, Heartbeats(clock), _works, lambda: "all is well", clock)
        )
        for _ in range(2):
            await clock.advance(STATUS_SECONDS)
            assert "STATUS=all is well" in manager.heard()
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding

    asyncio.run(play())


def test_without_a_manager_there_is_nothing_to_feed() -> None:
    clock = HandClock()
    asyncio.run(feed(Notifier({}), Heartbeats(clock), _works, lambda: "", clock))
