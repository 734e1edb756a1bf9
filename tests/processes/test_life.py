"""A clip's life on a folder camera, from found to wiped."""

import os

import pytest

from dockd.station.lifecycle import State
from tests.processes.support import Site

MIB = 2**20


def run_until_wiped(site: Site, serial: str) -> None:
    """Take everything off a camera with one station."""
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", serial))
    station.wait_for("camera.wiped")
    assert station.stop() == 0


def test_every_clip_is_acknowledged_stored_once_opens_to_its_digest_and_is_wiped(
    site: Site,
) -> None:
    digests = site.fill(
        "CAM-1",
        {
            "PC1/20260114.mp4": os.urandom(3 * MIB + 17),
            "PC1/20260114.gps": b"51.5,-0.1\n",
            "PC1/deep/er/20260115_E.mp4": os.urandom(65536),
            "empty.mp4": b"",
        },
    )
    run_until_wiped(site, "CAM-1")

    assert site.on_camera("CAM-1") == []
    assert site.opened() == digests
    clips = site.clips("camden")
    assert {clip.state for clip in clips} == {State.WIPED}
    for clip in clips:
        site.assert_acknowledged(clip)


def test_folders_that_the_camera_made_stay(site: Site) -> None:
    site.fill("CAM-1", {"DCIM/100/20260114.mp4": b"clip"})
    run_until_wiped(site, "CAM-1")
    assert (site.camera("CAM-1") / "DCIM" / "100").is_dir()


def test_the_spool_is_empty_once_everything_is_acknowledged(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a", "b.mp4": b"b"})
    run_until_wiped(site, "CAM-1")
    assert list((site.folder / "camden" / "spool").glob("[!.]*")) == []


def test_no_plaintext_ever_lies_in_spool_or_store(site: Site) -> None:
    secret = b"the officer said " * 5000
    site.fill("CAM-1", {"a.mp4": secret})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", policy="keep"))
    station.wait_for("clip.acknowledged")
    station.stop()
    for path in [*site.folder.rglob("store/**/*"), *site.folder.rglob("camden/**/*")]:
        if path.is_file():
            assert b"the officer said" not in path.read_bytes()


def test_what_names_and_folders_say_travels_in_the_manifest(site: Site) -> None:
    site.fill("CAM-1", {"PC1042/20260114.mp4": b"clip"})
    run_until_wiped(site, "CAM-1")
    (clip,) = site.clips("camden")
    facts = site.manifest(clip).file
    assert facts.path == "PC1042/20260114.mp4"
    assert facts.metadata == {"officer": "PC1042", "time": "20260114"}
    assert site.manifest(clip).camera.id == "bodycam:CAM-1"


def test_files_that_no_rule_selects_and_links_and_fifos_are_left_alone(site: Site) -> None:
    outside = site.folder / "outside.mp4"
    outside.write_bytes(b"not a clip of this camera")
    site.fill("CAM-1", {"a.mp4": b"a", "firmware.bin": b"firmware"})
    camera = site.camera("CAM-1")
    (camera / "link.mp4").symlink_to(outside)
    (camera / "linked").symlink_to(site.folder, target_is_directory=True)
    os.mkfifo(camera / "fifo.mp4")
    run_until_wiped(site, "CAM-1")
    assert site.on_camera("CAM-1") == ["fifo.mp4", "firmware.bin", "link.mp4", "linked"]
    assert len(site.clips("camden")) == 1
    assert outside.exists()


def test_files_that_land_later_are_taken_when_they_are_closed(site: Site) -> None:
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.docked")
    with (site.camera("CAM-1") / "late.mp4").open("wb") as file:
        file.write(b"first half, ")
        file.flush()
        # Another clip comes and goes while this one is being written.
        site.fill("CAM-1", {"other.mp4": b"other"})
        station.wait_for("clip.spooled", lambda event: event["path"] == "other.mp4")
        file.write(b"second half")
    station.wait_for("camera.wiped", lambda event: not site.on_camera("CAM-1"))
    station.stop()
    late = next(clip for clip in site.clips("camden") if clip.name == "late.mp4")
    assert late.size == len(b"first half, second half")


def test_a_file_moved_into_place_is_taken(site: Site) -> None:
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.docked")
    part = site.folder / "part"
    part.write_bytes(b"whole")
    part.rename(site.camera("CAM-1") / "moved.mp4")
    station.wait_for("camera.wiped")


def test_a_folder_that_is_polled_is_taken_as_well(site: Site) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    text = config.read_text()
    config.write_text(
        text.replace("rescan_seconds = 1", 'watch = "polling"\nrescan_seconds = 3600')
    )
    station = site.start_station(config)
    station.wait_for("camera.docked")
    site.fill("CAM-1", {"PC1/a.mp4": b"a"})
    station.wait_for("camera.wiped")


def test_a_file_must_rest_before_it_is_taken(site: Site) -> None:
    site.fill("CAM-1", {"fresh.mp4": b"fresh"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", settle=3600))
    station.wait_for("camera.docked")
    old = site.camera("CAM-1") / "old.mp4"
    old.write_bytes(b"old")
    station.stop()
    assert site.clips("camden") == []
    assert len(site.on_camera("CAM-1")) == 2


def test_a_camera_that_is_not_there_yet_is_docked_when_it_comes(site: Site) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    site.camera("CAM-1").rmdir()
    station = site.start_station(config)
    station.wait_for("daemon.started")
    site.fill("CAM-1", {"a.mp4": b"a"})
    station.wait_for("camera.wiped")


def test_a_new_clip_under_an_old_name_is_another_clip(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"first"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    site.fill("CAM-1", {"a.mp4": b"other"})
    station.wait_for("camera.wiped", count=2)
    station.stop()
    assert len(site.opened()) == 2


def test_two_files_of_one_content_are_one_piece_of_evidence_in_two_uploads(
    site: Site,
) -> None:
    site.fill("CAM-1", {"a.mp4": b"same", "b.mp4": b"same"})
    run_until_wiped(site, "CAM-1")
    assert len({path.name[:64] for path in site.stored()}) == 1
    assert len(site.stored()) == 2
    assert len(set(site.opened())) == 1


@pytest.mark.parametrize("policy", ["dry-run", "keep"])
def test_dry_run_and_keep_remove_nothing(site: Site, policy: str) -> None:
    site.fill("CAM-1", {"a.mp4": b"a", "b.mp4": b"b"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", policy=policy))
    station.wait_for("clip.acknowledged", count=2)
    if policy == "dry-run":
        station.wait_for("clip.wipe_rehearsed", count=2)
    station.stop()
    assert site.on_camera("CAM-1") == ["a.mp4", "b.mp4"]


def test_overwrite_removes_and_leaves_nothing_aside(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": os.urandom(3 * MIB)})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", policy="overwrite"))
    station.wait_for("camera.wiped")
    assert site.on_camera("CAM-1") == []


def test_event_flagged_clips_are_uploaded_first_then_the_oldest(site: Site) -> None:
    # While a first clip takes its time, the others are spooled and wait for the only slot.
    site.fill("CAM-1", {"PC1/20260101.mp4": os.urandom(8 * MIB)})
    site.start_receiver("camden")
    slow = 'concurrency = 1\nbandwidth = "2 MiB"'
    station = site.start_station(site.configure("camden", "CAM-1", target=slow))
    station.wait_for("clip.spooled")
    site.fill("CAM-1", {f"PC1/2026010{day}.mp4": bytes([day]) for day in (4, 3, 2)})
    site.fill("CAM-1", {"PC1/20260109_E.mp4": b"event"})
    station.wait_for("clip.acknowledged", count=5)
    order = [one["path"] for one in station.events if one["event"] == "clip.acknowledged"]
    days = [path.removeprefix("PC1/202601").removesuffix(".mp4") for path in order]
    assert days == ["01", "09_E", "02", "03", "04"]
