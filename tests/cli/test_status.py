import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dockd.cli.overview import WIDTH, Tone, overview
from dockd.cli.text import columns
from dockd.station.control.decoding import decode
from dockd.station.control.views import LeftAloneView, SpoolView, Stage, Status, Verdict
from tests.cli.support import EARLIER, NOW, Daemon, camera, pause, status, trouble, work
from tests.cli.test_cli import Shell

TROUBLED = status(
    verdict=Verdict.NEEDS_PERSON,
    cameras=[
        camera("1", "CAM-1", Stage.STUCK, clips={"rejected": 1, "wiped": 3}),
        camera(
            "2",
            "CAM-2",
            Stage.UPLOADING,
            clips={"uploading": 1},
            bytes_total=1000,
            bytes_done=400,
            seconds_left=12_000.0,
        ),
    ],
    bays=["1", "2", "3", "4"],
    work=[work(camera="generic:CAM-2", path="DCIM/2.mp4")],
    troubles=[
        trouble(),
        trouble(
            event="target.down",
            needs_person=False,
            what="The target takes no clips now: refused",
            hint="",
            next_try="2026-11-21T12:00:30.000Z",
            camera=None,
            clip=None,
            path=None,
        ),
    ],
    pauses=[pause()],
    oldest_unacknowledged=EARLIER,
)


def shown(view: Status, height: int | None = None) -> list[str]:
    return [line.words for line in overview(view, height=height)]


def line_with(lines: list[str], *parts: str) -> str:
    (found,) = [line for line in lines if all(part in line for part in parts)]
    return found


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.WELL, 0), (Verdict.WORKING, 10), (Verdict.NEEDS_PERSON, 20)]
)
def test_the_exit_code_says_how_the_station_is(
    dockd: Shell, socket: Path, daemon: Daemon, verdict: Verdict, code: int
) -> None:
    daemon.status = status(verdict=verdict)
    for options in ([], ["--json"]):
        said = dockd("status", "--socket", socket, *options)
        assert (said.code, said.err) == (code, "")


def test_the_json_is_what_the_daemon_said(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    daemon.status = TROUBLED
    printed = dockd("status", "--socket", socket, "--json").out
    assert decode(Status, printed) == TROUBLED
    assert printed.count("\n") == 1


def test_the_json_holds_no_orders_to_a_terminal(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    daemon.status = status(bays=["\x1b[31m\x9b31m\N{RIGHT-TO-LEFT OVERRIDE}"])
    printed = dockd("status", "--socket", socket, "--json").out
    assert printed.isascii()
    assert printed.rstrip("\n").isprintable()
    assert json.loads(printed)["bays"] == daemon.status.bays


def test_a_pipe_gets_the_lines_without_tones(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    daemon.status = TROUBLED
    said = dockd("status", "--socket", socket)
    assert said.out.splitlines() == shown(TROUBLED)
    assert "\x1b" not in said.out


def test_cameras_are_shown_by_bay_with_how_far_they_are() -> None:
    lines = shown(TROUBLED)
    assert line_with(lines, "1         CAM-1 ").split(maxsplit=2) == [
        "1",
        "CAM-1",
        "needs operator          4",
    ]
    far = line_with(lines, "CAM-2", "uploading")
    assert far.endswith("[####......]  40% 3 h 20 min")
    clip = lines[lines.index(far) + 1]
    assert clip.startswith("  sending DCIM/2.mp4 ")
    assert clip.endswith("[#####.....]  50% 11.2 MiB/s")
    assert line_with(lines, "EMPTY") == "EMPTY    3, 4"


def test_what_is_stuck_says_why_since_when_when_again_and_what_to_do() -> None:
    lines = shown(TROUBLED)
    at = lines.index(line_with(lines, "! generic:CAM-1 (bay 1), DCIM/1.mp4, clip 17"))
    assert lines[at + 1].endswith("(2 h), needs operator action")
    assert lines[at + 2 : at + 4] == [
        "    The server never will store this: 413",
        "    -> raise the server's limit, then: dockd resync --failed",
    ]
    assert line_with(lines, "~ the station").endswith("(2 h), retried in 30 s")


def test_a_next_try_comes_nearer_without_news_of_the_daemon() -> None:
    lines = [line.words for line in overview(TROUBLED, elapsed=20.0)]
    assert line_with(lines, "~ the station").endswith("retried in 10 s")


def test_a_pause_is_shown_with_its_reason_and_who_ordered_it() -> None:
    assert "uploads, by root since" in line_with(shown(TROUBLED), "PAUSED", "the line is needed")


def test_the_rest_is_a_line_each() -> None:
    full = SpoolView(used=2**30, budget=2**30, free=5 * 2**30, reserve=0, waiting=True)
    lines = shown(status(spool=full, clips={}, at=NOW))
    assert line_with(lines, "CLIPS   ") == "CLIPS    none yet"
    assert "1.00 GiB of 1.00 GiB, disk 5.00 GiB free; FULL" in line_with(lines, "SPOOL")
    assert "https://evidence.example/files/ reachable" in line_with(lines, "SERVER")
    assert lines[0].startswith("camden-07: ALL IS WELL")
    assert lines[0].endswith("dockd 1.2.3, running for 2 h")


@pytest.mark.parametrize(
    "bad", ["\x1b[2J", "\N{RIGHT-TO-LEFT OVERRIDE}", "\r", "x" * 200, "映" * 60]
)
def test_whatever_names_hold_lines_fit_and_order_nothing(bad: str) -> None:
    view = replace(
        TROUBLED,
        cameras=[camera(bad, bad, Stage.FAILING)],
        bays=[bad + "2"],
        work=[work(path=bad), work(camera="gone", path=bad, rate=1023 * 2**30)],
        pauses=[pause(reason=bad)],
        troubles=[trouble(what=bad, hint=bad, path=bad)],
    )
    for line in overview(view):
        assert line.words.isprintable()
        assert columns(line.words) <= WIDTH


@pytest.mark.parametrize("height", [12, 18, 24, 40])
def test_one_screen_is_enough_and_says_what_it_leaves_out(height: int) -> None:
    view = replace(
        TROUBLED,
        cameras=[camera(str(bay), f"CAM-{bay}") for bay in range(1, 65)],
        troubles=[trouble(clip=number) for number in range(50)],
        pauses=[],
    )
    lines = shown(view, height)
    assert len(lines) <= height
    left = [line for line in lines if "more lines; dockd status | less" in line]
    assert len(left) == 2
    assert lines[-1].startswith("SERVER")
    every = shown(view)
    missing = sum(int(line.split()[1]) for line in left)
    assert len(lines) - len(left) + missing == len(every)


def test_what_nobody_has_read_stands_below_its_camera() -> None:
    left = LeftAloneView(files=1234, size=5 * 2**20, suspect=0)
    lines = shown(status(cameras=[camera(left_alone=left)]))
    at = lines.index(line_with(lines, "CAM-1", "not all files read"))
    assert lines[at + 1] == "  left alone: 1,234 files, 5.00 MiB, no rule matches"


def test_nothing_is_green_over_files_that_nobody_has_read() -> None:
    for files, tones in ((0, [Tone.GOOD, Tone.GOOD]), (3, [Tone.STRONG, Tone.PLAIN])):
        left = LeftAloneView(files=files, size=1, suspect=0)
        lines = overview(status(cameras=[camera(left_alone=left)]))
        seen = [one for one in lines if "camden-07" in one.words or "CAM-1" in one.words]
        assert [one.tone for one in seen] == tones
        assert ("ALL IS WELL" in seen[0].words) == (not files)
        assert any("safe to take" in one.words for one in lines) == (not files)


def test_a_status_is_had_without_modules_that_take_long_to_import(
    daemon: Daemon, socket: Path
) -> None:
    daemon.status = TROUBLED
    code = (
        "import sys; from dockd.cli.main import main;"
        f" code = main(['status', '--socket', {str(socket)!r}]);"
        " print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 20
    assert "camden-07: NEEDS OPERATOR ACTION" in ran.stdout
    heavy = "asyncio cryptography email httpx pydantic ssl starlette structlog traceback uvicorn"
    assert not set(heavy.split()) & set(ran.stderr.split())
