"""A camera whose medium fails under one clip, or under a folder."""

import hashlib

import pytest

from dockd.station.lifecycle import State
from tests.vm.fat import Fat
from tests.vm.media import clip
from tests.vm.station import Bodycam, Station

pytestmark = pytest.mark.vm


def test_a_clip_on_a_bad_sector_stays_and_is_shown_and_the_others_are_wiped(
    station: Station,
) -> None:
    damaged = clip("damaged", 2_000_000)
    good = {"DCIM/1.mp4": clip("good 1"), "DCIM/3.mp4": clip("good 3")}
    camera = station.bodycam({**good, "DCIM/2.mp4": damaged})
    sector = camera.card.sector_of(damaged[1_000_000:1_000_512])
    since = station.mark()
    plugged = station.machine.plug(camera.card.path, serial=camera.serial, bad_sectors=(sector,))
    unreadable = station.wait_for("clip.unreadable", camera, since=since)
    assert unreadable["path"] == "DCIM/2.mp4"
    stuck = station.wait_for("camera.stuck", camera, since=since)
    assert stuck["clips"] == 1
    states = {clip.name: clip.state for clip in station.clips(camera)}
    assert states == {
        "DCIM/1.mp4": State.WIPED,
        "DCIM/2.mp4": State.UNREADABLE,
        "DCIM/3.mp4": State.WIPED,
    }
    station.machine.unplug(plugged)
    assert station.left_on(camera) == {"DCIM/2.mp4": damaged}
    assert camera.card.check() == ""
    assert station.evidence(camera) == Bodycam(camera.card, camera.serial, good).digests


def clips_by_sector(camera: Bodycam) -> dict[int, set[str]]:
    """The clips whose entries lie in each sector of their folder.

    Without the first, which begins with the folder's own entries, nothing can be listed, and
    the kernel says so.
    """
    sectors: dict[int, set[str]] = {}
    for path, (entry, *_) in Fat(camera.card).entries().items():
        if path.endswith(".MP4"):
            sectors.setdefault(entry.at // 512, set()).add(path)
    return dict(sorted(sectors.items()))


@pytest.mark.thorough
def test_clips_that_a_bad_sector_of_their_folder_hides_are_neither_gone_nor_forgotten(
    station: Station,
) -> None:
    # Short names, as a long one could begin in a good sector and end in the bad one.
    known = {f"DCIM/{number:04}.MP4": clip(("known", number), 2_000) for number in range(40)}
    camera = station.bodycam(known)
    _, sector, *_ = sectors = clips_by_sector(camera)
    hidden = sectors[sector]
    assert len(hidden) == 16

    station.machine.run("dockd pause wipes --reason 'so that all clips are known'")
    try:
        since = station.mark()
        plugged = station.plug(camera)
        station.wait_for("clip.acknowledged", camera, since=since, count=len(known))
        station.machine.unplug(plugged)
    finally:
        station.machine.run("dockd resume wipes")

    since = station.mark()
    plugged = station.machine.plug(camera.card.path, serial=camera.serial, bad_sectors=(sector,))
    unlisted = station.wait_for("camera.folder_unreadable", camera, since=since)
    assert unlisted["path"] == "."
    station.wait_for("camera.stuck", camera, since=since)
    assert not station.machine.journal.find("camera.safe", since=since, camera=camera.id)
    clips = {clip.name: clip for clip in station.clips(camera)}
    assert {clip.state for name, clip in clips.items() if name not in hidden} == {State.WIPED}
    assert {(clips[name].state.shown, clips[name].present) for name in hidden} == {
        ("acknowledged", True)
    }
    station.machine.unplug(plugged)
    assert station.left_on(camera) == {name: known[name] for name in hidden}

    # Elsewhere the card can be read, say.
    since = station.mark()
    plugged = station.plug(camera)
    station.wait_for("camera.safe", camera, since=since)
    station.machine.unplug(plugged)
    assert station.left_on(camera) == {}
    assert camera.card.check() == ""
    assert station.evidence(camera) == sorted(
        hashlib.sha256(data).hexdigest() for data in known.values()
    )


@pytest.mark.thorough
def test_new_clips_that_a_bad_sector_of_their_folder_hides_keep_a_camera_from_being_safe(
    station: Station,
) -> None:
    new = {f"DCIM/{number:04}.MP4": clip(("new", number), 2_000) for number in range(20)}
    camera = station.bodycam(new)
    _, sector = sectors = clips_by_sector(camera)
    hidden = sectors[sector]
    since = station.mark()
    plugged = station.machine.plug(camera.card.path, serial=camera.serial, bad_sectors=(sector,))
    station.wait_for("camera.stuck", camera, since=since)
    assert not station.machine.journal.find("camera.safe", since=since, camera=camera.id)
    states = {clip.name: clip.state for clip in station.clips(camera)}
    assert states == dict.fromkeys(new.keys() - hidden, State.WIPED)
    station.machine.unplug(plugged)
    assert station.left_on(camera) == {name: new[name] for name in hidden}
