"""What earlier releases have left behind is read, proven and carried on."""

import os
import shutil
from pathlib import Path

import pytest

from dockd.base.clock import Clock
from dockd.evidence.age import X25519Identity, parse_identities
from dockd.evidence.keys import VerifyKey
from dockd.evidence.statements import read_unverified_manifest
from dockd.evidence.verify import Exhibits, prove
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import State
from tests.pages import ROOT
from tests.processes.support import Site

V1 = ROOT / "testdata" / "v1"
MANIFESTS = sorted((V1 / "store" / "clips").rglob("*.manifest*.jws"))


def identity() -> X25519Identity:
    (found,) = parse_identities((V1 / "identity.key").read_text())
    assert isinstance(found, X25519Identity)
    return found


@pytest.mark.parametrize("manifest", MANIFESTS, ids=range(len(MANIFESTS)))
def test_a_clip_of_version_0_1_is_proven_but_by_another_stations_receipt(manifest: Path) -> None:
    clip_id, _, _ = manifest.name.partition(".")
    station = read_unverified_manifest(manifest.read_text()).station.id
    exhibits = Exhibits(
        manifest=manifest,
        station_keys=[VerifyKey.load(V1 / f"{station}.pub", "station")],
        receipt=manifest.with_name(f"{clip_id}.receipt.jws"),
        receiver_keys=[VerifyKey.load(V1 / "receiver.pub", "receiver")],
        clip=manifest.with_name(f"{clip_id}.age"),
        identities=[identity()],
        journal=V1 / station / "journal.jsonl",
    )
    failed = [finding for finding in prove(exhibits) if not finding.holds]
    assert bool(failed) == (station == "soho"), failed


@pytest.fixture
def left(site: Site) -> Site:
    """What version 0.1 has left, as a site whose processes are of this version."""
    shutil.copytree(V1, site.folder, dirs_exist_ok=True)
    for path in site.folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    site.identity = identity()
    site.adopt("camden", "soho")
    for station in ("camden", "soho"):
        for clip in site.clips(station):
            file = site.camera(clip.camera.serial) / clip.name
            if file.exists():
                os.utime(file, ns=(clip.modified_ns, clip.modified_ns))
    return site


@pytest.mark.parametrize(
    ("station", "states"),
    [
        ("camden", [State.WIPED, State.WIPED, State.ACKNOWLEDGED, State.UPLOADING]),
        ("soho", [State.ACKNOWLEDGED]),
    ],
)
def test_a_ledger_of_version_0_1_says_what_it_said(
    left: Site, station: str, states: list[State]
) -> None:
    ledger = Ledger(left.folder / station / "ledger.db", Clock())
    try:
        ledger.journal.verify()
        assert [clip.state for clip in ledger.queries.clips()] == states
        exported = (V1 / station / "journal.jsonl").read_text().splitlines()
        assert [entry.as_json() for entry in ledger.journal.entries()][: len(exported)] == exported
    finally:
        ledger.close()


def test_an_upgraded_station_brings_what_waited_and_wipes_what_was_acknowledged(
    left: Site,
) -> None:
    left.start_receiver("camden", "soho")
    station = left.start_station(left.configure("camden", "CAM-2", "CAM-3"))
    station.wait_for("camera.wiped", lambda event: event["camera"].endswith("CAM-2"))
    station.wait_for("camera.wiped", lambda event: event["camera"].endswith("CAM-3"))
    assert station.stop() == 0
    assert {clip.state for clip in left.clips("camden")} == {State.WIPED}
    assert left.on_camera("CAM-2") == left.on_camera("CAM-3") == []
    assert len(left.opened()) == 4


def test_an_upgraded_station_keeps_a_clip_whose_receipt_is_for_another_stations_upload(
    left: Site,
) -> None:
    left.start_receiver("camden", "soho")
    station = left.start_station(left.configure("soho", "CAM-2"))
    station.wait_for("wipe.refused")
    assert station.stop() == 0
    assert left.on_camera("CAM-2") == ["DCIM/2.mp4"]
