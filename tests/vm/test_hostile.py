"""Cameras whose file systems are damaged, or lie; beside each, a good one is emptied."""

import hashlib
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dockd.station.lifecycle import UNWIPED, State
from tests.vm.fat import END, Fat
from tests.vm.media import Card, clip
from tests.vm.station import Bodycam, Station

pytestmark = pytest.mark.vm

_SIZE = 60_000
_CLUSTER = 512


@contextmanager
def _docked(station: Station, *hostile: Bodycam) -> Iterator[int]:
    """Dock cameras with a good one beside, which ends empty; yields the mark before that."""
    good = station.bodycam({"DCIM/1.mp4": clip(("beside", *(camera.serial for camera in hostile)))})
    since = station.mark()
    plugged = [station.plug(camera) for camera in (*hostile, good)]
    station.wait_for("camera.safe", good, since=since)
    yield since
    for one in plugged:
        station.machine.unplug(one)
    station.assert_done(good)


def _digests(*contents: bytes) -> list[str]:
    return sorted(hashlib.sha256(content).hexdigest() for content in contents)


def _states(station: Station, camera: Bodycam) -> dict[str, State]:
    return {clip.name: clip.state for clip in station.clips(camera)}


def _seen(station: Station, event: str, camera: Bodycam, since: int) -> set[str]:
    """Return the paths that an event was told of."""
    return {
        one["path"] for one in station.machine.journal.find(event, since=since, camera=camera.id)
    }


def test_broken_chains_cost_their_own_clips_and_no_other(station: Station) -> None:
    names = ("good", "early", "looping", "crossed-1", "crossed-2", "too-large", "last")
    data = {name: clip(("chains", name), _SIZE) for name in names}
    camera = station.bodycam(
        {f"DCIM/{name}.mp4": content for name, content in data.items()}
        | {"DCIM/empty.mp4": b"", "turning/inside.mp4": clip("turning")}
        | {"outer/inner/inside.mp4": clip("inner")}
    )
    fat = Fat(camera.card)
    fat.link(fat.clusters("DCIM/early.mp4")[50], END)
    looping = fat.clusters("DCIM/looping.mp4")
    fat.link(looping[20], looping[10])
    one, two = fat.clusters("DCIM/crossed-1.mp4"), fat.clusters("DCIM/crossed-2.mp4")
    fat.link(two[30], one[31])
    fat.resize("DCIM/too-large.mp4", 0xFFFFFFFF)
    turning = fat.clusters("turning")
    fat.link(turning[-1], turning[0])
    fat.begin("outer/inner", fat.entry("outer").first)

    with _docked(station, camera) as since:
        stuck = station.wait_for("camera.stuck", camera, since=since)
        assert stuck["clips"] == 4
        assert _seen(station, "clip.unreadable", camera, since) == {
            "DCIM/early.mp4",
            "DCIM/too-large.mp4",
        }
        unlisted = _seen(station, "camera.folder_unreadable", camera, since)
        # A folder in itself is found where the kernel sees the loop.
        assert "turning" in unlisted
        assert any(path.startswith("outer/inner") for path in unlisted)
        states = _states(station, camera)
    kept = {"DCIM/early.mp4", "DCIM/too-large.mp4"}
    assert {name for name, state in states.items() if state is State.UNREADABLE} == kept
    assert {state for name, state in states.items() if name not in kept} == {State.WIPED}
    left = {path for path in Fat(camera.card).entries() if path.startswith("DCIM/")}
    assert left == kept
    # What a chain leads to is what there is to be had of a clip.
    round_and_round = [*range(21), *(10 + n % 11 for n in range(_SIZE // _CLUSTER))]
    shown = b"".join(data["looping"][_CLUSTER * n : _CLUSTER * (n + 1)] for n in round_and_round)[
        :_SIZE
    ]
    crossed = data["crossed-2"][: 31 * _CLUSTER] + data["crossed-1"][31 * _CLUSTER :]
    whole = (data["good"], data["crossed-1"], data["last"], b"")
    assert station.evidence(camera) == _digests(*whole, shown, crossed)


def test_every_file_behind_a_strange_or_a_shared_name_becomes_evidence_of_its_own(
    station: Station,
) -> None:
    wide = "w" * 251 + ".mp4"
    camera = station.bodycam(
        {
            name: clip(("names", name), 20_000)
            for name in (
                *("a line feed.mp4", "an escape xx.mp4", "a surrogate.mp4", "a surrogatex.mp4"),
                *("the same-1.mp4", "the same-2.mp4", "lower case.mp4", "upper case.mp4"),
                *(wide, "was removed.mp4"),
            )
        }
    )
    fat = Fat(camera.card)
    fat.rename("a line feed.mp4", "a\nline\nfeed.mp4")
    fat.rename("an escape xx.mp4", "an escape \x1b\x07.mp4")
    fat.rename("a surrogatex.mp4", "a surrogate\ud800.mp4")
    fat.rename("the same-2.mp4", "the same-1.mp4")
    fat.rename("upper case.mp4", "LOWER CASE.mp4")
    fat.rename(wide, "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 251 + ".mp4")
    fat.remove("was removed.mp4")

    with _docked(station, camera) as since:
        station.wait_for("camera.safe", camera, since=since)
        hidden = _seen(station, "camera.folder_unreadable", camera, since)
        found = _states(station, camera)
    assert hidden == {"a surrogate.mp4", "the same-1.mp4", "lower case.mp4"}
    assert {r"a\x0aline\x0afeed.mp4", r"an escape \x1b\x07.mp4"} < set(found)
    assert Fat(camera.card).entries() == {}
    recorded = dict(camera.recorded)
    del recorded["was removed.mp4"]
    assert station.evidence(camera) == _digests(*recorded.values())


@pytest.mark.thorough
def test_a_file_system_larger_than_its_device_costs_what_is_beyond_the_end(
    station: Station,
) -> None:
    files = {f"DCIM/{number}.mp4": clip(("end", number)) for number in range(3)}
    camera = station.bodycam(files)
    beyond = camera.card.sector_of(files["DCIM/2.mp4"][:_CLUSTER])
    os.truncate(camera.card.path, (beyond + 100) * 512)
    refused = station.bodycam({"DCIM/1.mp4": clip("ext4 end")}, filesystem="ext4")
    os.truncate(refused.card.path, 32 << 20)

    with _docked(station, camera, refused) as since:
        stuck = station.wait_for("camera.stuck", camera, since=since)
        assert stuck["clips"] == 1
        unmountable = station.wait_for("camera.failed", refused, since=since)
        assert unmountable["error"] == "camera.unmountable"
        assert unmountable["hint"]
        states = _states(station, camera)
    assert states == {
        "DCIM/0.mp4": State.WIPED,
        "DCIM/1.mp4": State.WIPED,
        "DCIM/2.mp4": State.UNREADABLE,
    }
    assert station.evidence(camera) == _digests(files["DCIM/0.mp4"], files["DCIM/1.mp4"])


@pytest.mark.thorough
def test_an_ext4_that_keeps_files_and_folders_to_its_owner_is_stuck_with_those(
    station: Station,
) -> None:
    deep = "/".join(["d" * 250] * 12)
    names = ("case.mp4", "CASE.mp4", "not utf-8 \udcff\udcfe.mp4", "line\nfeed.mp4", "secret.mp4")
    camera = station.bodycam(
        {
            **{f"DCIM/{name}": clip(("ext4", name)) for name in names},
            "DCIM/empty.mp4": b"",
            f"{deep}/deep.mp4": clip("deep"),
            "closed/unseen.mp4": clip("unseen"),
            "kept/kept.mp4": clip("kept"),
        },
        filesystem="ext4",
    )
    _set_modes(
        camera.card,
        {"DCIM": 0o40777, "DCIM/secret.mp4": 0o100600, "closed": 0o40700, deep: 0o40777},
    )
    with _docked(station, camera) as since:
        stuck = station.wait_for("camera.stuck", camera, since=since)
        assert stuck["clips"] == 3
        assert _seen(station, "clip.unreadable", camera, since) == {"DCIM/secret.mp4"}
        closed = station.wait_for("camera.folder_unreadable", camera, since=since)
        assert closed["path"] == "closed"
        assert "let everyone read" in closed["hint"]
        failed = station.wait_for("wipe.failed", camera, since=since)
        assert failed["path"] == "kept/kept.mp4"
        assert "Permission denied" in failed["detail"]
        states = _states(station, camera)
    assert states.pop("DCIM/secret.mp4") is State.UNREADABLE
    assert states.pop("kept/kept.mp4") in UNWIPED
    assert set(states.values()) == {State.WIPED}
    assert r"DCIM/not utf-8 \xff\xfe.mp4" in states
    assert camera.card.check() == ""
    stays = {"DCIM/secret.mp4", "closed/unseen.mp4"}
    assert station.evidence(camera) == _digests(
        *(data for name, data in camera.recorded.items() if name not in stays)
    )
    assert set(camera.card.files()) == {*stays, "kept/kept.mp4"}


@pytest.mark.thorough
def test_an_exfat_name_that_leads_nowhere_is_told_and_the_others_are_wiped(
    station: Station,
) -> None:
    camera = station.bodycam(
        {"broken.mp4": clip("broken"), "whole.mp4": clip("whole")}, filesystem="exfat"
    )
    _break_name(camera.card, "broken.mp4")
    with _docked(station, camera) as since:
        stuck = station.wait_for("camera.stuck", camera, since=since)
        assert stuck["clips"] == 1
        assert _seen(station, "camera.folder_unreadable", camera, since) == {"broken.mp4"}
        assert _states(station, camera) == {"whole.mp4": State.WIPED}
    assert clip("broken") in camera.card.path.read_bytes()
    assert station.evidence(camera) == _digests(clip("whole"))


def _set_modes(card: Card, modes: dict[str, int]) -> None:
    commands = "".join(f'sif "/{path}" mode 0{mode:o}\n' for path, mode in modes.items())
    done = subprocess.run(
        ["debugfs", "-w", "-f", "-", f"{card.path}?offset={card.offset}"],
        input=commands,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not found" not in done.stderr, done.stderr


def _break_name(card: Card, name: str) -> None:
    """Give a file's name another hash than its own, so that a search passes it by.

    After Microsoft's "exFAT file system specification", sections 6.3, 7.6 and 7.7.
    """
    image = bytearray(card.path.read_bytes())
    # The entries of a file: itself, its stream, its name.
    start = image.index(b"\xc1\0" + name.encode("utf-16-le")) - 64
    size = 32 * (1 + image[start + 1])
    (name_hash,) = struct.unpack_from("<H", image, start + 32 + 4)
    struct.pack_into("<H", image, start + 32 + 4, name_hash ^ 1)
    checksum = 0
    for number, byte in enumerate(image[start : start + size]):
        if number not in {2, 3}:
            checksum = ((checksum << 15 | checksum >> 1) + byte) & 0xFFFF
    struct.pack_into("<H", image, start + 2, checksum)
    card.path.write_bytes(image)
