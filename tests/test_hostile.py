"""Cameras with very much on them: more files, longer paths, larger clips than any should have."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dockd.evidence.statements import read_unverified_manifest
from dockd.station.lifecycle import State
from tests.mounts import mounted
from tests.station.pipeline.test_docking import Bench

_MANY = 100_000
_MEMORY = 384 << 20
"""Bytes that a station may take beside what this process has: many files are no reason for more."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A station whose camera is an ext4 of its own, larger than the disk it lies on needs be."""
    image = tmp_path / "camera.img"
    with image.open("wb") as file:
        file.truncate(16 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-N", str(2 * _MANY), image], check=True)
    bench = Bench(tmp_path)
    with mounted(bench.media.folder, "-o", "loop", str(image)), closing(bench.ledger):
        yield bench


def _memory(name: str) -> int:
    """Return a line of this process's memory, in bytes, as proc(5) names it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) << 10


@pytest.mark.slow
def test_a_clip_beyond_4_gib_is_evidence_and_is_wiped(bench: Bench) -> None:
    size = (4 << 30) + 1
    path = bench.clip("1.mp4")
    os.truncate(path, size)
    bench.run_until(bench.is_safe, patience=250)
    (clip,) = bench.ledger.queries.clips()
    assert (clip.state, clip.size) == (State.WIPED, size)
    assert read_unverified_manifest(str(clip.manifest)).plaintext.size == size
    assert not path.exists()


@pytest.mark.slow
def test_100_000_clips_are_found_in_one_look(bench: Bench) -> None:
    folder = bench.media.folder / "DCIM"
    folder.mkdir()
    for number in range(_MANY):
        (folder / f"{number}.mp4").touch()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak of what runs from here on
    bench.run_until(lambda: bench.ledger.queries.counts().get(State.SPOOLED, 0) > 0, patience=250)
    assert sum(bench.ledger.queries.counts().values()) == _MANY
    assert _memory("VmHWM") - before < _MEMORY


@pytest.mark.slow
def test_a_clip_among_100_000_other_files_is_wiped_and_they_stay(bench: Bench) -> None:
    folder = bench.media.folder / "DCIM"
    folder.mkdir()
    for number in range(_MANY):
        (folder / f"{number}.jpg").touch()
    bench.clip("DCIM/1.mp4")
    bench.run_until(bench.is_safe, patience=250)
    assert bench.ledger.queries.counts() == {State.WIPED: 1}
    assert sum(1 for _ in os.scandir(folder)) == _MANY
