"""Orders, given to a real daemon on folder cameras."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dockd.base.clock import timestamp
from dockd.station.control.views import Stage, Verdict
from dockd.station.lifecycle import State
from dockd.station.model import Camera, FoundFile, Match
from tests.processes.support import Site
from tests.station.control.support import SOCKET, Start, status_until

MIB = 2**20


def kinds(site: Site) -> list[str]:
    ledger = site.ledger("camden")
    try:
        ledger.journal.verify()
        return [entry.event for entry in ledger.journal.entries()]
    finally:
        ledger.close()


def test_paused_uploads_break_off_and_go_on_at_their_offset(site: Site, start: Start) -> None:
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(24 * MIB)})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", target='bandwidth = "16 MiB"')
    station, asking = start(config)
    status_until(asking, lambda one: any(w.stage == "upload" and w.done for w in one.work))
    (held,) = asking.pause("uploads", reason="the line is needed")
    assert (held.what, held.reason, held.by) == ("uploads", "the line is needed", os.getuid())
    site.fill("CAM-1", {"b.mp4": b"taken meanwhile"})
    station.wait_for("clip.spooled", lambda event: event["path"] == "b.mp4")
    status = status_until(asking, lambda one: not one.work)
    assert status.cameras[0].stage is Stage.WAITING
    assert status.verdict is Verdict.NEEDS_PERSON
    assert [pause.what for pause in status.pauses] == ["uploads"]
    assert asking.resume("uploads") == []
    assert station.wait_for("clip.upload_resumed")["offset"] > 0
    status_until(asking, lambda one: one.verdict is Verdict.WELL)
    assert len(site.opened()) == 2
    assert set(digests) <= set(site.opened())
    station.stop()
    assert {"order.pause", "order.resume"} <= set(kinds(site))


def test_paused_wipes_wipe_nothing_until_they_are_resumed_a_restart_included(
    site: Site, start: Start
) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station, asking = start(config)
    asking.pause("wipes")
    site.fill("CAM-1", {"a.mp4": b"a"})
    status = status_until(asking, lambda one: one.clips.get("acknowledged") == 1)
    assert not status.cameras[0].safe_to_take
    station.stop()
    station, asking = start(config)
    assert station.wait_for("order.pause")["reason"] == "a test"
    status = status_until(
        asking, lambda one: bool(one.cameras) and one.cameras[0].stage is Stage.WAITING
    )
    assert not status.cameras[0].safe_to_take
    assert site.on_camera("CAM-1") == ["a.mp4"]
    asking.resume("wipes")
    station.wait_for("camera.wiped")


def test_a_pause_ends_by_itself(site: Site, start: Start) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station, asking = start(config)
    asking.pause("uploads", "wipes", until=timestamp(datetime.now(UTC) + timedelta(seconds=1.5)))
    assert len(asking.status().pauses) == 2
    station.wait_for("pause.expired", count=2)
    station.wait_for("camera.wiped")
    assert asking.status().pauses == []


def test_a_resync_ends_while_the_server_is_down(site: Site, start: Start) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden").kill()
    station, _ = start(site.configure("camden", "CAM-1"))
    station.wait_for("target.down")
    ended = subprocess.run(
        [sys.executable, "-m", "dockd", "resync", "--socket", str(site.folder / SOCKET)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 10, ended.stdout
    assert "nothing listens there" in ended.stdout.splitlines()[-1]


def test_a_resync_cuts_backoffs_short(site: Site, start: Start) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    receiver = site.start_receiver("camden")
    receiver.kill()
    config = site.configure("camden", "CAM-1")
    text = config.read_text().replace("retry_first_seconds = 0.05", "retry_first_seconds = 36000")
    config.write_text(text.replace("retry_cap_seconds = 0.2", "retry_cap_seconds = 36000"))
    station, asking = start(config)
    station.wait_for("target.down")
    status = asking.status()
    (trouble,) = status.troubles
    assert trouble.event == "target.down"
    assert trouble.what
    assert trouble.hint
    assert trouble.next_try is not None
    assert not trouble.needs_person
    assert status.target.reachable is False
    site.start_receiver()
    answer = asking.resync()
    assert answer.cameras == ["bodycam:CAM-1"]
    station.wait_for("camera.wiped")
    status = asking.status()
    assert status.troubles == []
    assert status.target.reachable is True


def reject_all(site: Site) -> None:
    """Make a ledger say that the server refused every clip."""
    ledger = site.ledger("camden")
    try:
        for clip in ledger.queries.clips():
            ledger.uploads.begin(clip)
            ledger.uploads.reject(
                clip, "clip.rejected", "The server permanently rejected the clip: 422"
            )
    finally:
        ledger.close()


def with_a_rejected_clip(site: Site, start: Start) -> Path:
    """Leave a station stopped whose clip the server refused."""
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden").kill()
    config = site.configure("camden", "CAM-1")
    station, asking = start(config)
    station.wait_for("clip.spooled")
    asking.pause("uploads")
    station.stop()
    reject_all(site)
    return config


def test_a_rejected_clip_is_shown_and_sent_again_out_of_the_spool_by_order(
    site: Site, start: Start
) -> None:
    config = with_a_rejected_clip(site, start)
    site.start_receiver()
    station, asking = start(config)
    asking.resume("uploads")
    status = status_until(
        asking, lambda one: bool(one.cameras) and one.cameras[0].stage is Stage.STUCK
    )
    assert status.verdict is Verdict.NEEDS_PERSON
    (trouble,) = status.cameras[0].troubles
    assert (trouble.event, trouble.path, trouble.needs_person) == ("clip.rejected", "a.mp4", True)
    assert trouble.hint
    assert asking.resync().clips == []
    assert asking.resync(failed=True).clips == [1]
    station.wait_for("camera.wiped")
    assert [one for one in station.events if one["event"] == "clip.spooled"] == []
    assert "clip.taken_up" in [line.event for line in asking.story(1).journal]


def test_a_rejected_clip_whose_ciphertext_is_gone_at_the_start_is_read_again_and_leaves_nothing(
    site: Site, start: Start
) -> None:
    config = with_a_rejected_clip(site, start)
    database = sqlite3.connect(site.folder / "camden" / "ledger.db")
    # A file of another size is no longer counted on, so that the start removes it.
    with database:
        database.execute("UPDATE clips SET ciphertext_size = ciphertext_size + 1")
    database.close()
    site.start_receiver()
    station, asking = start(config)
    asking.resume("uploads")
    station.wait_for("camera.wiped")
    assert list((site.folder / "camden" / "spool").glob("[!.]*")) == []


def test_an_unreadable_clip_is_read_again_by_order(site: Site, start: Start) -> None:
    site.fill("CAM-1", {"a.mp4": bytes(2**21)})
    site.start_receiver("camden")
    station, asking = start(site.configure("camden", "CAM-1", spool='budget = "1 MiB"'))
    status = status_until(
        asking, lambda one: bool(one.cameras) and one.cameras[0].stage is Stage.STUCK
    )
    assert status.troubles[0].event == "clip.too_large"
    assert asking.resync(failed=False).clips == []
    assert asking.resync(clip=1).clips == [1]
    station.wait_for("clip.unreadable", count=2)


def test_an_unreadable_clip_is_read_again_at_the_next_docking(site: Site, start: Start) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    ledger_after_one_docking(site, config)
    station, asking = start(config)
    station.wait_for("camera.wiped")
    assert status_until(asking, lambda one: one.verdict is Verdict.WELL).troubles == []
    assert "clip.taken_up" in [line.event for line in asking.story(1).journal]


def ledger_after_one_docking(site: Site, config: Path) -> None:
    """Leave a ledger whose only clip could not be read."""
    site.folder.joinpath("camden").mkdir(mode=0o700)
    ledger = site.ledger("camden")
    try:
        camera = Camera("bodycam", "CAM-1")
        docking = ledger.dockings.begin(camera, "here")
        status = (site.camera("CAM-1") / "a.mp4").stat()
        found = FoundFile(b"a.mp4", status.st_size, status.st_mtime_ns, Match("video"))
        ledger.dockings.observe(camera, docking, [found])
        (clip,) = ledger.queries.clips()
        ledger.ingests.begin(clip, docking)
        ledger.ingests.unreadable(clip, "clip.unreadable", "Input/output error (errno 5)")
    finally:
        ledger.close()


# The server lost it


def test_an_acknowledged_clip_that_the_server_lost_needs_a_new_receipt_before_its_wipe(
    site: Site, start: Start
) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a", "b.mp4": b"b"})
    receiver = site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station, asking = start(config)
    asking.pause("wipes")
    status_until(asking, lambda one: one.clips.get("acknowledged") == 2)
    receiver.kill()
    shutil.rmtree(site.folder / "store")
    answer = asking.resync(camera="CAM-1", reupload=True)
    assert sorted(answer.clips) == [1, 2]
    assert answer.refused == []
    # Nothing is acknowledged any more, so that nothing is wiped while the server is down.
    assert all(clip.receipt is None for clip in site.clips("camden"))
    asking.resume("wipes")
    station.wait_for("clip.spooled", count=4)
    status = asking.status()
    assert site.on_camera("CAM-1") == ["a.mp4", "b.mp4"]
    assert not status.cameras[0].safe_to_take
    site.start_receiver()
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    for clip in site.clips("camden"):
        site.assert_acknowledged(clip)
    assert kinds(site).count("clip.taken_up") == 2


def test_a_clip_that_is_on_its_way_is_sent_from_its_beginning_by_order(
    site: Site, start: Start
) -> None:
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(24 * MIB)})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", target='bandwidth = "16 MiB"')
    station, asking = start(config)
    status_until(asking, lambda one: any(w.stage == "upload" and w.done for w in one.work))
    assert asking.resync(clip=1, reupload=True).clips == [1]
    uploaded = station.wait_for("clip.uploaded")
    assert uploaded["sent"] == uploaded["size"]
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_wiped_clip_and_one_that_has_left_its_camera_are_refused(
    site: Site, start: Start
) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", "CAM-2")
    station, asking = start(config)
    station.wait_for("camera.wiped")
    answer = asking.resync(clip=1, reupload=True)
    assert answer.clips == []
    assert "wiped" in answer.refused[0].what
    assert answer.refused[0].hint
    asking.pause("wipes")
    site.fill("CAM-2", {"b.mp4": b"b"})
    status_until(asking, lambda one: one.clips.get("acknowledged") == 1)
    (site.camera("CAM-2") / "b.mp4").unlink()
    station.wait_for("camera.looked_through", lambda event: event["vanished"] == 1)
    answer = asking.resync(clip=2, reupload=True)
    assert answer.clips == []
    assert "neither on its camera nor in the spool" in answer.refused[0].what
    (_, second) = site.clips("camden")
    assert second.state is State.ACKNOWLEDGED
    assert second.receipt


def test_a_resync_does_not_release_a_clip_whose_content_is_another(
    site: Site, start: Start
) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station, asking = start(config)
    asking.pause("wipes")
    site.fill("CAM-1", {"a.mp4": b"evidence"})
    status_until(asking, lambda one: one.clips.get("acknowledged") == 1)
    path = site.camera("CAM-1") / "a.mp4"
    before = path.stat()
    # In place: a file that is short for a moment would be another clip.
    with path.open("r+b", buffering=0) as file:
        file.write(b"EVIDENCE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    asking.pause("uploads")
    asking.resume("wipes")
    asking.resync(failed=True)
    station.wait_for("wipe.refused")
    assert path.read_bytes() == b"EVIDENCE"


def test_a_reload_goes_on_answering(site: Site, start: Start) -> None:
    site.start_receiver("camden")
    config = site.configure("camden")
    station, asking = start(config)
    since = asking.status().station.since
    station.signal(signal.SIGHUP)
    station.wait_for("config.reloaded")
    station.wait_for("daemon.started", count=2)
    assert asking.status().station.since > since
