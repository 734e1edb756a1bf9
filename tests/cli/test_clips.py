import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dockd.station.control.decoding import decode
from dockd.station.control.views import ClipStory, ClipView, JournalLine
from tests.cli.support import EARLIER, NOW, Daemon, camera, clip, status, trouble
from tests.cli.test_cli import Shell


def test_clips_are_listed_with_what_keeps_them(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    daemon.clips = [clip(1), clip(17, "rejected", trouble=trouble())]
    said = dockd("clips", "--socket", socket)
    assert (said.code, said.err) == (0, "")
    heading, first, second, why, remedy = said.out.splitlines()
    assert heading.split() == ["CLIP", "STATE", "SINCE", "SIZE", "CAMERA,", "PATH"]
    assert first.split()[:2] == ["1", "wiped"]
    assert first.endswith("1.43 MiB  generic:CAM-1, DCIM/1.mp4")
    assert second.split()[:2] == ["17", "rejected"]
    assert why.strip() == "! The server never will store this: 413"
    assert remedy.strip() == "-> raise the server's limit, then: dockd resync --failed"


def test_no_clip_is_no_line(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    said = dockd("clips", "--socket", socket)
    assert (said.code, said.out) == (0, "")
    assert dockd("clips", "--socket", socket, "--json").out == "[]\n"


def test_clips_are_chosen_by_camera_state_and_time(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.status = status(cameras=[camera("3", "CAM-7")])
    daemon.clips = [clip(2, "found"), clip(1, "rejected"), clip(3)]
    since = datetime(2026, 1, 14, 7).astimezone()
    said = dockd(
        *("clips", "--socket", socket, "--json", "--camera", "3", "--since", since.isoformat()),
        *("--state", "rejected", "--state", "found", "--state", "found"),
    )
    assert [one["id"] for one in json.loads(said.out)] == [1, 2]
    (_, rejected), (_, found) = daemon.asked
    assert rejected["state"] == "rejected"
    assert found["state"] == "found"
    assert found["camera"] == "generic:CAM-7"
    assert datetime.fromisoformat(found["since"]) == since


def test_a_camera_that_is_in_no_bay_is_named_by_its_serial(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    dockd("clips", "--socket", socket, "--camera", "CAM-7")
    ((_, asked),) = daemon.asked
    assert asked["camera"] == "CAM-7"


def test_a_bay_without_a_camera_is_said_to_be_empty(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    said = dockd("clips", "--socket", socket, "--camera", "2")
    assert (said.code, said.out) == (65, "")
    assert "bay 2 is empty" in said.err


def test_a_row_keeps_to_the_width_of_a_terminal(
    dockd: Shell, socket: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.clips = [clip(1, path="DCIM/" + "long/" * 30 + "0001.mp4")]
    size = os.terminal_size((80, 24))
    monkeypatch.setattr("dockd.cli.output.terminal_size", lambda: size)
    _, row = dockd("clips", "--socket", socket).out.splitlines()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", row)
    assert len(plain) == 80
    assert plain.endswith("long/0001.mp4")


def test_only_the_newest_clips_are_listed_and_that_is_said(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.clips = [clip(3), clip(2), clip(1)]
    said = dockd("clips", "--socket", socket, "--limit", "2", "--json")
    assert [one["id"] for one in json.loads(said.out)] == [2, 3]
    assert said.err == "dockd: only the 2 newest are shown; use --limit for more\n"
    assert dockd("clips", "--socket", socket, "--limit", "3").err == ""


def test_the_json_of_clips_is_what_the_daemon_said(
    dockd: Shell, socket: Path, daemon: Daemon
) -> None:
    daemon.clips = [clip(1), clip(2, "rejected", trouble=trouble(), path="\x9b映")]
    printed = dockd("clips", "--socket", socket, "--json").out
    assert decode(list[ClipView], printed) == daemon.clips
    assert printed.isascii()


@pytest.mark.parametrize(
    "wrong", [["--state", "lost"], ["--since", "soon"], ["--limit", "0"], ["1"]]
)
def test_what_can_not_be_chosen_by_is_a_wrong_call(
    dockd: Shell, socket: Path, wrong: list[str]
) -> None:
    said = dockd("clips", "--socket", socket, *wrong)
    assert said.code == 64
    assert re.search(r"hint: dockd (clips )?--help", said.err)


STORY: dict[str, Any] = {
    "journal": [
        JournalLine(seq=1, at=EARLIER, event="clip.found", detail={"path": "a\nb", "size": 5}),
        JournalLine(seq=2, at=NOW, event="clip.ingesting", detail={}),
    ],
    "manifest": {"clip_id": "c" * 64, "plaintext": {"sha256": "1" * 64, "size": 5}},
    "receipt": None,
}


def test_a_clips_whole_story_is_told(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    daemon.clips = [clip(17, "rejected", trouble=trouble(), event=True)]
    daemon.story = STORY
    said = dockd("show", "17", "--socket", socket)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "clip 17  generic:CAM-1, DCIM/17.mp4"
    facts = {line[2:24].strip(): line[26:] for line in lines if line.startswith("  ")}
    assert facts["state"].startswith("rejected since ")
    assert facts["kind"] == "video, event-flagged"
    assert facts["size"] == "1.43 MiB (1500000 bytes)"
    assert facts["clip id"] == "c" * 64
    assert facts["on camera"] == "no"
    assert "needs operator action: The server never will store this: 413" in facts["stuck"]
    assert facts["to do"].endswith("dockd resync --failed")
    assert facts["plaintext.sha256"] == "1" * 64
    assert f"  {EARLIER}  clip.found  path=a\\x0ab  size=5" in lines
    assert f"  {NOW}  clip.ingesting" in lines
    assert lines[lines.index("receipt") + 1] == "  none yet: the clip can't be wiped"


def test_a_clip_is_found_by_its_clip_id_as_well(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    daemon.clips = [clip(17)]
    printed = dockd("show", "c" * 64, "--socket", socket, "--json").out
    assert decode(ClipStory, printed).clip == clip(17)


def test_a_clip_that_is_not_known_ends_with_65(dockd: Shell, socket: Path, daemon: Daemon) -> None:
    said = dockd("show", "4711", "--socket", socket)
    assert (said.code, said.out) == (65, "")
    assert "there is no clip 4711" in said.err
    assert "hint: dockd clips lists them" in said.err
