"""The store on disk."""

import asyncio
import errno
import os
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
import structlog

from dockd.base.errors import StoreBusyError
from dockd.host.files import Files
from dockd.receiver.store.disk import DiskStore
from dockd.receiver.store.incoming import IncomingFolder
from tests.receiver.support import (
    TUS,
    Clip,
    FailingFiles,
    LaterClock,
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
CLIP = STATION.clip()


def place(site: Site, clip: Clip, suffix: str) -> Path:
    return site.store / "clips" / clip.id[:2] / clip.id[2:4] / f"{clip.id}{suffix}"


def test_a_clip_lies_beside_its_manifest_and_its_receipt(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    receipts: list[str] = []

    async def scenario(client: httpx.AsyncClient) -> None:
        receipts.append(await upload(client, CLIP))

    with_receiver(site, scenario)
    assert place(site, CLIP, ".age").read_bytes() == CLIP.data
    assert place(site, CLIP, ".manifest.jws").read_text() == CLIP.token
    assert place(site, CLIP, ".receipt.jws").read_text() == receipts[0]
    assert len(site.stored()) == 3


def test_nothing_in_the_store_is_open_to_other_users(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)
        await create(client, STATION.clip(plaintext="unfinished"))

    with_receiver(site, scenario)
    assert [path for path in site.store.rglob("*") if path.stat().st_mode & 0o077] == []


def test_a_store_belongs_to_one_receiver_at_a_time(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    with store.opened(), pytest.raises(StoreBusyError), DiskStore(tmp_path / "store").opened():
        pass
    with DiskStore(tmp_path / "store").opened():
        pass


class OrderedFiles(Files):
    """Remembers what was done, to which kind of file."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def fsync(self, fd: int) -> None:
        self.steps.append(f"fsync {''.join(Path(f'/proc/self/fd/{fd}').readlink().suffixes)}")
        super().fsync(fd)

    def fsync_folder(self, folder: Path) -> None:
        self.steps.append(f"fsync_folder {folder.parts[-3] if folder.name != 'incoming' else ''}")
        super().fsync_folder(folder)

    def publish(self, part: Path, final: Path) -> None:
        self.steps.append(f"publish {''.join(final.suffixes)}")
        super().publish(part, final)


def test_bytes_and_names_are_durable_before_the_receipt_is_written(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    files = OrderedFiles()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        files.steps.clear()
        await patch(client, path, CLIP.data)
        assert (await ask(client, CLIP)).status_code == 200

    with_receiver(site, scenario, files=files)
    steps = files.steps
    assert steps[0] == "fsync .part"
    stored = steps.index("publish .age")
    receipt = steps.index("publish .receipt.jws")
    assert stored < steps.index("fsync_folder clips", stored) < receipt
    assert steps.index("publish .manifest.jws") < receipt
    assert "fsync_folder clips" in steps[receipt:]


def test_bytes_that_the_disk_did_not_keep_get_no_receipt(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    class LosingFiles(Files):
        """A disk that flips a bit of a part while it syncs it."""

        def fsync(self, fd: int) -> None:
            super().fsync(fd)
            path = Path(f"/proc/self/fd/{fd}").readlink()
            if path.read_bytes() == CLIP.data:
                path.write_bytes(b"\x00" + CLIP.data[1:])

    async def scenario(client: httpx.AsyncClient) -> None:
        await patch(client, await create(client, CLIP), CLIP.data)
        response = await ask(client, CLIP)
        assert (response.status_code, code(response)) == (404, "clip-not-stored")

    with_receiver(site, scenario, files=LosingFiles())
    assert site.stored() == {}


@pytest.mark.parametrize(
    ("number", "status", "problem"),
    [
        (errno.ENOSPC, 507, "store-full"),
        (errno.EDQUOT, 507, "store-full"),
        (errno.EIO, 503, "store-failed"),
        (errno.EROFS, 503, "store-failed"),
    ],
)
@pytest.mark.parametrize(
    "operation", ["create", "write_at", "publish .age", "published .age", "published .jws"]
)
def test_after_an_error_of_the_disk_the_station_carries_on(
    tmp_path: Path, number: int, status: int, problem: str, operation: str
) -> None:
    site = make_site(tmp_path, STATION)
    files = FailingFiles(number, operation)

    async def scenario(client: httpx.AsyncClient) -> None:
        refusals = []
        response = await client.post("/files/", headers=CLIP.creation)
        refusals.append(response)
        if response.status_code == 201:
            path = f"/files/{response.headers['Location']}"
            refusals += [await patch(client, path, CLIP.data), await ask(client, CLIP)]
        refused = [r for r in refusals if r.status_code >= 500]
        assert refused
        assert {(r.status_code, code(r)) for r in refused} == {(status, problem)}
        assert all("Retry-After" in r.headers for r in refused)
        files.error = None
        response = await ask(client, CLIP)
        if response.status_code == 404:
            await upload(client, CLIP)
            response = await ask(client, CLIP)
        site.receipt(response.text, CLIP)

    with_receiver(site, scenario, files=files)
    assert len(site.stored()) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("piece", [None, 900_000])
def test_a_part_that_can_not_be_closed_is_written_again_from_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, piece: int | None
) -> None:
    """As network file systems and quotas have it."""
    site = make_site(tmp_path, STATION)
    clip = STATION.clip(bytes(range(256)) * 10_000)
    close = os.close

    def closing(fd: int) -> None:
        written_to = Path(f"/proc/self/fd/{fd}").readlink()
        close(fd)
        if written_to.match("incoming/" + "[0-9a-f]" * 32 + ".part"):
            raise OSError(number, os.strerror(number))

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip)
        assert (await patch(client, path, clip.data[:500])).status_code == 204
        with monkeypatch.context() as failing:
            failing.setattr(os, "close", closing)
            response = await patch(client, path, clip.data[500:2_000_000], 500)
            assert response.status_code == (507 if number == errno.ENOSPC else 503)
        offset = int((await client.head(path, headers=TUS)).headers["Upload-Offset"])
        assert offset == 500
        for start in range(offset, len(clip.data), piece or len(clip.data)):
            rest = clip.data[start : start + piece] if piece else clip.data[start:]
            response = await patch(client, path, rest, start)
            assert response.status_code == 204, response.text
        site.receipt((await ask(client, clip)).text, clip)

    with_receiver(site, scenario)


def test_bytes_that_can_not_be_taken_back_are_written_over(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    files = FailingFiles(errno.EIO, "truncate")
    wrong = {"Upload-Checksum": f"sha256 {b64encode(bytes(32)).decode()}"}

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        response = await patch(client, path, CLIP.data[:40], 0, wrong)
        assert code(response) == "store-failed"
        files.error = None
        assert (await client.head(path, headers=TUS)).headers["Upload-Offset"] == "0"
        assert (await patch(client, path, CLIP.data)).status_code == 204
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario, files=files)


def test_a_client_is_told_where_to_go_on_if_the_disk_has_lost_bytes(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        assert (await patch(client, path, CLIP.data[:40])).status_code == 204
        (part,) = (site.store / "incoming").glob("*.part")
        os.truncate(part, 30)
        response = await patch(client, path, CLIP.data[40:], 40)
        assert (response.status_code, code(response)) == (409, "offset-conflict")
        assert response.headers["Upload-Offset"] == "30"
        assert (await patch(client, path, CLIP.data[30:], 30)).status_code == 204
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario)


def test_a_failed_verification_is_tried_again_without_being_asked(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    files = FailingFiles(errno.EIO, "publish .age")

    async def play() -> None:
        async with running(site, files=files) as run:
            await patch(run.client, await create(run.client, CLIP), CLIP.data)
            assert (await ask(run.client, CLIP)).status_code == 503
            assert not place(site, CLIP, ".age").exists()
            files.error = None
            await run.receiver.uploads.sweep()
            receipts: list[tuple[str, str]] = []
            while not receipts:
                receipts = await run.receiver.uploads.receipts.stored(CLIP.id)
            site.receipt(receipts[0][1], CLIP)

    asyncio.run(play())
    assert len(site.stored()) == 3


def test_an_upload_that_can_not_be_given_up_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, clock = make_site(tmp_path, STATION), LaterClock()
    discard = IncomingFolder.discard

    async def play() -> None:
        async with running(site, clock=clock) as run:
            bad = (await create(run.client, CLIP)).removeprefix("/files/")
            other = await create(run.client, STATION.clip(plaintext="another"))

            def failing(incoming: IncomingFolder, upload_id: str) -> None:
                if upload_id == bad:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                discard(incoming, upload_id)

            monkeypatch.setattr(IncomingFolder, "discard", failing)
            clock.ahead = 30 * 86400.0
            await run.receiver.uploads.sweep()
            assert (await run.client.head(f"/files/{bad}", headers=TUS)).status_code == 200
            assert (await run.client.head(other, headers=TUS)).status_code == 404

    asyncio.run(play())


def test_a_part_of_the_work_that_fails_as_nobody_foresaw_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path, STATION)

    def fail(_store: DiskStore) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(DiskStore, "aside", fail)

    async def scenario(client: httpx.AsyncClient) -> None:
        site.receipt(await upload(client, CLIP), CLIP)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    (line,) = [line for line in log if line["event"] == "daemon.part_failed"]
    assert (line["part"], line["error"]) == ("restore", "unforeseen")


def test_health_tells_of_a_disk_that_gives_errors(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    files = FailingFiles(errno.EROFS, "write_at")

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        assert (await patch(client, path, CLIP.data)).status_code == 503
        response = await client.get("/healthz")
        assert (response.status_code, response.json()["status"]) == (503, "failing")
        files.error = None
        assert (await patch(client, path, CLIP.data)).status_code == 204
        assert (await ask(client, CLIP)).status_code == 200
        assert (await client.get("/healthz")).json()["status"] == "ok"

    with_receiver(site, scenario, files=files)


def test_a_copy_that_is_gone_before_its_last_step_is_not_told_as_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path, STATION)

    def forget(_incoming: IncomingFolder, _upload_id: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def scenario(client: httpx.AsyncClient) -> None:
        with monkeypatch.context() as failing:
            failing.setattr(IncomingFolder, "forget", forget)
            await patch(client, await create(client, CLIP), CLIP.data)
            assert (await ask(client, CLIP)).status_code == 503
        place(site, CLIP, ".age").unlink()
        assert code(await ask(client, CLIP)) == "clip-not-stored"
        site.receipt(await upload(client, CLIP), CLIP)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    assert len([line for line in log if line["event"] == "receiver.clip_stored"]) == 1


def test_a_copy_whose_last_step_failed_is_read_back_before_it_is_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt was written, and the disk failed before the upload's record was removed."""
    site = make_site(tmp_path, STATION)
    failing = True

    def forget(incoming: IncomingFolder, upload_id: str) -> None:
        if failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        original(incoming, upload_id)

    original = IncomingFolder.forget
    monkeypatch.setattr(IncomingFolder, "forget", forget)

    async def scenario(client: httpx.AsyncClient) -> None:
        nonlocal failing
        await patch(client, await create(client, CLIP), CLIP.data)
        assert (await ask(client, CLIP)).status_code == 503
        stored = place(site, CLIP, ".age")
        stored.write_bytes(b"\x00" + stored.read_bytes()[1:])
        failing = False
        assert code(await ask(client, CLIP)) == "clip-not-stored"

    with_receiver(site, scenario)
