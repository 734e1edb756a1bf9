import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog

from dockd.base import events, logs
from dockd.base.errors import SpoolError, SpoolFullError, UnforeseenError
from dockd.base.logs import REPEAT_CAP, REPEAT_FIRST, Repeats, configure, emit, emit_error
from tests.clocks import FakeClock
from tests.support import log_lines


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure(level="debug", style="json", stream=stream)
    return stream


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return log_lines(log.getvalue())


# Rendering


def test_an_event_is_one_json_object_a_line_with_what_matters_first(log: io.StringIO) -> None:
    emit(events.CAMERA_DOCKED, camera="generic:1", place="bay\n1 é \udcff", docking=1)
    emit(events.DAEMON_STOPPED)
    assert log.getvalue().count("\n") == 2
    first, second = lines(log)
    assert list(first) == ["time", "level", "event", "camera", "place", "docking"]
    assert first["event"] == "camera.docked"
    assert first["level"] == "info"
    assert first["place"] == "bay\n1 é \udcff"
    assert datetime.fromisoformat(first["time"]).utcoffset() is not None
    assert first["time"].endswith("Z")
    assert second["event"] == "daemon.stopped"


def test_an_error_says_what_happened_and_what_to_do(log: io.StringIO) -> None:
    error = SpoolFullError("no room", hint="free some disk")
    emit_error(events.SPOOL_FAILED, error, failures=1)
    (line,) = lines(log)
    assert line["error"] == "spool.full"
    assert line["detail"] == "The spool has no room: no room"
    assert line["hint"] == "free some disk"
    assert line["level"] == "error"


def test_an_exception_is_one_field(log: io.StringIO) -> None:
    try:
        int("unforeseen")
    except ValueError as error:
        emit_error(events.CAMERA_FAILED, UnforeseenError.of(error), camera="c", failures=1)
    (line,) = lines(log)
    assert line["error"] == "unforeseen"
    assert line["exception"].startswith("Traceback")
    assert "ValueError" in line["exception"].splitlines()[-1]


def test_an_error_that_was_foreseen_needs_no_traceback(log: io.StringIO) -> None:
    error = SpoolFullError("no room")
    error.__cause__ = OSError("no space")
    emit_error(events.SPOOL_FAILED, error, failures=1)
    assert "exception" not in lines(log)[0]


def test_what_is_bound_to_a_context_is_in_every_line(log: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(camera="generic:1"):
        emit(events.DAEMON_STOPPED)
    assert lines(log)[0]["camera"] == "generic:1"


@pytest.mark.parametrize(
    ("stream", "style", "is_json"),
    [
        (io.StringIO, "auto", True),
        (Terminal, "auto", False),
        (Terminal, "json", True),
        (io.StringIO, "text", False),
    ],
)
def test_a_terminal_gets_text_and_everything_else_json(
    stream: type[io.StringIO], style: logs.Style, is_json: bool
) -> None:
    log = stream()
    configure(style=style, stream=log)
    emit(events.CAMERA_DOCKED, camera="generic:1", place="bay 1", docking=1)
    text = log.getvalue()
    assert text.startswith("{") is is_json
    assert "camera.docked" in text
    assert ("\x1b[" in text) is (stream is Terminal and not is_json)
    if is_json:
        json.loads(text)


def test_text_begins_with_the_time_and_stays_on_one_line() -> None:
    log = io.StringIO()
    configure(style="text", stream=log)
    emit(events.CAMERA_DOCKED, camera="a\nb\x1b[2J", place="bay 1", docking=1)
    text = log.getvalue()
    assert datetime.fromisoformat(text.split()[0])
    assert text.count("\n") == 1
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["daemon.stopped", "library.complained", "spool.failed"]),
        ("info", ["daemon.stopped", "library.complained", "spool.failed"]),
        ("warning", ["library.complained", "spool.failed"]),
        ("error", ["spool.failed"]),
    ],
)
def test_less_serious_events_are_left_out(level: logs.Level, expected: list[str]) -> None:
    log = io.StringIO()
    configure(level=level, style="json", stream=log)
    for event in (events.DAEMON_STOPPED, events.LIBRARY_COMPLAINED, events.SPOOL_FAILED):
        emit(event)
    assert [line["event"] for line in lines(log)] == expected


def test_what_a_library_complains_about_is_an_event_too(log: io.StringIO) -> None:
    library = logging.getLogger("some.library")
    library.info("connected")
    library.warning("pool is %s", "full")
    try:
        int("odd")
    except ValueError:
        library.exception("failed")
    warned, failed = lines(log)
    assert warned["event"] == failed["event"] == "library.complained"
    assert (warned["library"], warned["detail"]) == ("some.library", "pool is full")
    assert "ValueError" in failed["exception"].splitlines()[-1]


def test_a_library_that_floods_the_log_is_counted(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = logging.getLogger("some.library")

    def complain(times: int) -> None:
        for number in range(times):
            library.error("accept %d failed", number)

    complain(1000)
    library.error("something else")
    monkeypatch.setattr(logs, "REPEAT_FIRST", 0.0)
    complain(2)
    told = [(line["detail"], line["unwritten"]) for line in lines(log)]
    assert told == [
        ("accept 0 failed", 0),
        ("something else", 0),
        ("accept 0 failed", 999),
        ("accept 1 failed", 0),
    ]


def test_what_python_itself_complains_about_is_an_event_too() -> None:
    program = """if True:
        import threading, warnings
        from dockd.base import logs

        class Careless:
            def __del__(self):
                raise ValueError("forgotten")

        logs.configure(style="json")
        warnings.warn("old", UserWarning)
        Careless()
        thread = threading.Thread(target=lambda: 1 / 0, name="careless")
        thread.start()
        thread.join()
        logs.last_words()
    """
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    warned, ignored, ended = log_lines(said.stderr)
    assert warned["event"] == ignored["event"] == ended["event"] == "library.complained"
    assert warned["detail"] == "UserWarning: old"
    assert "forgotten" in ignored["exception"]
    assert "ZeroDivisionError" in ended["exception"]
    assert "careless" in ended["detail"]


def test_setting_up_again_replaces_what_was_set_up(log: io.StringIO, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as other:
        configure(style="json", stream=other)
        emit(events.DAEMON_STOPPED)
        logging.getLogger("some.library").warning("x")
        other.seek(0)
        assert len(log_lines(other.read())) == 2
    assert log.getvalue() == ""


# Failures that go on


class Trouble:
    """A failure on a clock that the test sets."""

    def __init__(self, log: io.StringIO) -> None:
        self.log = log
        self.clock = FakeClock()
        self.repeats = Repeats(self.clock, events.SPOOL_FAILED, events.SPOOL_RECOVERED)

    def fail(self, *key: str) -> None:
        self.repeats.failure(*key, error=SpoolFullError("no room"))

    def told(self) -> list[tuple[str, int]]:
        return [(line["event"], line["failures"]) for line in lines(self.log)]


@pytest.fixture
def trouble(log: io.StringIO) -> Trouble:
    return Trouble(log)


def test_a_failure_is_written_at_once(trouble: Trouble) -> None:
    trouble.fail()
    assert trouble.told() == [("spool.failed", 1)]


def test_a_failure_that_goes_on_is_written_at_growing_intervals(trouble: Trouble) -> None:
    written: list[float] = []
    for _ in range(6 * 3600):
        before = len(trouble.log.getvalue())
        trouble.fail()
        if len(trouble.log.getvalue()) > before:
            written.append(trouble.clock.elapsed)
        trouble.clock.elapsed += 1
    intervals = [later - earlier for earlier, later in pairwise(written)]
    assert intervals[:7] == [REPEAT_FIRST * 2**n for n in range(6)] + [REPEAT_CAP]
    assert set(intervals[6:]) == {REPEAT_CAP}


def test_a_new_cause_is_written_at_once_and_causes_that_take_turns_are_no_flood(
    trouble: Trouble,
) -> None:
    for number in range(3600):
        error = SpoolFullError("no room") if number % 2 else SpoolError("no such disk")
        trouble.repeats.failure(error=error)
        trouble.clock.elapsed += 1
    first, second, *others = lines(trouble.log)
    assert (first["error"], second["error"]) == ("spool.failed", "spool.full")
    assert len(others) == 2 * 5


def test_words_that_never_repeat_are_no_flood(trouble: Trouble) -> None:
    for number in range(3600):
        word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        trouble.repeats.failure(error=SpoolError(f"request {word}, {number}"))
        trouble.clock.elapsed += 1
    assert len(lines(trouble.log)) < 30


def test_a_run_of_failures_ends_in_one_line_that_sums_it_up(trouble: Trouble) -> None:
    for _ in range(10):
        trouble.fail()
        trouble.clock.elapsed += 5
    trouble.repeats.success()
    trouble.repeats.success()
    assert trouble.told() == [("spool.failed", 1), ("spool.recovered", 10)]
    assert lines(trouble.log)[-1]["seconds"] == 50.0


def test_a_success_without_a_failure_is_not_worth_a_line(trouble: Trouble) -> None:
    trouble.repeats.success()
    assert trouble.told() == []


@pytest.mark.parametrize("error", [SpoolFullError("no room"), KeyError("a mistake")])
def test_no_error_leaves_a_fence(trouble: Trouble, error: Exception) -> None:
    with trouble.repeats.fence():
        raise error
    with trouble.repeats.fence():
        pass
    assert trouble.told() == [("spool.failed", 1), ("spool.recovered", 1)]


def test_a_fence_lets_a_cancellation_through(trouble: Trouble) -> None:
    with pytest.raises(asyncio.CancelledError), trouble.repeats.fence():
        raise asyncio.CancelledError
    assert trouble.told() == []


def test_a_new_run_after_a_recovery_is_written_at_once(trouble: Trouble) -> None:
    trouble.fail()
    trouble.repeats.success()
    trouble.fail()
    assert trouble.told() == [("spool.failed", 1), ("spool.recovered", 1), ("spool.failed", 1)]


def test_failures_of_different_things_are_told_apart(trouble: Trouble) -> None:
    for key in ("a", "b", "a", "b"):
        trouble.fail(key)
    trouble.repeats.success("a")
    assert trouble.told() == [("spool.failed", 1), ("spool.failed", 1), ("spool.recovered", 2)]
