"""Ledger and spool after a crash, and after the loss of either."""

import asyncio
import errno
import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from dockd.base.clock import timestamp
from dockd.base.errors import SpoolError
from dockd.base.incidents import Incidents
from dockd.evidence.journal import GENESIS
from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import (
    ClockFacts,
    Content,
    FileFacts,
    Manifest,
    derive_clip_id,
    sign,
    verify_manifest,
)
from dockd.host.files import Files
from dockd.station.ledger.ingests import SealedFacts
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import State
from dockd.station.model import Camera, Clip, FileStat, FoundFile, Match
from dockd.station.pipeline.recovery import Unknown, recover, renew
from dockd.station.spool import Spool
from tests.clocks import START, FakeClock
from tests.support import make_manifest, writing

KEY, EARLIER_KEY, STRANGER = (SigningKey.generate() for _ in range(3))
OWN_KEYS = [KEY.verify_key, EARLIER_KEY.verify_key]
STATION = "camden-07"
CAMERA = Camera("generic", "CAM-0001")
PATH = "DCIM/0001.mp4"
PLAINTEXT = Content(sha256="1" * 64, size=1000)


class Disk:
    """A station's ledger and spool, which outlive the daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.db", FakeClock())
        self.spool = self._open_spool()
        self.spool.recover({})

    def _open_spool(self, files: Files | None = None) -> Spool:
        return Spool(
            self.folder / "spool",
            budget=2**30,
            reserve=0,
            files=files or Files(),
            clock=FakeClock(),
        )

    def seal(
        self, key: SigningKey | None = KEY, data: bytes = b"ciphertext", **changes: Any
    ) -> tuple[Manifest, str]:
        """Put a ciphertext into the spool, and its manifest beside it unless there is no key."""
        ciphertext = Content(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        with writing(self.spool) as part:
            self.spool.write(part, memoryview(data))
            self.spool.publish(part, ciphertext.sha256)
        manifest = make_manifest(key or KEY, plaintext=PLAINTEXT, ciphertext=ciphertext)
        manifest = manifest.model_copy(update=changes)
        token = sign(manifest, key or KEY)
        if key is not None:
            self.spool.keep_manifest(ciphertext.sha256, token)
        return manifest, token

    def lose_ledger(self) -> None:
        self.ledger.close()
        for path in self.folder.glob("ledger.db*"):
            path.unlink()
        self.ledger = Ledger(self.folder / "ledger.db", FakeClock())

    def recover(self, files: Files | None = None) -> list[Any]:
        """Start; returns what is logged."""
        self.spool = self._open_spool(files)
        with structlog.testing.capture_logs() as log:
            recover(self.ledger, self.spool, STATION, OWN_KEYS)
        return log

    def names(self) -> set[str]:
        return {path.name for path in self.spool.folder.glob("[!.]*")}

    def ingest(self, path: str = PATH, *, another: bool = False) -> Clip:
        """Find a clip, and begin to read it."""
        docking = self.ledger.dockings.begin(CAMERA, "bay 3")
        self.ledger.dockings.observe(
            CAMERA, docking, [FoundFile(path.encode(), PLAINTEXT.size, 0, Match("video"))]
        )
        clips = self.ledger.queries.clips()
        assert len(clips) == 1 + another
        self.ledger.ingests.begin(clips[-1], docking)
        return clips[-1]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.ledger.close()


@pytest.mark.parametrize("key", [KEY, EARLIER_KEY])
def test_a_sealed_clip_that_a_lost_ledger_knew_is_taken_in_to_be_delivered(
    disk: Disk, key: SigningKey
) -> None:
    manifest, token = disk.seal(key)
    disk.lose_ledger()
    (line,) = disk.recover()
    assert line["event"] == "clip.taken_in"
    (clip,) = disk.ledger.queries.clips()
    assert disk.ledger.queries.to_upload(9, exclude=(), receipts=True) == [clip]
    assert clip.state is State.SPOOLED
    assert clip.camera == CAMERA
    assert (clip.name, clip.size) == (PATH, PLAINTEXT.size)
    assert (clip.clip_id, clip.manifest) == (manifest.clip_id, token)
    assert clip.ciphertext_sha256 == manifest.ciphertext.sha256
    assert not clip.present
    assert disk.spool.holds(manifest.ciphertext.sha256)
    assert disk.spool.unknown == {}
    # The journal that the manifest names is lost with the ledger.
    disk.ledger.journal.verify()
    assert disk.recover() == []
    assert disk.ledger.queries.clips() == [clip]


def test_what_waits_in_the_spool_is_signed_anew_when_the_station_has_a_new_key(
    disk: Disk,
) -> None:
    manifest, token = disk.seal(EARLIER_KEY)
    disk.recover()
    (clip,) = disk.ledger.queries.clips()
    disk.ledger.uploads.begin(clip)
    disk.ledger.uploads.remember(clip, "https://evidence.example/files/1")
    renew(disk.ledger, disk.spool, KEY, START, synchronised=None)
    (clip,) = disk.ledger.queries.clips()
    renewed = verify_manifest(str(clip.manifest), {KEY.kid: KEY.verify_key})
    assert renewed.ciphertext == manifest.ciphertext
    assert renewed.sealed_at == manifest.sealed_at
    assert renewed.previous == GENESIS
    assert disk.ledger.journal.holds(renewed.journal)
    assert (clip.state, clip.upload_url) == (State.UPLOADING, None)
    assert disk.spool.manifest(manifest.ciphertext.sha256) == clip.manifest != token
    disk.ledger.journal.verify()
    renew(disk.ledger, disk.spool, KEY, START, synchronised=None)
    assert disk.ledger.queries.clips() == [clip]
    assert disk.recover() == []


def test_a_manifest_that_a_clock_has_dated_into_the_future_is_signed_anew(disk: Disk) -> None:
    _, token = disk.seal(
        clock=ClockFacts(synchronised=False, camera_ahead_seconds=7.5),
    )
    disk.recover()
    renew(disk.ledger, disk.spool, KEY, START - timedelta(hours=20), synchronised=True)
    (clip,) = disk.ledger.queries.clips()
    assert clip.manifest == token  # a mistaken zone, perhaps
    renew(disk.ledger, disk.spool, KEY, START - timedelta(days=3), synchronised=True)
    (clip,) = disk.ledger.queries.clips()
    renewed = verify_manifest(str(clip.manifest), {KEY.kid: KEY.verify_key})
    assert renewed.sealed_at == timestamp(START - timedelta(days=3))
    assert renewed.clock == ClockFacts(synchronised=True, camera_ahead_seconds=7.5)
    *_, entry = disk.ledger.journal.entries()
    assert (entry.detail["renewed"], entry.detail["former_manifest"]) == (True, token)


@pytest.mark.parametrize("synchronised", [None, False])
@pytest.mark.parametrize("key", [KEY, EARLIER_KEY])
def test_a_clock_that_nobody_keeps_right_dates_no_manifest_anew(
    disk: Disk, key: SigningKey, synchronised: bool | None
) -> None:
    sealed, token = disk.seal(key, clock=ClockFacts(synchronised=True))
    disk.recover()
    renew(disk.ledger, disk.spool, KEY, START - timedelta(days=999), synchronised=synchronised)
    (clip,) = disk.ledger.queries.clips()
    kept = verify_manifest(str(clip.manifest), {KEY.kid: KEY.verify_key})
    assert (kept.sealed_at, kept.clock) == (sealed.sealed_at, sealed.clock)
    assert (clip.manifest == token) == (key is KEY)


def test_a_clip_that_was_taken_in_is_never_wiped_by_itself(disk: Disk) -> None:
    disk.seal()
    disk.recover()
    (clip,) = disk.ledger.queries.clips()
    disk.ledger.uploads.begin(clip)
    disk.ledger.uploads.acknowledge(clip, "receipt", "answer")
    assert disk.ledger.queries.to_wipe(CAMERA) == []
    disk.recover()
    assert disk.names() == set()


def test_a_clip_of_another_volume_and_an_odd_name_is_taken_in_as_it_was(disk: Disk) -> None:
    name = "/p2/a\\x5cb\\xff\\x0a.mp4"
    file = FileFacts(
        path=name,
        kind="sidecar",
        modified_at="1601-01-01T00:00:00.000Z",
        metadata={"officer": "PC1042"},
        event=True,
    )
    disk.seal(file=file)
    disk.recover()
    (clip,) = disk.ledger.queries.clips()
    assert clip.path == b"/p2/a\\b\xff\n.mp4"
    assert clip.name == name
    assert (clip.match.kind, clip.match.event) == ("sidecar", True)
    assert clip.match.metadata == {"officer": "PC1042"}


def test_a_crash_right_before_the_ledger_knew_leaves_one_clip(disk: Disk) -> None:
    clip = disk.ingest()
    _, token = disk.seal(journal=disk.ledger.journal.head())
    assert disk.recover() == []
    (only,) = disk.ledger.queries.clips()
    assert only.id == clip.id
    assert (only.state, only.present, only.manifest) == (State.SPOOLED, True, token)
    assert only.stat is None  # so that a wipe reads it again
    disk.ledger.journal.verify()


def test_a_crash_right_before_the_ledger_knew_a_clip_of_a_very_long_path_leaves_one_clip(
    disk: Disk,
) -> None:
    path = "a" * 200 + "/" + "b" * 5000
    clip = disk.ingest(path)
    file = FileFacts(
        path="a…b",
        path_sha256=hashlib.sha256(path.encode()).hexdigest(),
        kind="video",
        modified_at="2026-11-21T11:00:00.000Z",
    )
    manifest, _ = disk.seal(file=file)
    disk.recover()
    (only,) = disk.ledger.queries.clips()
    assert (only.id, only.path) == (clip.id, path.encode())
    # And after the loss of the ledger, once the camera is read again.
    disk.lose_ledger()
    disk.recover()
    clip = disk.ingest(path, another=True)
    facts = SealedFacts(manifest.clip_id, FileStat(1000, 0, 0, 0, 5), PLAINTEXT, PLAINTEXT)
    assert disk.ledger.ingests.rejoin(clip, facts, manifest.recipients) is not None
    (only,) = disk.ledger.queries.clips()
    assert (only.path, only.present) == (path.encode(), True)


def test_a_crash_while_another_clip_is_read_leaves_that_to_be_read_again(disk: Disk) -> None:
    disk.ingest("DCIM/other.mp4")
    disk.seal()
    disk.recover()
    assert disk.ledger.queries.counts() == {State.FOUND: 1, State.SPOOLED: 1}


@pytest.mark.parametrize(
    "why",
    [
        "none",
        "garbage",
        "other size",
        "forged",
        "stranger",
        "other station",
        "other clip",
        "no date",
    ],
)
def test_a_ciphertext_whose_manifest_does_not_tell_stays_and_is_told(disk: Disk, why: str) -> None:
    changes: dict[str, Any] = {}
    if why == "other station":
        changes["station"] = make_manifest(KEY, station="soho-01").station
    elif why == "other clip":
        changes["clip_id"] = derive_clip_id("generic:CAM-9", PLAINTEXT.sha256)
    elif why == "no date":
        moment = "9999-99-99T99:99:99.999Z"
        changes["file"] = FileFacts.model_construct(path="a", kind="video", modified_at=moment)
    elif why == "forged":
        changes["station"] = make_manifest(KEY).station
    key = {"none": None, "forged": STRANGER, "stranger": STRANGER}.get(why, KEY)
    manifest, _ = disk.seal(key, **changes)
    sha256 = manifest.ciphertext.sha256
    if why == "garbage":
        disk.spool.keep_manifest(sha256, "a.b.c")
    elif why == "other size":
        disk.spool.path(sha256).write_bytes(b"cut")
    before = disk.names()
    disk.recover()
    assert disk.ledger.queries.clips() == []
    assert disk.names() == before
    assert list(disk.spool.unknown) == [sha256]
    assert disk.spool.used == 0
    # Also at every later start.
    disk.recover()
    assert disk.names() == before


def test_unknown_ciphertext_is_told_and_shown_until_it_is_taken_away(disk: Disk) -> None:
    manifest, _ = disk.seal(None)
    disk.recover()
    path = disk.spool.path(manifest.ciphertext.sha256)
    seen = []

    class Clock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            seen.extend(incidents.shown())
            path.rename(disk.folder / "saved.age")

    clock = Clock()
    incidents = Incidents(clock)
    with structlog.testing.capture_logs() as log:
        asyncio.run(Unknown(disk.spool, clock, incidents).run())
    assert [line["event"] for line in log] == ["spool.unknown", "spool.known"]
    assert (log[0]["files"], log[0]["size"], log[0]["names"]) == (1, 10, [path.name])
    assert [one.event for one in seen] == ["spool.unknown"]
    assert incidents.shown() == []


def test_a_ledger_from_before_an_ingest_reads_the_clip_once(disk: Disk) -> None:
    docking = disk.ledger.dockings.begin(CAMERA, "bay 3")
    file = FoundFile(PATH.encode(), PLAINTEXT.size, 0, Match("video"))
    disk.ledger.dockings.observe(CAMERA, docking, [file])
    manifest, _ = disk.seal()
    disk.recover()
    assert disk.ledger.queries.counts() == {State.FOUND: 1, State.SPOOLED: 1}
    (clip,) = disk.ledger.queries.to_ingest(CAMERA)
    disk.ledger.ingests.begin(clip, docking)
    facts = SealedFacts(manifest.clip_id, FileStat(1000, 0, 0, 0, 5), PLAINTEXT, PLAINTEXT)
    twin = disk.ledger.ingests.rejoin(clip, facts, manifest.recipients)
    assert twin is not None
    (only,) = disk.ledger.queries.clips()
    assert (only.id, only.present) == (twin.id, True)


def test_a_spool_of_an_earlier_dockd_gets_its_manifests(disk: Disk) -> None:
    clip = disk.ingest()
    manifest, token = disk.seal(None)
    facts = SealedFacts(
        manifest.clip_id, FileStat(1000, 0, 0, 0, 5), PLAINTEXT, manifest.ciphertext
    )
    disk.ledger.ingests.spooled(clip, facts, token)
    disk.recover()
    assert disk.spool.manifest(manifest.ciphertext.sha256) == token


class FullDisk(Files):
    """Lets nobody create a file."""

    def create(self, path: Path) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


class FailingDisk(Files):
    """Lets nobody remove a file."""

    def remove(self, path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def test_a_manifest_that_cannot_be_read_leaves_its_ciphertext_unknown_and_the_others_delivered(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, _ = disk.seal()
    good, _ = disk.seal(data=b"another")
    disk.lose_ledger()
    read = Spool.manifest

    def manifest(spool: Spool, sha256: str) -> str | None:
        if sha256 == bad.ciphertext.sha256:
            raise SpoolError(f"{sha256}.jws: Input/output error")
        return read(spool, sha256)

    monkeypatch.setattr(Spool, "manifest", manifest)
    log = disk.recover()
    assert [line["event"] for line in log] == ["clip.taken_in", "spool.failed"]
    assert bad.ciphertext.sha256 in log[1]["detail"]
    assert list(disk.spool.unknown) == [bad.ciphertext.sha256]
    monkeypatch.undo()
    disk.recover()
    assert {clip.ciphertext_sha256 for clip in disk.ledger.queries.clips()} == {
        good.ciphertext.sha256,
        bad.ciphertext.sha256,
    }


def test_a_start_on_a_full_disk_goes_on_and_a_later_one_puts_the_manifests_there(
    disk: Disk,
) -> None:
    manifest, token = disk.seal()
    disk.recover()
    sha256 = manifest.ciphertext.sha256
    (disk.spool.folder / f"{sha256}.jws").unlink()
    (line,) = disk.recover(FullDisk())
    assert (line["event"], line["error"]) == ("spool.failed", "spool.full")
    assert disk.spool.holds(sha256)
    disk.recover()
    assert disk.spool.manifest(sha256) == token


def test_a_new_key_on_a_full_disk_signs_in_the_ledger_and_at_a_later_start_in_the_spool(
    disk: Disk,
) -> None:
    manifest, old = disk.seal(EARLIER_KEY)
    disk.recover(FullDisk())
    with structlog.testing.capture_logs() as log:
        renew(disk.ledger, disk.spool, KEY, START, synchronised=True)
    assert [line["event"] for line in log] == ["spool.failed"]
    (clip,) = disk.ledger.queries.clips()
    assert verify_manifest(str(clip.manifest), {KEY.kid: KEY.verify_key})
    assert disk.spool.manifest(manifest.ciphertext.sha256) == old
    disk.recover()
    assert disk.spool.manifest(manifest.ciphertext.sha256) == clip.manifest


def test_what_cannot_be_removed_or_set_aside_keeps_no_station_from_starting(disk: Disk) -> None:
    disk.seal()
    disk.recover()
    (clip,) = disk.ledger.queries.clips()
    disk.ledger.uploads.begin(clip)
    disk.ledger.uploads.acknowledge(clip, "receipt", "answer")
    lost, _ = disk.seal(data=b"lost")
    disk.recover()
    disk.spool.path(lost.ciphertext.sha256).write_bytes(b"cut")
    (disk.spool.folder / f"{'0' * 32}.part").write_bytes(b"never finished")

    class Failing(FailingDisk):
        def publish(self, part: Path, final: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(final))

    disk.seal()
    before = disk.names()
    log = disk.recover(Failing())
    assert {line["event"] for line in log} == {"spool.failed"}
    assert disk.names() == before
    assert disk.ledger.queries.counts() == {State.ACKNOWLEDGED: 1, State.SPOOLED: 1}
    assert not disk.spool.holds(lost.ciphertext.sha256)
    disk.recover()
    assert disk.ledger.queries.counts() == {State.ACKNOWLEDGED: 1, State.FOUND: 1}
    assert all(name.endswith((".damaged", ".jws")) for name in disk.names())
