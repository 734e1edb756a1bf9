"""SIGKILL at every step of a clip's life: the next start carries on, and nothing is lost."""

import itertools
import signal
from pathlib import Path

import pytest

from dockd.base.errors import StatementError
from dockd.evidence.statements import verify_receipt
from dockd.station.lifecycle import State
from tests.processes.support import Process, Site

CLIP = b"a clip that must not be lost " * 40_000
LEAST_POINTS = 30
PARTS = 8
"""Into how many tests the steps are dealt out, for several processes to take them."""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, PARTS + 1))
@pytest.mark.parametrize("policy", ["delete", "overwrite"])
def test_a_kill_at_any_step_loses_nothing_stores_nothing_twice_and_wipes_nothing_early(
    site: Site, policy: str, first: int
) -> None:
    site.start_receiver("camden")
    for point in itertools.count(first, PARTS):
        crossings = site.folder / "crossings"
        crossings.unlink(missing_ok=True)
        serial = f"CAM-{point}"
        digests = site.fill(serial, {"a.mp4": CLIP + serial.encode(), "b.gps": serial.encode()})
        station = start_crashing(site, site.configure("camden", serial, policy=policy), point)
        killed = until_killed_or_done(station)
        step = crossings.read_text().splitlines()[-1]
        assert_nothing_was_wiped_early(site, serial, step)
        if killed:
            carry_on(site, serial, policy)
        assert_each_clip_came_through_once(site, serial, digests, step)
        if not killed:
            break
    assert point > LEAST_POINTS


def start_crashing(site: Site, config: Path, point: int) -> Process:
    return site.start(
        "tests.processes.crashing",
        str(config),
        log="crashing",
        DOCKD_CRASH_AT=str(point),
        DOCKD_CRASH_LOG=str(site.folder / "crossings"),
    )


def until_killed_or_done(station: Process) -> bool:
    """Wait for a process's own end, or stop it once it has wiped; returns whether it died."""
    if station.wait_for_end_or("camera.wiped"):
        station.stop()
        # It may have been killed on its way out, which is a crash like any other.
    return station.wait() == -signal.SIGKILL


def carry_on(site: Site, serial: str, policy: str) -> None:
    station = site.start_station(site.configure("camden", serial, policy=policy))
    station.wait_for("camera.docked")
    station.wait_until(lambda: all_wiped(site, serial))
    assert station.stop() == 0


def all_wiped(site: Site, serial: str) -> bool:
    clips = [clip for clip in site.clips("camden") if clip.camera.serial == serial]
    return len(clips) == 2 and all(clip.state is State.WIPED for clip in clips)


def assert_nothing_was_wiped_early(site: Site, serial: str, step: str) -> None:
    left = set(site.on_camera(serial))
    for clip in site.clips("camden"):
        if clip.camera.serial == serial and clip.name not in left:
            try:
                verify_receipt(str(clip.receipt), [site.receiver_key], str(clip.manifest))
            except StatementError as error:
                raise AssertionError(f"{clip.name} was wiped without a receipt, {step}") from error


def assert_each_clip_came_through_once(
    site: Site, serial: str, digests: list[str], step: str
) -> None:
    assert site.on_camera(serial) == [], step
    clips = [clip for clip in site.clips("camden") if clip.camera.serial == serial]
    assert sorted(str(clip.plaintext_sha256) for clip in clips) == digests, step
    for clip in clips:
        copies = list((site.folder / "store" / "clips").rglob(f"{clip.clip_id}*.age"))
        assert [site.open(copy) for copy in copies] == [clip.plaintext_sha256], step
    ledger = site.ledger("camden")
    try:
        ledger.journal.verify()
        acknowledged = [
            entry.clip for entry in ledger.journal.entries() if entry.event == "clip.acknowledged"
        ]
    finally:
        ledger.close()
    assert len(acknowledged) == len(set(acknowledged)), step
    assert list((site.folder / "camden" / "spool").glob("[!.]*")) == [], step
    incoming = site.folder / "store" / "incoming"
    assert [path for path in incoming.iterdir() if path.suffix == ".part"] == [], step
