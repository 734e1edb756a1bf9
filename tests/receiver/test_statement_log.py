"""Every receipt is in one log that anybody can check, whatever stops the receiver or its disk."""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import structlog

from dockd.base.errors import StatementLogError
from dockd.evidence.keys import SigningKey, write_secret_file
from dockd.evidence.log.checkpoint import LogProof, SignedCheckpoint
from dockd.evidence.log.merkle import leaf_hash
from dockd.evidence.log.note import NoteKey
from dockd.evidence.log.tiles import bundle_of, split_entries, split_hashes, tile_of
from dockd.evidence.statements import statement_sha256
from dockd.host.files import Files
from dockd.receiver.index.positions import Positions
from dockd.receiver.store.places import folder_of
from tests.pages import ROOT
from tests.receiver.logs import (
    Desk,
    Receipts,
    check_continues,
    entries_in,
    proof_of,
    read_checkpoint,
    until,
)
from tests.receiver.support import (
    FailingFiles,
    Site,
    Station,
    ask,
    code,
    create,
    make_site,
    patch,
    running,
    upload,
    with_receiver,
)

STATION = Station()
CLIPS = [STATION.clip(f"clip {number}".encode(), plaintext=f"{number}") for number in range(3)]


def upload_all(site: Site, clips: Sequence[int] = range(3)) -> list[str]:
    """Upload clips until each is in the log; returns their receipts."""

    async def play() -> list[str]:
        async with running(site) as run:
            receipts = [await upload(run.client, CLIPS[at]) for at in clips]
            for at in clips:
                await proof_of(run.client, CLIPS[at].id)
            return receipts

    return asyncio.run(play())


def log_of(site: Site) -> tuple[SignedCheckpoint, list[bytes]]:
    """The newest checkpoint and all entries."""
    signed = read_checkpoint((site.store / "log" / "checkpoint").read_bytes(), site.log_key)
    return signed, entries_in(site.store / "log", signed.checkpoint.size)


def refuses_to_start(site: Site) -> StatementLogError:
    async def play() -> None:
        async with running(site):
            pass

    with pytest.raises(StatementLogError) as refused:
        asyncio.run(play())
    assert refused.value.exit_code == 65
    return refused.value


def test_a_receipt_is_soon_proven_to_be_in_the_log_by_the_receivers_key_alone(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path, STATION)

    async def play() -> None:
        async with running(site) as run:
            for clip in CLIPS:
                receipt = await upload(run.client, clip)
                proof = LogProof.parse(await proof_of(run.client, clip.id))
                signed = proof.verify(leaf_hash(receipt.encode()), [site.log_key])
                assert signed.checkpoint.origin == "evidence-1/log"
                wanted = {"receipt": statement_sha256(receipt)}
                path = f"/receipts/{clip.id}/proof"
                assert (await run.client.get(path, params=wanted)).status_code == 200
                response = await run.client.get(path, params={"receipt": "0" * 64})
                assert code(response) == "clip-not-stored"
                with pytest.raises(StatementLogError):
                    proof.verify(leaf_hash(b"another"), [site.log_key])

    asyncio.run(play())


@pytest.mark.parametrize("name", ["*", "**", "....", "%00", "a" * 63, "A" * 64, "[" * 64])
def test_what_is_no_clip_id_is_not_looked_for(tmp_path: Path, name: str) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(f"/receipts/{name}/proof")
        assert (response.status_code, code(response)) == (404, "not-found")

    with_receiver(site, scenario)


def test_of_a_clip_that_is_not_stored_there_is_no_proof(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def play() -> None:
        async with running(site) as run:
            response = await run.client.get(f"/receipts/{CLIPS[0].id}/proof")
            assert (response.status_code, code(response)) == (404, "clip-not-stored")

    asyncio.run(play())


def test_the_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    receipts = upload_all(site, [0])
    old, _ = log_of(site)
    receipts += upload_all(site, [1, 2])
    new, entries = log_of(site)
    assert entries == [receipt.encode() for receipt in receipts]
    check_continues(site.store / "log", old, new)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_lost_index_is_rebuilt_and_nothing_is_entered_twice(
    tmp_path: Path, damaged: bool
) -> None:
    site = make_site(tmp_path, STATION)
    receipts = upload_all(site, [0, 1])
    for path in site.store.glob("log.db*"):
        if damaged and path.name == "log.db":
            path.write_bytes(b"no database" * 1000)
        else:
            path.unlink()
    receipts += upload_all(site, [2])
    assert log_of(site)[1] == [receipt.encode() for receipt in receipts]
    upload_again = upload_all(site, [])
    assert upload_again == []
    assert len(log_of(site)[1]) == 3
    assert len(list(site.store.glob("log.db.*.damaged"))) == damaged


def test_if_log_and_index_are_lost_every_stored_receipt_is_entered_anew(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    receipts = upload_all(site)
    shutil.rmtree(site.store / "log")
    for path in site.store.glob("log.db*"):
        path.unlink()

    async def play() -> None:
        async with running(site) as run:
            for clip in CLIPS:
                await proof_of(run.client, clip.id)

    asyncio.run(play())
    assert sorted(log_of(site)[1]) == sorted(receipt.encode() for receipt in receipts)


def test_the_receipts_in_the_store_of_an_earlier_version_are_entered(tmp_path: Path) -> None:
    v1 = ROOT / "testdata" / "v1"
    site = make_site(tmp_path, STATION)
    shutil.copytree(v1 / "store", site.store)
    for path in site.store.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    receipts = [path.read_bytes() for path in site.store.rglob("*.receipt.jws")]
    assert receipts

    async def play() -> None:
        async with running(site) as run, asyncio.timeout(60):
            size = 0
            while size < len(receipts):
                text = (await run.client.get("/log/checkpoint")).text
                size = int(text.splitlines()[1])
                await asyncio.sleep(0.01)

    asyncio.run(play())
    assert sorted(log_of(site)[1]) == sorted(receipts)


def test_a_log_that_was_rolled_back_is_not_continued(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    upload_all(site, [0])
    shutil.copytree(site.store / "log", tmp_path / "backup")
    upload_all(site, [1, 2])
    shutil.rmtree(site.store / "log")
    shutil.copytree(tmp_path / "backup", site.store / "log")
    error = refuses_to_start(site)
    assert "1 entries, and had 3" in error.detail
    shutil.rmtree(site.store / "log")
    assert "rolled back" in refuses_to_start(site).detail


@pytest.mark.parametrize("level", ["0", "entries"])
def test_a_log_whose_last_tiles_were_altered_is_not_continued(tmp_path: Path, level: str) -> None:
    site = make_site(tmp_path, STATION)
    upload_all(site)
    tile = site.store / "log" / "tile" / level / "000.p" / "3"
    data = bytearray(tile.read_bytes())
    data[40] ^= 1
    tile.write_bytes(data)
    assert refuses_to_start(site).hint


def test_a_checkpoint_of_another_key_is_refused_unless_it_is_an_earlier_one(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path, STATION)
    receipts = upload_all(site, [0])
    (tmp_path / "earlier.pub").write_bytes(site.key.verify_key.pem())
    key = SigningKey.generate()
    (tmp_path / "receiver.key").unlink()
    write_secret_file(tmp_path / "receiver.key", key.pem())
    renewed = replace(site, key=key)
    assert "earlier_keys" in str(refuses_to_start(renewed).hint)
    text = site.config_path.read_text()
    earlier = '[receiver]\nearlier_keys = ["earlier.pub"]'
    site.config_path.write_text(text.replace("[receiver]", earlier, 1))
    receipts += upload_all(renewed, [1])
    signed, entries = log_of(renewed)
    assert entries == [receipt.encode() for receipt in receipts]
    assert signed.checkpoint.origin == "evidence-1/log"


class LogFails(Files):
    """A disk that fails below ``log/``, in one operation, while it is told to."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.operation: str | None = operation

    def _check(self, operation: str, path: Path) -> None:
        if operation == self.operation and "log" in path.parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def create(self, path: Path) -> int:
        self._check("create", path)
        return super().create(path)

    def make_folder(self, folder: Path) -> None:
        self._check("make_folder", folder)
        super().make_folder(folder)

    def publish(self, part: Path, final: Path) -> None:
        self._check("publish", final)
        super().publish(part, final)
        self._check("published", final)


@pytest.mark.parametrize("operation", ["create", "make_folder", "publish", "published"])
def test_while_the_log_can_not_be_written_receipts_are_given_and_entered_later(
    tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockd.receiver.core.statement_log.RETRY_SECONDS", 0.05)
    site = make_site(tmp_path, STATION)
    files = LogFails(operation)

    async def play() -> list[str]:
        async with running(site, files=files) as run:
            receipts = [await upload(run.client, clip) for clip in CLIPS]
            await until(lambda: any(line["event"] == "receiver.log_failed" for line in log))
            for clip in CLIPS:
                response = await run.client.get(f"/receipts/{clip.id}/proof")
                assert response.status_code in {200, 202}
            files.operation = None
            for clip, receipt in zip(CLIPS, receipts, strict=True):
                proof = LogProof.parse(await proof_of(run.client, clip.id))
                proof.verify(leaf_hash(receipt.encode()), [site.log_key])
            return receipts

    with structlog.testing.capture_logs() as log:
        receipts = asyncio.run(play())
    assert sorted(log_of(site)[1]) == sorted(receipt.encode() for receipt in receipts)
    failed = [line for line in log if line["event"] == "receiver.log_failed"]
    recovered = [line for line in log if line["event"] == "receiver.log_recovered"]
    assert 1 <= len(failed) == len(recovered) <= 2


def test_a_refused_upload_leaves_nothing_expected(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    class LosingFiles(Files):
        """A disk that flips a bit of a part while it syncs it."""

        def fsync(self, fd: int) -> None:
            super().fsync(fd)
            path = Path(f"/proc/self/fd/{fd}").readlink()
            if path.read_bytes() == CLIPS[0].data:
                path.write_bytes(b"\x00" + CLIPS[0].data[1:])

    async def play() -> None:
        async with running(site, files=LosingFiles()) as run:
            await patch(run.client, await create(run.client, CLIPS[0]), CLIPS[0].data)
            assert (await ask(run.client, CLIPS[0])).status_code == 404

    asyncio.run(play())
    db = sqlite3.connect(site.store / "log.db")
    assert db.execute("SELECT COUNT(*) FROM expected").fetchone() == (0,)
    db.close()


def test_a_renewed_receipt_is_entered_as_well(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    (first,) = upload_all(site, [0])
    file = folder_of(site.store / "clips", CLIPS[0].id) / f"{CLIPS[0].id}.receipt.jws"
    file.write_bytes(b"damaged")

    async def play() -> str:
        async with running(site) as run:
            renewed = await ask(run.client, CLIPS[0])
            proof = LogProof.parse(await proof_of(run.client, CLIPS[0].id))
            proof.verify(leaf_hash(renewed.content), [site.log_key])
            return renewed.text

    renewed = asyncio.run(play())
    assert log_of(site)[1] == [first.encode(), renewed.encode()]


@pytest.mark.parametrize("public", [False, True])
def test_who_may_read_the_log(tmp_path: Path, public: bool) -> None:
    station = Station(token="t" * 32)
    site = make_site(tmp_path, station)
    with site.config_path.open("a") as config:
        config.write(f"[statement_log]\npublic = {str(public).lower()}\n")
    clip = station.clip()
    own = {"Authorization": f"Bearer {'t' * 32}"}

    async def play() -> None:
        async with running(site) as run:
            await upload(run.client, clip, own)
            proof = LogProof.parse(await proof_of(run.client, clip.id, **own))
            assert proof.index == 0
            paths = "checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"
            for path in paths:
                anybody = await run.client.get(f"/log/{path}")
                assert anybody.status_code == (200 if public else 401)
                assert (await run.client.get(f"/log/{path}", headers=own)).status_code == 200
            # A proof tells of a clip: it is its station's in any case.
            assert (await run.client.get(f"/receipts/{clip.id}/proof")).status_code == 401

    asyncio.run(play())


def test_tiles_are_served_as_the_log_has_them_and_nothing_else_is(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def play() -> None:
        async with running(site) as run:
            receipts = []
            for clip in CLIPS:
                receipts.append((await upload(run.client, clip)).encode())
                await proof_of(run.client, clip.id)
            for width in range(1, 4):
                response = await run.client.get(f"/log/tile/entries/000.p/{width}")
                bundle = bundle_of(0, width)
                assert split_entries(bundle, response.content) == receipts[:width]
                response = await run.client.get(f"/log/tile/0/000.p/{width}")
                hashes = split_hashes(tile_of(0, 0, width), response.content)
                assert hashes == [leaf_hash(receipt) for receipt in receipts[:width]]
                assert "immutable" in response.headers["Cache-Control"]
            for path in (
                *("0/000", "0/000.p/4", "0/001.p/1", "1/000.p/1", "entries/000", "entries/001"),
                *("0/000.p/0", "0/000.p/256", "0/000.p/01", "0/x000/000.p/1", "00/000.p/1"),
                *("data/000.p/1", "0/0", "", "0/../checkpoint", "0/%2e%2e/checkpoint", "0/000.p/"),
                "0/000.p/999999999999",
            ):
                response = await run.client.get(f"/log/tile/{path}")
                assert response.status_code == 404, path
            assert (await run.client.get("/log/log.db")).status_code == 404

    asyncio.run(play())


def test_a_damaged_tile_yields_no_proof_that_does_not_verify(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    upload_all(site)

    async def play() -> None:
        async with running(site) as run:
            tile = site.store / "log" / "tile" / "0" / "000.p" / "3"
            tile.write_bytes(tile.read_bytes()[::-1])
            response = await run.client.get(f"/receipts/{CLIPS[0].id}/proof")
            assert (response.status_code, code(response)) == (503, "store-failed")

    asyncio.run(play())


def test_hundreds_of_receipts_fill_tiles_and_each_is_proven(tmp_path: Path) -> None:
    receipts = Receipts()
    desk = Desk(tmp_path, receipts)
    desk.open()

    async def play() -> list[str]:
        checkpoints = []
        for first, end in (0, 200), (200, 256), (256, 600):
            desk.enter(*range(first, end))
            await desk.work(end)
            checkpoints.append(desk.newest)
            for old in checkpoints:
                check_continues(tmp_path / "log", old, checkpoints[-1])
        return [proof or "" for _, r in receipts.tokens.values() if (proof := await prove(r))]

    async def prove(receipt: str) -> str | None:
        return await desk.log.proof(receipt)

    proofs = asyncio.run(play())
    desk.check()
    for proof, (_, receipt) in zip(proofs, receipts.tokens.values(), strict=True):
        LogProof.parse(proof).verify(leaf_hash(receipt.encode()), [desk.key])
    assert not (tmp_path / "log" / "tile" / "0" / "000.p").exists()
    desk.close()


def test_a_large_store_is_entered_after_an_upgrade_by_degrees(tmp_path: Path) -> None:
    receipts = Receipts()
    for number in range(2100):
        receipts.give(number)
    desk = Desk(tmp_path, receipts)
    desk.open()
    asyncio.run(desk.work(2100))
    desk.check()
    desk.close()


def test_a_receipt_that_can_not_be_read_keeps_no_other_from_the_log(tmp_path: Path) -> None:
    class BadSector(Receipts):
        bad: str | None = None

        def receipts(self, clip_id: str):  # type: ignore[no-untyped-def]
            if clip_id == self.bad:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().receipts(clip_id)

    receipts = BadSector()
    desk = Desk(tmp_path, receipts)
    desk.open()
    first, *_ = [desk.expect(number) for number in range(5)]
    receipts.bad = first[1]

    async def play() -> None:
        running = asyncio.create_task(desk.log.run())
        await until(lambda: desk.log.size == 4)
        receipts.bad = None
        await until(lambda: desk.log.size == 5)
        running.cancel()
        await desk.log.close()

    asyncio.run(play())
    desk.check()
    desk.close()


class PowerCut(LogFails):
    """A disk, and an index, that do nothing any more after so many steps."""

    left = 0

    def __init__(self) -> None:
        super().__init__("")
        self.published: list[bytes] = []

    def _check(self, operation: str, path: Path) -> None:
        type(self).step()
        if operation == "published" and path.name == "checkpoint":
            self.published.append(path.read_bytes())

    @classmethod
    def step(cls) -> None:
        cls.left -= 1
        if cls.left < 0:
            raise OSError(errno.EIO, "there is no power")


class CutPositions(Positions):
    """An index on that disk."""

    def enter(self, *arguments: object, **more: object) -> None:
        PowerCut.step()
        super().enter(*arguments, **more)  # type: ignore[arg-type]
        PowerCut.step()


@pytest.mark.parametrize(("first", "stride"), [(5, 11), pytest.param(0, 1, marks=pytest.mark.slow)])
def test_whatever_step_of_a_batch_a_crash_comes_at_every_receipt_is_entered_once(
    tmp_path: Path, first: int, stride: int
) -> None:
    (tmp_path / "begun").mkdir()
    begun = Receipts()
    before = Desk(tmp_path / "begun", begun)
    before.open()
    before.enter(*range(255))
    asyncio.run(before.work(255))
    before.close()
    for steps in range(first, 200, stride):
        folder = shutil.copytree(tmp_path / "begun", tmp_path / str(steps))
        receipts = begun.copy()
        PowerCut.left = 10**9
        files = PowerCut()
        desk = Desk(folder, receipts, files, CutPositions)
        desk.open()
        published = [desk.newest]
        PowerCut.left = steps

        async def crash(desk: Desk = desk) -> None:
            desk.enter(255, 256)
            running = asyncio.create_task(desk.log.run())
            await until(lambda: PowerCut.left < 0 or not desk.positions.expected("", 1))
            running.cancel()
            await desk.log.close()

        asyncio.run(crash())
        finished = PowerCut.left >= 0
        desk.close()
        published += [read_checkpoint(data, desk.key) for data in files.published]

        after = Desk(folder, receipts)
        after.open()
        after.enter(257)
        asyncio.run(after.work(258))
        after.check()
        for old in published:
            check_continues(folder / "log", old, after.newest)
        after.close()
        if finished:
            break
    assert finished
    assert steps > 10


def test_an_origin_is_the_name_of_a_log_from_its_beginning(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    with site.config_path.open("a") as config:
        config.write('[statement_log]\norigin = "evidence.example/log"\n')
    upload_all(site, [0])
    text = site.config_path.read_text()
    site.config_path.write_text(text.replace("evidence.example/log", "other.example/log"))
    upload_all(site, [1])
    data = (site.store / "log" / "checkpoint").read_bytes()
    key = NoteKey("evidence.example/log", site.log_key.public)
    assert read_checkpoint(data, key).checkpoint.size == 2


def test_a_full_disk_keeps_no_receiver_from_starting(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def play() -> None:
        async with running(site, files=FailingFiles(errno.ENOSPC, "create")) as run:
            assert (await run.client.get("/log/checkpoint")).status_code == 200

    asyncio.run(play())
