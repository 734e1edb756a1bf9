"""Names and times that cameras give files: none is lost, mixed up or obeyed."""

import json
import os
import time
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dockd.cli.main import main
from dockd.evidence.statements import read_unverified_manifest
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.timeformats import TimeFormat
from dockd.station.config import ProfileConfig
from dockd.station.control.encoding import encode
from dockd.station.control.pages import redacted
from dockd.station.control.reading import Reader
from dockd.station.control.requests import ClipQuery
from dockd.station.control.views import Stage
from dockd.station.lifecycle import State
from dockd.station.model import display_path, raw_path, whole_path
from tests.display.samples import camera, status, trouble
from tests.station.pipeline.test_docking import Bench
from tests.support import write_config

NAMES = [
    b"\xff\xfe\x80.mp4",
    b"a" * 251 + b".mp4",
    "é".encode() * 125 + b".mp4",
    b"CASE.mp4",
    b"case.mp4",
    unicodedata.normalize("NFC", "Müller.mp4").encode(),
    unicodedata.normalize("NFD", "Müller.mp4").encode(),
    b"\x1b[31mred\n\r\t\x07\x7f.mp4",
    b"\"quoted'`$(reboot)`.mp4",
    "\u202egpj.\u2066x\u2069\u200f.mp4".encode(),
    "\u2028\u2029\ufeff\u00a0\u3000.mp4".encode(),
    b"back\\slash\\x41.mp4",
    b"-rf --no-preserve-root.mp4",
    b" .. .mp4",
    b"CON.mp4",
    b"%s%n{officer}{0}.mp4",
    "😀👮\u200d♀.mp4".encode(),
    b"<img src=x onerror=alert(1)>.mp4",
    b"20260230250099.mp4",
    b"00000000000000.mp4",
    b"99999999999999.mp4",
    b".mp4",
]
"""Each of them is a name that Linux allows."""
TIMES = [
    -(11644473600) * 10**9,  # 1601, the zero of NTFS
    -1,
    0,
    315532800 * 10**9,  # 1980, the zero of FAT
    4354819198 * 10**9,  # 2107, its end
    253402300800 * 10**9,  # the year 10000
]


@pytest.fixture(
    params=["UTC", "Europe/London", "Pacific/Apia", "America/St_Johns", "Nowhere/At_All"]
)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_names_are_shown_on_one_line_and_none_as_another() -> None:
    shown = [display_path(name) for name in NAMES]
    assert all(text.isprintable() for text in shown)
    assert len(set(shown)) == len(NAMES)
    assert [raw_path(whole_path(name)) for name in NAMES] == NAMES


def test_clips_of_whatever_names_come_to_the_receiver_and_off_the_camera(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with closing(bench.ledger):
        for number, name in enumerate(NAMES):
            path = os.path.join(os.fsencode(bench.media.folder), name)  # noqa: PTH118
            with open(path, "wb") as file:  # noqa: PTH123  # pathlib takes no bytes
                file.write(b"clip %d" % number)
        bench.run_until(bench.is_safe)
        clips = bench.ledger.queries.clips()
        assert {clip.path for clip in clips} == set(NAMES)
        assert {clip.state for clip in clips} == {State.WIPED}
        assert os.listdir(bench.media.folder) == []  # noqa: PTH208
        manifests = [read_unverified_manifest(str(clip.manifest)) for clip in clips]
        assert [raw_path(one.file.path) for one in manifests] == [clip.path for clip in clips]
        # The journal is one line an entry, and its chain holds.
        for entry in bench.ledger.journal.entries():
            assert "\n" not in entry.as_json()
            json.loads(entry.as_json())
        bench.ledger.journal.verify()
        shown = [clip.path for clip in Reader(tmp_path / "ledger.db").clips(ClipQuery())]
        assert sorted(shown) == sorted(map(display_path, NAMES))


@pytest.mark.parametrize("modified_ns", TIMES)
def test_clips_of_whatever_times_come_to_the_receiver(tmp_path: Path, modified_ns: int) -> None:
    bench = Bench(tmp_path)
    with closing(bench.ledger):
        path = bench.clip("1.mp4")
        try:
            os.utime(path, ns=(0, modified_ns))
        except OSError:
            pytest.skip("this file system has no such time")
        bench.run_until(bench.is_safe)
        (clip,) = bench.ledger.queries.clips()
        assert clip.state is State.WIPED
        manifest = read_unverified_manifest(str(clip.manifest))
        assert 1601 <= int(manifest.file.modified_at[:4]) <= 2262


def test_a_name_is_no_date_unless_the_calendar_has_it(zone: str) -> None:
    keys = {
        "name": "generic",
        "rules": [{"pattern": "{time:*}.mp4", "kind": "video", "time_format": "%Y%m%d%H%M%S"}],
    }
    profile = Profile(ProfileConfig.model_validate(keys))
    for name in NAMES:
        found = profile.match(name)
        assert found is not None
        assert found.recorded_at is None


@pytest.mark.parametrize(
    "text",
    [
        "20261025013000",  # twice in London
        "20260329013000",  # never in London
        "20111230120000",  # a day that Apia left out
        "20261101010000",
        "19800101000000",
        "21071231235958",
        "00010101000000",
        "99991231235959",
        "19700101000000",
        "20380119031408",
    ],
)
def test_every_date_of_the_calendar_is_a_moment_or_none_in_every_zone(
    zone: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = TimeFormat("%Y%m%d%H%M%S").read(text)
    assert moment == TimeFormat("%Y%m%d%H%M%S").read(text)
    if text[:4] not in {"0001", "9999"}:
        assert moment is not None
    profiles = (
        '[[profiles]]\nname = "p"\nrules = [{ pattern = "{time:*}.mp4", kind = "video",'
        ' time_format = "%Y%m%d%H%M%S" }]\n'
    )
    (tmp_path / "camera").mkdir()
    (tmp_path / "camera" / f"{text}.mp4").write_bytes(b"v")
    config = write_config(tmp_path, profiles=profiles)
    assert main(["profile", "test", "--config", str(config), str(tmp_path / "camera")]) == 0
    assert f"time={text}" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_the_technicians_page_names_no_clip(name: bytes) -> None:
    shown = display_path(name)
    about = {"camera": "bodycam/1", "clip": 7, "path": shown}
    one = trouble("clip.unreadable", what=f"{shown}: can't be read", hint="", **about)
    page = redacted(status(camera("1", Stage.STUCK, troubles=[one])))
    if len(shown) > 8:
        assert shown not in encode(page).decode()
