"""What one station may take of what all share, and what never waits for a slow disk."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dockd.receiver.core import uploads, verifier
from dockd.receiver.core.room import KEPT_SECONDS
from dockd.receiver.core.shares import StationSlots
from dockd.receiver.core.upload import Upload
from dockd.receiver.core.verifier import READ_AGAIN_SECONDS
from dockd.receiver.http import tus
from dockd.receiver.http.problems import RequestError
from dockd.receiver.http.requests import Requests
from tests.receiver.support import (
    TUS,
    LaterClock,
    Site,
    SlowDisk,
    Station,
    StuckFiles,
    a_moment,
    ask,
    code,
    create,
    make_site,
    patch,
    running,
    upload,
)
from tests.support import small_disk

STATION, OTHER = Station(), Station("soho-01")
CLIP = STATION.clip()
MIB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 8 MiB."""
    with small_disk(tmp_path / "disk", size="8m") as disk:
        yield disk


def test_one_of_several_stations_is_not_promised_all_the_room(tmp_path: Path, disk: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER, store={"path": str(disk / "store")})
    half = STATION.clip(b"x" * 3 * MIB)
    more = STATION.clip(b"y" * MIB, plaintext="more")
    theirs = OTHER.clip(b"z" * 3 * MIB)

    async def play() -> None:
        async with running(site) as run:
            await create(run.client, half)
            response = await run.client.post("/files/", headers=more.creation)
            assert (response.status_code, code(response)) == (507, "share-full")
            assert STATION.id in response.json()["detail"]
            site.receipt(await upload(run.client, theirs), theirs)

    asyncio.run(play())


def test_room_is_not_kept_for_an_upload_that_does_not_get_on(tmp_path: Path, disk: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER, store={"path": str(disk / "store")})
    clock = LaterClock()
    idle = STATION.clip(b"x" * 3 * MIB)
    theirs = [OTHER.clip(bytes([n]) * 3 * MIB, plaintext=str(n)) for n in range(2)]

    async def play() -> None:
        async with running(site, clock=clock) as run:
            path = await create(run.client, idle)
            site.receipt(await upload(run.client, theirs[0]), theirs[0])
            response = await run.client.post("/files/", headers=theirs[1].creation)
            assert response.status_code == 507
            clock.ahead = KEPT_SECONDS + 1
            assert (await patch(run.client, path, b"")).status_code == 204  # renews nothing
            assert (await run.client.get("/healthz")).json()["promised_bytes"] == 0

    asyncio.run(play())


def test_health_heads_and_receipts_wait_for_no_write(tmp_path: Path) -> None:
    """With more writes than there are threads for them, on a disk that hangs in the first."""
    site = make_site(tmp_path, STATION, OTHER, listen={"max_connections": 400})
    files = StuckFiles()
    stored = OTHER.clip()
    clips = [STATION.clip(plaintext=str(number)) for number in range(40)]

    async def play() -> None:
        async with running(site, files=files) as run:
            files.release.set()
            receipt = await upload(run.client, stored)
            paths = [await create(run.client, clip) for clip in clips]
            files.writing.clear()
            files.release.clear()
            writes = [
                asyncio.create_task(patch(run.client, path, clip.data))
                for path, clip in zip(paths[:-1], clips, strict=False)
            ]
            await asyncio.to_thread(files.writing.wait)
            assert (await run.client.get("/healthz")).status_code == 200
            assert (await run.client.head(paths[-1], headers=TUS)).status_code == 200
            assert (await ask(run.client, stored)).text == receipt
            assert not any(write.done() for write in writes)
            files.release.set()
            for write in writes:
                assert (await write).status_code == 204

    asyncio.run(play())


def test_a_station_that_waits_for_its_clips_to_be_read_back_holds_up_no_other(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path, STATION, OTHER, store={"verify_concurrency": 2})
    clips = [STATION.clip(plaintext=str(number)) for number in range(5)]
    files = SlowDisk()
    theirs = OTHER.clip()

    async def play() -> None:
        async with running(site, files=files) as run:
            for clip in clips:
                await patch(run.client, await create(run.client, clip), clip.data)
            path = await create(run.client, theirs)
            await patch(run.client, path, theirs.data)
            files.let_through(path.removeprefix("/files/"))
            site.receipt((await ask(run.client, theirs)).text, theirs)
            files.release.set()

    asyncio.run(play())


def test_copies_that_wait_to_be_read_back_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "MAX_QUEUED", 2)
    site = make_site(tmp_path, STATION, store={"verify_concurrency": 1})
    clock = LaterClock()
    clips = [STATION.clip(plaintext=str(number)) for number in range(5)]
    files = SlowDisk()
    files.release.set()

    async def play() -> None:
        async with running(site, files=files, clock=clock) as run:
            for clip in clips[:4]:
                await upload(run.client, clip)
            clock.ahead = READ_AGAIN_SECONDS + 1
            files.release.clear()
            # The only place is taken by one that hangs.
            await patch(run.client, await create(run.client, clips[4]), clips[4].data)
            for clip in clips[:2]:
                assert (await ask(run.client, clip, wait=0)).status_code == 202
            await a_moment()
            response = await ask(run.client, clips[2], wait=20)
            files.release.set()
            assert (response.status_code, response.headers["Retry-After"]) == (202, "30")
            while (response := await ask(run.client, clips[2])).status_code == 202:
                pass
            site.receipt(response.text, clips[2])

    asyncio.run(play())


def test_receipts_wait_for_no_write_that_hangs(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER)
    release = threading.Event()

    async def play() -> None:
        async with running(site) as run:
            path = await create(run.client, CLIP)
            assert (await patch(run.client, path, CLIP.data[:-1])).status_code == 204
            hanging = [run.receiver.uploads.workers.write(release.wait) for _ in range(32)]
            try:
                upload = run.receiver.uploads.find(path.removeprefix("/files/"))
                assert isinstance(upload, Upload)
                with upload_part(site, upload.id).open("ab") as part:
                    part.write(CLIP.data[-1:])
                upload.offset += 1
                site.receipt((await ask(run.client, CLIP)).text, CLIP)
            finally:
                release.set()
                await asyncio.gather(*hanging)

    asyncio.run(play())


def upload_part(site: Site, upload_id: str) -> Path:
    return site.store / "incoming" / f"{upload_id}.part"


def test_slots_go_round_between_stations() -> None:
    order: list[str] = []

    async def play() -> None:
        slots = StationSlots(1, several=True)
        go_on = asyncio.Event()

        async def work(station: str) -> None:
            async with slots.slot(station):
                await go_on.wait()
                order.append(station)

        tasks = [asyncio.create_task(work(who)) for who in ("a", "a", "a", "b", "c", "b")]
        await a_moment()
        assert slots.waiting("a") == 2
        go_on.set()
        await asyncio.gather(*tasks)
        assert slots.waiting("a") == 0

    asyncio.run(play())
    assert order == ["a", "a", "b", "c", "a", "b"]


def test_a_slot_that_is_not_waited_for_any_more_goes_to_the_next() -> None:
    async def play() -> None:
        slots = StationSlots(1, several=True)

        @contextlib.asynccontextmanager
        async def held() -> AsyncIterator[None]:
            async with slots.slot("a"):
                yield

        async with held():
            given_up = asyncio.create_task(slots.slot("b").__aenter__())
            await a_moment()
            given_up.cancel()
            await asyncio.wait([given_up])
        async with asyncio.timeout(5), slots.slot("c"):
            pass

    asyncio.run(play())


def test_requests_are_counted_for_each_station() -> None:
    requests = Requests(1)
    with requests.one("a"):
        with requests.one("b"):
            pass
        with pytest.raises(RequestError) as refused, requests.one("a"):
            pass
        assert "a has 1 requests" in refused.value.detail
    with requests.one("a"):
        pass


def test_the_documentation_gives_the_limits_that_hold() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    table = page.partition("## Limits")[2].partition("\n## ")[0]
    for limit in (
        f"{uploads.MAX_UNFINISHED:,}, and {uploads.MAX_UNFINISHED_BYTES // MIB} MiB",
        f"| {tus.MAX_OTHER_METADATA // 1024} KiB |",
        f"| {verifier.MAX_QUEUED} |",
        f"| {KEPT_SECONDS / 3600:.0f} hour |",
    ):
        assert limit in table
