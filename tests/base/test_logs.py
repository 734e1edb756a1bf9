import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from dockd.base import logs
from dockd.base.errors import SpoolError, SpoolFullError, UnforeseenError
from dockd.base.log_events import Level
from dockd.base.logs import configure
from dockd.station import events
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
    events.camera_docked(camera="generic:1", place="bay\n1 é \udcff", docking=1)
    events.daemon_stopped()
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
    events.spool_failed().write(error, failures=1)
    (line,) = lines(log)
    assert line["error"] == "spool.full"
    assert line["detail"] == "The spool has no room: no room"
    assert line["hint"] == "free some disk"
    assert line["level"] == "error"


def test_an_exception_is_one_field(log: io.StringIO) -> None:
    try:
        int("unforeseen")
    except ValueError as error:
        events.camera_failed(camera="c").write(UnforeseenError.of(error), failures=1)
    (line,) = lines(log)
    assert line["error"] == "unforeseen"
    assert line["exception"].startswith("Traceback")
    assert "ValueError" in line["exception"].splitlines()[-1]


def test_an_error_that_was_foreseen_needs_no_traceback(log: io.StringIO) -> None:
    error = SpoolFullError("no room")
    error.__cause__ = OSError("no space")
    events.spool_failed().write(error, failures=1)
    assert "exception" not in lines(log)[0]


def test_what_is_bound_to_a_context_is_in_every_line(log: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(camera="generic:1"):
        events.daemon_stopped()
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
    events.camera_docked(camera="generic:1", place="bay 1", docking=1)
    text = log.getvalue()
    assert text.startswith("{") is is_json
    assert "camera.docked" in text
    assert ("\x1b[" in text) is (stream is Terminal and not is_json)
    if is_json:
        json.loads(text)


def test_text_begins_with_the_time_and_stays_on_one_line() -> None:
    log = io.StringIO()
    configure(style="text", stream=log)
    events.camera_docked(camera="a\nb\x1b[2J", place="bay 1", docking=1)
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
def test_less_serious_events_are_left_out(level: Level, expected: list[str]) -> None:
    log = io.StringIO()
    configure(level=level, style="json", stream=log)
    events.daemon_stopped()
    logging.getLogger("some.library").warning("pool is full")
    events.spool_failed().write(SpoolError(), failures=1)
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
    monkeypatch.setattr(logs, "_QUIET_SECONDS", 0.0)
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
        events.daemon_stopped()
        logging.getLogger("some.library").warning("x")
        other.seek(0)
        assert len(log_lines(other.read())) == 2
    assert log.getvalue() == ""
