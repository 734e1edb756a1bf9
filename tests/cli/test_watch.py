"""dockd watch in a real pseudo-terminal, seen through a terminal emulator; and without one."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pyte
import pytest

from dockd.cli.changes import changes
from dockd.cli.overview import overview
from dockd.station.control.views import Stage, StationView, Verdict
from tests.cli.support import EARLIER, NOW, Daemon, camera, pause, status, trouble, work

_PATIENCE = 20.0
_SENDING = status(
    verdict=Verdict.WORKING,
    cameras=[camera("1", "CAM-1", Stage.UPLOADING, bytes_total=10, bytes_done=5)],
    work=[work()],
)


class Terminal:
    """A terminal of 80 columns in which a command runs."""

    def __init__(self, master: int, process: "subprocess.Popen[bytes]") -> None:
        self._master = master
        self.process = process
        self.screen = pyte.Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)
        self.received = b""

    def shows(self, wanted: Callable[[list[str]], bool]) -> list[str]:
        """Wait until what is on the screen is as wanted; return its lines."""
        deadline = time.monotonic() + _PATIENCE
        while not wanted(self.lines) and time.monotonic() < deadline:
            if select.select([self._master], [], [], 1.0)[0]:
                self._read()
        assert wanted(self.lines), "\n".join(self.lines)
        return self.lines

    def _read(self) -> None:
        # EIO: nobody has the other side open any more.
        with suppress(OSError):
            data = os.read(self._master, 65536)
            self.received += data
            self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self.screen.display]

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def resize(self, lines: int, columns: int) -> None:
        """Take another size."""
        self.screen.resize(lines, columns)
        _resize(self._master, lines, columns)

    def ends(self) -> int:
        """Wait for the command's end; return its exit code."""
        code = self.process.wait(_PATIENCE)
        while select.select([self._master], [], [], 0)[0]:
            before = len(self.received)
            self._read()
            if len(self.received) == before:
                break
        return code


def _resize(fd: int, lines: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def _watching(socket: Path) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    _resize(slave, 24, 80)
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "dockd", "watch", "--socket", str(socket)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _has(*parts: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(all(part in line for part in parts) for line in lines)


def test_who_is_told_to_end_gives_the_screen_back(socket: Path, daemon: Daemon) -> None:
    with _watching(socket) as terminal:
        terminal.shows(_has("ALL IS WELL"))
        assert terminal.screen.cursor.hidden
        terminal.process.terminate()
        assert terminal.ends() == -signal.SIGTERM
        assert terminal.received.endswith(b"\x1b[?25h\x1b[?1049l")


def test_the_screen_follows_the_daemon_and_is_given_back(socket: Path, daemon: Daemon) -> None:
    daemon.status = _SENDING
    with _watching(socket) as terminal:
        lines = terminal.shows(_has("sending DCIM/1.mp4", "[#####.....]  50% 11.2 MiB/s"))
        assert lines[0].startswith("camden-07: WORKING")
        assert "Ctrl-C exits" in lines

        before = len(terminal.received)
        daemon.become(replace(_SENDING, work=[work(done=900_000_000)]))
        terminal.shows(_has("sending DCIM/1.mp4", "[########..]  83%"))
        assert terminal.screen.cursor.hidden
        painted = terminal.received[before:]
        assert painted.count(b"\x1b[K") <= 3, "only what changed is painted"
        assert len(painted) < 300

        terminal.press(b"\x03")
        assert terminal.ends() == 0
        assert terminal.received.endswith(b"\x1b[?25h\x1b[?1049l")


def test_a_stopped_job_gives_the_terminal_back_and_takes_it_again(
    socket: Path, daemon: Daemon
) -> None:
    daemon.status = _SENDING
    with _watching(socket) as terminal:
        terminal.shows(_has("sending DCIM/1.mp4"))
        os.kill(terminal.process.pid, signal.SIGTSTP)
        os.waitpid(terminal.process.pid, os.WUNTRACED)
        terminal.shows(lambda _: terminal.received.endswith(b"\x1b[?25h\x1b[?1049l"))
        terminal.screen.reset()
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.shows(_has("sending DCIM/1.mp4"))


def test_what_is_gone_from_the_station_is_gone_from_the_screen(
    socket: Path, daemon: Daemon
) -> None:
    daemon.status = status(troubles=[trouble()], verdict=Verdict.NEEDS_PERSON)
    with _watching(socket) as terminal:
        terminal.shows(_has("The server never will store this: 413"))
        daemon.become(status())
        lines = terminal.shows(_has("ALL IS WELL"))
        wanted = [line.words for line in overview(status())]
        assert lines[: len(wanted)] == wanted
        assert [line for line in lines[len(wanted) :] if line] == ["Ctrl-C exits"]


@pytest.mark.parametrize("columns", [40, 100])
def test_another_size_of_the_terminal_is_painted_anew(
    socket: Path, daemon: Daemon, columns: int
) -> None:
    daemon.status = _SENDING
    with _watching(socket) as terminal:
        terminal.shows(_has("sending DCIM/1.mp4"))
        terminal.resize(12, columns)
        terminal.screen.reset()
        lines = terminal.shows(lambda lines: lines[0].startswith("camden-07") and bool(lines[2]))
        assert len(lines) == 12
        assert all(len(line) < columns for line in lines)


def test_a_restart_of_the_daemon_is_said_and_waited_for(socket: Path) -> None:
    daemon = Daemon()
    with ExitStack() as running:
        running.enter_context(daemon.running(socket))
        with _watching(socket) as terminal:
            terminal.shows(_has("camden-07: ALL IS WELL"))
            running.close()
            lines = terminal.shows(_has("LOST: The daemon is unreachable"))
            assert any("Status as of" in line for line in lines)
            daemon.status = status(
                station=StationView(id="camden-07", version="1.2.4", since=NOW, pid=8)
            )
            running.enter_context(daemon.running(socket))
            lines = terminal.shows(_has("dockd 1.2.4"))
            assert not any("LOST" in line for line in lines)
            assert any("dockd was restarted (pid 8) at " in line for line in lines)


def test_names_can_not_order_the_terminal_about(socket: Path, daemon: Daemon) -> None:
    daemon.status = status(cameras=[camera("1", "\x1b]0;owned\x07", Stage.READING)])
    with _watching(socket) as terminal:
        terminal.shows(_has("\\x1b]0;owned"))
        assert b"\x1b]" not in terminal.received


@contextmanager
def _piped(socket: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dockd", "watch", "--socket", str(socket)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _read_until(process: "subprocess.Popen[str]", part: str) -> list[str]:
    """Read lines up to the one that has a part in it; each without its time."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        assert line[2] == line[5] == ":"
        lines.append(line[9:].rstrip("\n"))
        if part in line:
            return lines
    raise AssertionError(f"it ended without {part!r}: {lines}")


def test_a_reload_is_told_from_a_start() -> None:
    before = status(station=replace(status().station, process_since=EARLIER))
    later = replace(before.station, since=NOW)
    reloaded = replace(before, station=later)
    assert list(changes(before, reloaded)) == ["dockd reloaded its configuration"]
    again = replace(later, process_since=NOW)
    assert list(changes(before, replace(before, station=again))) == ["dockd was restarted (pid 7)"]


def test_without_a_terminal_each_change_is_a_line(socket: Path, daemon: Daemon) -> None:
    daemon.status = _SENDING
    with _piped(socket) as process:
        assert _read_until(process, "station: ") == [
            "bay 1, CAM-1: uploading; 2 wiped",
            "server: reachable",
            "station: working",
        ]
        daemon.become(replace(_SENDING, work=[], at=NOW))
        daemon.become(status(troubles=[trouble()], verdict=Verdict.NEEDS_PERSON))
        assert _read_until(process, "station: ") == [
            "bay 1, CAM-1: undocked",
            "STUCK generic:CAM-1, DCIM/1.mp4, clip 17: The server never will store this: 413"
            " -> raise the server's limit, then: dockd resync --failed (needs operator action)",
            "station: operator action needed",
        ]
        daemon.become(status(pauses=[pause()]))
        (over, held, well) = _read_until(process, "station: ")
        assert over.startswith("no longer stuck: generic:CAM-1, DCIM/1.mp4, clip 17: ")
        assert held.startswith("PAUSED   uploads, by root since ")
        assert well == "station: all is well"
        daemon.become(status(cameras=[camera("2", "CAM-2", Stage.LOOKING, clips={})]))
        assert _read_until(process, "looking") == [
            "bay 2, CAM-2: docked",
            "bay 2, CAM-2: looking for clips",
        ]
        assert _read_until(process, "resumed") == ["uploads resumed"]
        process.send_signal(signal.SIGINT)
        assert process.wait(_PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_without_a_terminal_a_restart_is_told(socket: Path) -> None:
    daemon = Daemon()
    with ExitStack() as running:
        running.enter_context(daemon.running(socket))
        with _piped(socket) as process:
            _read_until(process, "station: ")
            running.close()
            (lost,) = _read_until(process, "reconnecting")
            assert lost.startswith("The daemon ")
            daemon.status = status(
                station=StationView(id="camden-07", version="1.2.4", since=NOW, pid=8)
            )
            running.enter_context(daemon.running(socket))
            assert _read_until(process, "restarted") == [
                "reconnected to the daemon",
                "dockd was restarted (pid 8)",
            ]
