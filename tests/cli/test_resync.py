import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockd.cli import resync
from dockd.station.control.views import ResyncAnswer, Stage, Trouble
from tests.cli.support import Daemon, camera, clip, pause, refuse, status, trouble
from tests.cli.test_cli import Shell


def answer(**changes: Any) -> ResyncAnswer:
    plain = ResyncAnswer(order=5, cameras=["generic:CAM-1"], clips=[], refused=[])
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ([], {}),
        (["--camera", "3", "--failed"], {"camera": "3", "failed": True}),
        (["--clip", "17", "--reupload"], {"clip": 17, "reupload": True}),
        (["--clip", "c" * 64], {"clip": 17}),
    ],
)
def test_the_order_is_what_the_options_say(
    dockd: Shell, socket: Path, daemon: Daemon, options: list[str], order: dict[str, Any]
) -> None:
    daemon.clips = [clip(17)]
    assert dockd("resync", *options, "--no-wait", "--socket", socket).code == 0
    nothing = {"camera": None, "clip": None, "failed": False, "reupload": False}
    assert daemon.asked == [("resync", nothing | order)]


def test_it_comes_back_when_all_that_was_ordered_is_done(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.answer = answer(clips=[17, 18])
    daemon.clips = [clip(17), clip(18, "acknowledged")]
    daemon.status = status(cameras=[camera()])
    said = dockd("resync", "--socket", socket)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "order 5: generic:CAM-1, 2 clips requeued"
    assert lines[1].endswith("bay 1, CAM-1: safe to take; 2 wiped")
    assert lines[-1] == "done"


def test_nothing_docked_is_nothing_to_wait_for(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    said = dockd("resync", "--socket", socket)
    assert said.code == 0
    assert said.out == "order 5: no camera, 0 clips requeued\n"


@pytest.mark.parametrize(
    "working",
    [
        status(cameras=[camera(stage=Stage.READING)]),
        status(cameras=[camera(stage=Stage.FAILING)]),
        status(cameras=[camera(stage=Stage.WAITING)]),
        pytest.param(status(cameras=[camera(looked_from=4)]), id="done, but not looked at since"),
        pytest.param(status(cameras=[camera(looked_from=None)]), id="done, but never looked at"),
    ],
)
def test_it_waits_while_a_camera_gets_on_by_itself(
    socket: Path, daemon: Daemon, working: Any
) -> None:
    daemon.answer = answer()
    daemon.status = working
    with subprocess.Popen(
        [sys.executable, "-m", "dockd", "resync", "--socket", str(socket)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        until_known = [next(process.stdout)]
        while "station: " not in until_known[-1]:
            until_known.append(next(process.stdout))
        done = camera("1", "CAM-1", clips={"wiped": 3})
        daemon.become(status(cameras=[done, camera("2", "OTHER", Stage.READING)]))
        rest = process.stdout.read()
        assert "bay 1, CAM-1: safe to take; 3 wiped" in rest
        assert rest.splitlines()[-1] == "done"
        assert "OTHER" not in rest
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("ended", "said_of_it"),
    [
        (status(cameras=[camera(stage=Stage.STUCK)]), "needs operator (dockd status)"),
        (status(cameras=[camera(stage=Stage.REFUSED)]), "refused (dockd status)"),
        (
            status(cameras=[camera(stage=Stage.WAITING)], pauses=[pause()]),
            "paused (dockd resume)",
        ),
        (status(), "undocked"),
    ],
)
def test_a_camera_that_needs_a_person_ends_it_with_20(
    dockd: Shell, socket: Path, daemon: Daemon, ended: Any, said_of_it: str
) -> None:
    daemon.answer = answer()
    daemon.status = ended
    said = dockd("resync", "--socket", socket)
    assert said.code == 20
    assert said.out.splitlines()[-1] == f"! generic:CAM-1: {said_of_it}"


@pytest.mark.parametrize(
    ("left", "now", "said_of_it"),
    [
        (clip(17, "rejected", trouble=trouble()), status(), "rejected The server never will"),
        (clip(17, "unreadable"), status(), "unreadable"),
        (clip(17, "spooled"), status(pauses=[pause()]), "spooled, uploads are paused"),
        (clip(17, "found"), status(), "found, its camera is not docked"),
    ],
)
def test_a_clip_that_needs_a_person_ends_it_with_20(
    dockd: Shell, socket: Path, daemon: Daemon, left: Any, now: Any, said_of_it: str
) -> None:
    daemon.clips = [left]
    daemon.status = now
    said = dockd("resync", "--clip", "17", "--socket", socket)
    assert said.code == 20
    last = said.out.splitlines()[-1]
    assert last.startswith(f"! clip 17, generic:CAM-1, DCIM/17.mp4: {said_of_it}")


DOWN = trouble(
    event="target.down",
    needs_person=False,
    what="The server can't accept any clip now: nothing listens there",
    hint="start the server",
    next_try="2026-11-21T12:00:30.000Z",
    camera=None,
    clip=None,
    path=None,
)
REFUSED = trouble(
    event="receipt.refused",
    what="Invalid receipt: its key is not pinned",
    hint="check target.receiver_keys",
    next_try="2026-11-21T12:00:30.000Z",
)


@pytest.mark.parametrize(("stuck", "code", "mark"), [(DOWN, 10, "~"), (REFUSED, 20, "!")])
@pytest.mark.parametrize("was_there", [True, False])
@pytest.mark.parametrize("options", [[], ["--clip", "17"]])
def test_what_fails_again_ends_it_with_what_is_true(
    dockd: Shell,
    socket: Path,
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    stuck: Trouble,
    code: int,
    mark: str,
    was_there: bool,
    options: list[str],
) -> None:
    monkeypatch.setattr(resync, "_STILL_SECONDS", 0.0)
    waiting = status(cameras=[camera(stage=Stage.WAITING, clips={"uploading": 1})])
    daemon.answer = answer()
    daemon.clips = [clip(17, "uploading")]
    daemon.status = replace(waiting, troubles=[stuck] * was_there)
    again = replace(stuck, failures=2)
    daemon.after_order = replace(waiting, troubles=[again])
    said = dockd("resync", *options, "--socket", socket)
    assert said.code == code
    last = said.out.splitlines()[-1]
    assert last.startswith(mark)
    assert f"{stuck.what} -> {stuck.hint} (retr" in last


def test_what_has_not_been_tried_since_the_order_is_no_outcome(
    dockd: Shell, socket: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resync, "_STILL_SECONDS", 0.0)
    daemon.answer = answer()
    daemon.status = status(
        cameras=[camera(stage=Stage.WAITING, clips={"uploading": 1})], troubles=[DOWN]
    )
    said = dockd("resync", "--timeout", "2s", "--socket", socket)
    assert said.code == 10
    assert said.out.splitlines()[-1] == "~ timeout; work continues"


@pytest.mark.parametrize("options", [[], ["--clip", "17"]])
def test_what_only_waits_ends_it_once_nothing_has_moved_for_long(
    dockd: Shell, socket: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(resync, "_IDLE_SECONDS", 0.0)
    daemon.answer = answer()
    daemon.clips = [clip(17, "found")]
    daemon.status = status(cameras=[camera(stage=Stage.WAITING, clips={"found": 1})])
    said = dockd("resync", *options, "--socket", socket)
    assert said.code == 10
    assert "~ generic:CAM-1: no progress" in said.out
    assert ("~ clip 17: no progress" in said.out) == bool(options)
    assert "dockd status" in said.out


def test_work_that_goes_on_is_waited_for_until_the_time_is_up(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.answer = answer()
    daemon.status = status(cameras=[camera(stage=Stage.READING)])
    said = dockd("resync", "--timeout", "1s", "--socket", socket)
    assert said.code == 10
    assert said.out.splitlines()[-1] == "~ timeout; work continues"


def test_what_is_refused_is_said_and_ends_it_with_20(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.answer = answer(cameras=[], refused=[trouble(what="It is gone", hint="dock it")])
    for options in ([], ["--no-wait"]):
        said = dockd("resync", "--reupload", *options, "--socket", socket)
        assert said.code == 20
        assert "! generic:CAM-1, DCIM/1.mp4, clip 17: It is gone\n    -> dock it\n" in said.out


def test_a_camera_that_is_not_there_ends_it_with_65(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.refusal = refuse(404, "no camera is in bay 9", "dockd status lists them")
    said = dockd("resync", "--camera", "9", "--socket", socket)
    assert (said.code, said.out) == (65, "")
    assert "no camera is in bay 9" in said.err
