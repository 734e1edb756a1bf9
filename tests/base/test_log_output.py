import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockd.base import log_output
from dockd.base.log_output import ROOM, LogOutput, Loss
from tests.support import fill, small_disk

_OUTPUTS: list[LogOutput] = []


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(log_output, "_RETRY_SECONDS", 0.01)
    yield
    while _OUTPUTS:
        # Its descriptor is another test's soon.
        output = _OUTPUTS.pop()
        output.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(end)


def written_to(descriptor: int | None, room: int = ROOM) -> LogOutput:
    def tell(loss: Loss) -> None:
        output.write(f"LOST {loss.lines}: {loss.detail}\n")

    output = LogOutput(descriptor, tell, room=room)
    _OUTPUTS.append(output)
    return output


def read_until(reader: int, end: bytes) -> list[str]:
    read = b""
    while end not in read or not read.endswith(b"\n"):
        read += os.read(reader, 65536)
    return read.decode().splitlines()


def test_lines_are_written_in_their_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = written_to(writer)
    for number in range(1000):
        output.write(f"{number}\n")
    assert output.drain(60)
    assert read_until(reader, b"999\n") == [str(number) for number in range(1000)]
    assert output.health.lost == 0


def test_nobody_waits_for_a_reader_that_has_stopped_reading(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"-\n")
    os.set_blocking(writer, True)
    output = written_to(writer, room=1000)
    for number in range(100_000):
        output.write(f"{number:09}\n")
    assert output.health.lost > 0
    assert output.health.detail is not None
    assert not output.drain(0)
    # Its reader reads again.
    lines: list[str] = []
    while not output.drain(0) or output.health.detail:
        lines += read_until(reader, b"\n")
    output.write("end\n")
    lines += read_until(reader, b"end\n")
    next_number = 0
    for line in lines[:-1]:
        if line == "-":
            continue
        if line.startswith("LOST "):
            next_number += int(line.split()[1].strip(":"))
        else:
            assert int(line) == next_number
            next_number += 1
    assert next_number == 100_000
    assert output.health.lost == 100_000 - sum(line.isdigit() for line in lines)


def test_lines_that_are_logged_once_there_is_room_again_follow_what_is_said_of_the_lost_ones(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    output = written_to(writer, room=1000)
    while not output.health.lost:
        output.write("x" * 99 + "\n")
    lines = read_until(reader, b"LOST")
    output.write("after\n")
    lines += read_until(reader, b"after\n")
    assert [line[:5] for line in lines[-2:]] == ["LOST ", "after"]


def test_a_descriptor_that_others_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    output = written_to(writer)
    for number in range(20_000):
        output.write(f"{number:09}\n")
    assert len(read_until(reader, b"000019999\n")) == 20_000
    assert output.drain(60)
    assert output.health.lost == 0


def test_a_reader_that_is_gone_costs_the_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    output = written_to(writer)
    for number in range(100):
        output.write(f"{number}\n")
    assert output.drain(60)
    assert output.health.lost == 100
    assert output.health.detail == os.strerror(errno.EPIPE)


def test_a_fifo_that_is_opened_again_says_what_was_lost(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "log", os.O_WRONLY)
    os.close(reader)
    output = written_to(writer)
    for number in range(3):
        output.write(f"{number}\n")
    assert output.drain(60)
    reader = os.open(tmp_path / "log", os.O_RDONLY)
    # Though nothing is logged any more.
    assert read_until(reader, b"\n")[0].startswith("LOST 3")
    os.close(reader)
    os.close(writer)


def test_what_was_closed_from_the_start_loses_every_line() -> None:
    output = written_to(None)
    output.write("x\n")
    assert output.drain(60)
    assert output.health.lost == 1
    assert output.health.detail == "standard error is closed"


def test_a_full_disk_loses_lines_and_no_line_is_taken_for_part_of_another(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="64k") as disk:
        log = disk / "log"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        output = written_to(descriptor)
        output.write("before\n")
        assert output.drain(60)
        filler = fill(disk)
        for _ in range(10):
            output.write("x" * 999 + "\n")
        assert output.drain(60)
        lost = output.health.lost
        assert 0 < lost <= 10
        assert output.health.detail == os.strerror(errno.ENOSPC)
        filler.unlink()
        output.write("after\n")
        assert output.drain(60)
        lines = log.read_text().splitlines()
        assert lines[0] == "before"
        assert lines[-2] == f"LOST {lost}: {os.strerror(errno.ENOSPC)}"
        assert lines[-1] == "after"
        assert output.health.detail is None
        os.close(descriptor)


def test_lines_of_several_threads_stay_whole(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = written_to(writer)

    def write(letter: str) -> None:
        for _ in range(200):
            output.write(letter * 100 + "\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    got = b""
    while got.count(b"\n") < 800:
        got += os.read(reader, 65536)
    assert sorted(got.decode().splitlines()) == sorted(letter * 100 for letter in "abcd" * 200)
