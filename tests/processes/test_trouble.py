"""What goes wrong around a station, and how it goes on."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dockd.evidence.age import X25519Identity
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import statement_sha256
from dockd.station.lifecycle import State
from tests.processes.support import PATIENCE, Site
from tests.support import small_disk, unreadable

MIB = 2**20


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what no process reports."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def arrived(site: Site) -> int:
    """Return the bytes of unfinished uploads at the receiver."""
    return sum(path.stat().st_size for path in site.folder.glob("store/incoming/*.part"))


def fill_up(path: Path) -> None:
    """Write a file until its disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


# The network and the receiver


def test_a_receiver_that_is_down_for_the_whole_docking_is_waited_for(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a", "b.mp4": b"b"})
    site.start_receiver("camden").stop()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("clip.spooled", count=2)
    station.wait_for("target.down")
    site.start_receiver()
    station.wait_for("camera.wiped")
    station.wait_for("target.up")
    assert len([one for one in station.events if one["event"] == "target.down"]) == 1


def test_a_stop_in_the_middle_of_an_upload_resumes_at_its_offset(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(24 * MIB)})
    site.start_receiver("camden")
    slow = site.configure("camden", "CAM-1", target='bandwidth = "8 MiB"')
    station = site.start_station(slow)
    wait_until(lambda: arrived(site) >= 2 * MIB)
    assert station.stop() == 0
    before = arrived(site)
    station = site.start_station(site.configure("camden", "CAM-1"))
    assert station.wait_for("clip.upload_resumed")["offset"] >= before
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_killed_receiver_goes_on_where_it_was(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(24 * MIB)})
    receiver = site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", target='bandwidth = "16 MiB"'))
    wait_until(lambda: arrived(site) >= 2 * MIB)
    receiver.kill()
    site.start_receiver()
    assert station.wait_for("clip.upload_resumed")["offset"] > 0
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_server_that_forgets_everything_is_sent_everything_again(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(24 * MIB)})
    receiver = site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", target='bandwidth = "16 MiB"'))
    wait_until(lambda: arrived(site) >= 2 * MIB)
    receiver.kill()
    shutil.rmtree(site.folder / "store")
    site.start_receiver()
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_target_that_gives_no_receipts_never_releases_a_wipe(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", receipts=False)
    station = site.start_station(config)
    station.wait_for("target.gives_no_receipts")
    station.wait_for("clip.uploaded")
    station.stop()
    assert site.on_camera("CAM-1") == ["a.mp4"]
    (clip,) = site.clips("camden")
    assert clip.state is State.UPLOADED
    # Once it does give receipts, the same clip is acknowledged without another upload.
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    assert not [one for one in station.events if one["event"] == "clip.uploaded"]


def test_receipts_by_a_key_that_is_not_pinned_release_nothing(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    (site.folder / "receiver.pub").write_bytes(SigningKey.generate().verify_key.pem())
    station = site.start_station(config)
    assert station.wait_for("receipt.refused")["reason"] == "unknown-key"
    station.stop()
    assert site.on_camera("CAM-1") == ["a.mp4"]
    assert site.clips("camden")[0].state is State.UPLOADED


def test_a_receiver_key_that_is_no_longer_pinned_does_not_release_a_wipe(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", policy="keep"))
    station.wait_for("clip.acknowledged")
    station.stop()
    config = site.configure("camden", "CAM-1")
    (site.folder / "receiver.pub").write_bytes(SigningKey.generate().verify_key.pem())
    station = site.start_station(config)
    assert station.wait_for("journal.unwitnessed")["error"] == "receipt.refused"
    station.stop()
    assert site.on_camera("CAM-1") == ["a.mp4"]


def test_another_clips_receipt_in_the_ledger_does_not_release_a_wipe(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"one", "b.mp4": b"two"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", policy="keep"))
    station.wait_for("clip.acknowledged", count=2)
    station.stop()
    first, second = site.clips("camden")
    with closing(sqlite3.connect(site.folder / "camden" / "ledger.db")) as ledger, ledger:
        for clip, other in ((first, second), (second, first)):
            ledger.execute(
                "UPDATE clips SET receipt = ?, manifest = ? WHERE id = ?",
                (other.receipt, other.manifest, clip.id),
            )
    station = site.start_station(site.configure("camden", "CAM-1"))
    assert "another clip" in station.wait_for("wipe.refused", count=2)["detail"]
    station.stop()
    assert site.on_camera("CAM-1") == ["a.mp4", "b.mp4"]


# Two stations, lost ledgers


def test_one_clip_at_two_stations_is_one_piece_of_evidence(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden", "barnet")
    first = site.start_station(site.configure("camden", "CAM-1", policy="keep"))
    first.wait_for("clip.acknowledged")
    first.stop()
    second = site.start_station(site.configure("barnet", "CAM-1"))
    second.wait_for("camera.wiped")
    assert site.opened() == digests * 2
    assert {path.name[:64] for path in site.stored()} == {site.clips("barnet")[0].clip_id}


def test_another_stations_garbage_releases_no_wipe(site: Site) -> None:
    """A rogue station knows the clip, and brings something else under its true name."""
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden", "rogue")
    rogue = site.start_station(site.configure("rogue", "CAM-1", policy="keep"))
    rogue.wait_for("clip.acknowledged")
    rogue.stop()
    (garbage,) = site.stored()
    sealed = bytearray(garbage.read_bytes())
    sealed[-1] ^= 1
    garbage.write_bytes(sealed)
    honest = site.start_station(site.configure("camden", "CAM-1"))
    honest.wait_for("camera.wiped")
    copies = [path for path in site.stored() if path != garbage]
    assert [site.open(path) for path in copies] == digests


def test_a_copy_that_this_stations_recipients_cannot_open_does_not_count(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden", "barnet")
    wrong = X25519Identity.generate()
    first = site.start_station(
        site.configure("camden", "CAM-1", policy="keep", recipient=str(wrong.recipient))
    )
    first.wait_for("clip.acknowledged")
    first.stop()
    second = site.start_station(site.configure("barnet", "CAM-1"))
    second.wait_for("camera.wiped")
    assert [site.open(path, wrong) for path in site.stored()] == digests * 2
    (clip,) = site.clips("barnet")
    (copy,) = [
        path for path in site.stored() if statement_sha256(str(clip.manifest))[:16] in path.name
    ]
    assert site.open(copy) == digests[0]


def test_a_lost_ledger_costs_a_new_key_another_reading_and_nothing_else(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a", "b.mp4": b"b"})
    receiver = site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", policy="keep"))
    station.wait_for("clip.acknowledged", count=2)
    station.stop()
    shutil.rmtree(site.folder / "camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    assert "docs/operate.md" in station.wait_for("journal.forked")["hint"]
    station.wait_for("clip.spooled", count=2)
    refused = station.wait_for("clip.retrying")
    assert "contradicts itself" in refused["detail"] or "its journal" in refused["detail"]
    assert station.stop() == 0
    assert site.on_camera("CAM-1") == ["a.mp4", "b.mp4"]
    receiver.stop()
    site.rekey("camden")
    site.start_receiver()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    assert site.opened() == sorted(digests * 2)


def test_a_ledger_that_was_set_back_holds_wipes_until_there_is_a_new_key(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    receiver = site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    station.stop()
    backup = (site.folder / "camden" / "ledger.db").read_bytes()
    site.fill("CAM-1", {"b.mp4": b"b"})
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    station.stop()
    lose_ledger(site)
    (site.folder / "camden" / "ledger.db").write_bytes(backup)
    site.fill("CAM-1", {"c.mp4": b"c"})
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("journal.forked")
    station.wait_for("clip.spooled")
    station.stop()
    assert site.on_camera("CAM-1") == ["c.mp4"]
    receiver.stop()
    site.rekey("camden")
    site.start_receiver()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    assert len(site.stored()) == 3


def lose_ledger(site: Site) -> None:
    for path in (site.folder / "camden").glob("ledger.db*"):
        path.unlink()


def test_a_sealed_clip_outlives_the_loss_of_the_ledger_and_of_its_camera(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden").stop()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("clip.spooled")
    station.stop()
    lose_ledger(site)
    shutil.rmtree(site.camera("CAM-1"))
    site.start_receiver()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("clip.taken_in")
    station.wait_for("clip.acknowledged")
    assert site.opened() == digests
    wait_until(lambda: not list((site.folder / "camden" / "spool").glob("[!.]*")))
    assert station.stop() == 0


def test_a_sealed_clip_that_its_camera_still_has_after_the_loss_of_the_ledger_is_one_clip(
    site: Site,
) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden").stop()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("clip.spooled")
    station.stop()
    lose_ledger(site)
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("clip.rejoined")
    station.stop()
    site.rekey("camden")  # its journal began anew
    site.start_receiver()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    assert len(site.stored()) == 1
    assert site.opened() == digests
    (clip,) = site.clips("camden")
    assert clip.state is State.WIPED


# The camera


def test_a_clip_that_was_altered_after_its_receipt_is_another_clip(site: Site) -> None:
    first = site.fill("CAM-1", {"a.mp4": b"first"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", policy="keep"))
    station.wait_for("clip.acknowledged")
    station.stop()
    path = site.camera("CAM-1") / "a.mp4"
    times = path.stat()
    second = site.fill("CAM-1", {"a.mp4": b"other"})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("wipe.refused")
    station.wait_for("camera.wiped")
    assert site.opened() == sorted(first + second)


def test_a_clip_that_the_camera_cannot_read_stays_and_the_others_are_wiped(site: Site) -> None:
    site.fill("CAM-1", {"good.mp4": b"good", "bad.mp4": b""})
    with unreadable(site.camera("CAM-1") / "bad.mp4"):
        site.start_receiver("camden")
        station = site.start_station(site.configure("camden", "CAM-1"))
        event = station.wait_for("clip.unreadable")
        assert event["path"] == "bad.mp4"
        assert event["hint"]
        station.wait_for("camera.wiped")
        station.stop()
        assert site.on_camera("CAM-1") == ["bad.mp4"]


def test_a_camera_that_is_taken_away_is_undocked_and_its_uploads_go_on(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden").stop()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("clip.spooled")
    site.camera("CAM-1").rename(site.folder / "taken")
    station.wait_for("camera.undocked")
    site.start_receiver()
    station.wait_for("clip.acknowledged")
    assert site.opened() == digests
    (site.folder / "taken").rename(site.camera("CAM-1"))
    station.wait_for("camera.wiped")


# The station's own disk


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_damaged_spool_leads_back_to_the_camera(site: Site, damage: str) -> None:
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(MIB)})
    site.start_receiver("camden").stop()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("clip.spooled")
    station.stop()
    (spooled,) = (site.folder / "camden" / "spool").glob("*.age")
    if damage == "missing":
        spooled.unlink()
    else:
        data = bytearray(spooled.read_bytes())
        data[len(data) // 2] ^= 1
        spooled.write_bytes(data)
    site.start_receiver()
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    ledger = site.ledger("camden")
    events = [entry.event for entry in ledger.journal.entries()]
    ledger.close()
    assert "spool.damaged" in events


def test_a_spool_smaller_than_the_camera_passes_everything_on(site: Site) -> None:
    digests = site.fill("CAM-1", {f"{n}.mp4": os.urandom(2 * MIB) for n in range(5)})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1", spool='budget = "3 MiB"'))
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_a_full_disk_under_the_spool_makes_ingest_wait_and_loses_nothing(site: Site) -> None:
    digests = site.fill("CAM-1", {f"{n}.mp4": os.urandom(3 * MIB) for n in range(4)})
    with small_disk(site.folder / "spool", size="7m") as spool:
        site.start_receiver("camden").stop()
        station = site.start_station(site.configure("camden", "CAM-1", spool=f'path = "{spool}"'))
        station.wait_for("clip.spooled", count=2)
        site.start_receiver()
        station.wait_for("camera.wiped")
        station.stop()
    assert site.opened() == digests


def test_a_full_disk_under_the_ledger_loses_nothing(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": b"a", "b.mp4": b"b"})
    site.start_receiver("camden").stop()
    with small_disk(site.folder / "camden", size="3m") as state:
        spool = f'path = "{site.folder / "spool"}"'
        config = site.configure("camden", "CAM-1", spool=spool)
        station = site.start_station(config)
        station.wait_for("clip.spooled", count=2)
        ballast = state / "ballast"
        fill_up(ballast)
        site.start_receiver()
        station.wait_for("clip.retrying", lambda event: "ledger" in event["detail"])
        assert len(site.on_camera("CAM-1")) == 2
        ballast.unlink()
        station.wait_for("camera.wiped")
        station.stop()
        assert site.opened() == digests
        ledger = site.ledger("camden")
        ledger.journal.verify()
        ledger.close()


# Starting, stopping, configuring


def test_every_mistake_in_the_configuration_is_named_at_once(site: Site) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", target='concurency = 2\nchunk_size = "a lot"')
    station = site.start_station(config)
    assert station.wait() == 78
    assert "target.concurency" in station.output
    assert "did you mean concurrency?" in station.output
    assert "target.chunk_size" in station.output


def test_a_second_daemon_on_one_ledger_is_refused(site: Site) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    site.start_station(config).wait_for("daemon.started")
    second = site.start_station(config)
    assert second.wait() == 75
    assert "stop the other dockd first" in second.output


def test_sighup_puts_a_changed_configuration_in_force(site: Site) -> None:
    site.fill("CAM-2", {"a.mp4": b"a"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.docked")
    site.configure("camden", "CAM-1", "CAM-2")
    station.signal(signal.SIGHUP)
    station.wait_for("config.reloaded")
    station.wait_for("camera.wiped", lambda event: event["camera"].endswith("CAM-2"))
    assert station.stop() == 0


def test_sighup_keeps_the_old_configuration_if_the_new_one_is_wrong(site: Site) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station = site.start_station(config)
    station.wait_for("camera.docked")
    config.write_text("[station]\n")
    station.signal(signal.SIGHUP)
    assert "encryption" in station.wait_for("config.refused")["detail"]
    site.fill("CAM-1", {"a.mp4": b"a"})
    station.wait_for("camera.wiped")
    assert station.stop() == 0


def test_the_work_goes_on_while_the_configuration_is_read_again(site: Site) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station = site.start_station(config)
    station.wait_for("camera.docked")
    config.unlink()
    os.mkfifo(config)  # whoever reads it waits for a writer
    station.signal(signal.SIGHUP)
    with config.open("w") as file:  # opened by the daemon as well
        site.fill("CAM-1", {"a.mp4": b"a"})
        station.wait_for("camera.wiped")
        file.write("[station]\n")
    station.wait_for("config.refused")
    assert station.stop() == 0


@pytest.mark.parametrize("change", ['ca_file = "receiver.key"', 'state = "receiver.key"'])
def test_sighup_keeps_the_old_configuration_if_the_new_one_does_not_work(
    site: Site, change: str
) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station = site.start_station(config)
    station.wait_for("camera.docked")
    text = config.read_text()
    if change.startswith("state"):
        text = text.replace('state = "camden"', change)
    else:
        text = text.replace("[target]", f"[target]\n{change}").replace("http://", "https://")
    config.write_text(text)
    station.signal(signal.SIGHUP)
    station.wait_for("config.refused")
    site.fill("CAM-1", {"a.mp4": b"a"})
    station.wait_for("camera.wiped")
    assert station.stop() == 0


def test_a_stop_in_the_middle_of_an_ingest_leaves_nothing_half_done(site: Site) -> None:
    digests = site.fill("CAM-1", {"a.mp4": os.urandom(256 * MIB)})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    spool = site.folder / "camden" / "spool"
    wait_until(lambda: any(path.suffix == ".part" for path in spool.glob("*")))
    assert station.stop() == 0
    assert not [path for path in spool.iterdir() if path.suffix == ".part"]
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    assert site.opened() == digests


def test_the_log_is_one_json_object_a_line_and_holds_no_secret(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    station.stop()
    for line in station.output.splitlines():
        assert {"time", "level", "event"} <= json.loads(line).keys()
    key = (site.folder / "camden.key").read_text().splitlines()[1]
    assert key not in station.output
    assert str(site.identity) not in station.output


# Parts that fail


def test_a_folder_whose_path_answers_with_an_error_leaves_other_cameras_to_their_work(
    site: Site,
) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", "CAM-2", "CAM-3")
    loop, too_long = site.camera("CAM-2"), site.folder / "cameras" / ("x" * 300)
    loop.rmdir()
    loop.symlink_to(loop)
    config.write_text(config.read_text().replace(str(site.camera("CAM-3")), str(too_long)))
    station = site.start_station(config)
    station.wait_for("camera.wiped", lambda event: event["camera"] == "bodycam:CAM-1")
    station.wait_for("camera.failed", lambda event: event["camera"] == "bodycam:CAM-2")
    station.wait_for("camera.failed", lambda event: event["camera"] == "bodycam:CAM-3")
    loop.unlink()
    site.fill("CAM-2", {"b.mp4": b"b"})
    station.wait_for("camera.recovered", lambda event: event["camera"] == "bodycam:CAM-2")
    station.wait_for("camera.wiped", lambda event: event["camera"] == "bodycam:CAM-2")
    assert station.stop() == 0


def test_a_stop_does_not_wait_for_a_folder_that_never_answers(site: Site) -> None:
    site.fill("CAM-1", {"hangs.mp4": b"h"})
    site.fill("CAM-2", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1", "CAM-2")
    station = site.start("tests.processes.hanging", str(config), "camera", log="hanging")
    station.wait_for("camera.wiped", lambda event: event["camera"] == "bodycam:CAM-2")
    station.signal(signal.SIGHUP)
    station.wait_for("config.reloaded")
    assert station.stop() == 0
    station.wait_for("daemon.stopped")


def test_a_stop_does_not_wait_for_a_disk_of_its_own_that_never_answers(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station = site.start("tests.processes.hanging", str(config), "ledger", log="hanging")
    wait_until(lambda: bool(list((site.folder / "camden" / "spool").glob("*.age"))))
    assert station.stop() == 0
    station.wait_for("daemon.cut_short")
    # As after any crash, the next start carries on, and the clip is one.
    digests = site.fill("CAM-1", {"a.mp4": b"a"})
    station = site.start_station(config)
    station.wait_for("camera.wiped")
    assert site.opened() == digests
    assert len(site.stored()) == 1


@pytest.mark.parametrize("asks", ["spool", "status"])
def test_a_stop_waits_for_no_thread_that_hangs(site: Site, asks: str) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station = site.start("tests.processes.hanging", str(config), asks, log="hanging")
    wait_until(config.with_name("hangs").exists)
    assert station.stop() == 0
    station.wait_for("daemon.cut_short")


def test_a_reload_does_not_wait_for_a_disk_of_its_own_that_never_answers(site: Site) -> None:
    site.fill("CAM-1", {"a.mp4": b"a"})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station = site.start("tests.processes.hanging", str(config), "ledger", log="hanging")
    wait_until(lambda: bool(list((site.folder / "camden" / "spool").glob("*.age"))))
    station.signal(signal.SIGHUP)
    # Whoever keeps the service up starts it again, by the new configuration.
    assert station.wait() == 75
    station.wait_for("daemon.cut_short")


@pytest.mark.parametrize("what", ["config", "ledger"])
def test_every_end_of_the_daemon_has_its_line(site: Site, what: str) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    if what == "config":
        config.write_text("[station]\n")
    else:
        (site.folder / "camden").mkdir()
        (site.folder / "camden" / "ledger.db").write_bytes(b"no database" * 1000)
    station = site.start_station(config)
    assert station.wait() in {74, 78}
    station.wait_for("daemon.failed")
