"""A disk that really is full: a small tmpfs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dockd.receiver.core.upload import Upload
from tests.receiver.support import (
    TUS,
    Clip,
    Site,
    Station,
    a_moment,
    ask,
    code,
    create,
    make_site,
    patch,
    running,
    upload,
)
from tests.support import fill, small_disk

STATION, OTHER = Station(), Station("soho-01")
MIB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 8 MiB."""
    with small_disk(tmp_path / "disk", size="8m") as disk:
        yield disk


@pytest.fixture
def site(tmp_path: Path, disk: Path) -> Site:
    site = make_site(tmp_path, STATION, store={"path": str(disk / "store")})
    (tmp_path / "store").symlink_to(disk / "store")
    return site


def test_what_has_no_room_is_refused_before_it_is_sent(site: Site) -> None:
    async def play() -> None:
        async with running(site) as run:
            response = await run.client.post(
                "/files/", headers=STATION.clip(b"x" * 9 * MIB).creation
            )
            assert (response.status_code, code(response)) == (507, "store-full")
            clip = STATION.clip(b"x" * MIB)
            site.receipt(await upload(run.client, clip), clip)

    asyncio.run(play())


def test_an_upload_goes_on_when_there_is_room_again(site: Site, disk: Path) -> None:
    clip = STATION.clip(b"x" * 6 * MIB)
    ballast = disk / "ballast"

    async def play() -> None:
        async with running(site) as run:
            path = await create(run.client, clip)
            assert (await patch(run.client, path, clip.data[:MIB])).status_code == 204
            ballast.write_bytes(b"x" * 5 * MIB)
            response = await patch(run.client, path, clip.data[MIB:], MIB)
            assert (response.status_code, code(response)) == (507, "store-full")
            ballast.unlink()
            assert (await patch(run.client, path, clip.data[MIB:], MIB)).status_code == 204
            site.receipt((await ask(run.client, clip)).text, clip)

    asyncio.run(play())
    assert len(site.stored()) == 3


def test_a_disk_that_fills_up_while_bytes_arrive_keeps_those_that_fit(
    site: Site, disk: Path
) -> None:
    clip = STATION.clip(bytes(range(256)) * 4096 * 6)
    ballast = disk / "ballast"

    async def play() -> None:
        async with running(site) as run:
            path = await create(run.client, clip)

            async def filling() -> AsyncIterator[bytes]:
                for start in range(0, len(clip.data), MIB // 2):
                    if start == 2 * MIB:
                        ballast.write_bytes(b"x" * 4 * MIB)
                    yield clip.data[start : start + MIB // 2]

            response = await patch(run.client, path, filling())
            assert (response.status_code, code(response)) == (507, "store-full")
            assert (await run.client.get("/healthz")).status_code == 503
            head = await run.client.head(path, headers=TUS)
            offset = int(head.headers["Upload-Offset"])
            assert MIB <= offset < len(clip.data)
            ballast.unlink()
            response = await patch(run.client, path, clip.data[offset:], offset)
            assert response.status_code == 204
            site.receipt((await ask(run.client, clip)).text, clip)

    asyncio.run(play())
    assert len(site.stored()) == 3


def test_a_full_disk_leaves_receipts_readable(site: Site, disk: Path) -> None:
    clip = STATION.clip()

    async def play() -> None:
        async with running(site) as run:
            receipt = await upload(run.client, clip)
            fill(disk)
            assert (await ask(run.client, clip)).text == receipt
            assert (await run.client.get(f"/receipts/{clip.id}")).text == receipt

    asyncio.run(play())


def test_what_is_promised_to_one_upload_is_promised_to_no_other(tmp_path: Path, disk: Path) -> None:
    reserve = 2 * MIB
    store = {"path": str(disk / "store"), "reserve": reserve}
    site = make_site(tmp_path, STATION, OTHER, store=store)
    stations = [STATION, OTHER] * 3
    clips = [s.clip(bytes([n]) * 2 * MIB, plaintext=str(n)) for n, s in enumerate(stations)]
    least = []

    async def play() -> None:
        async with running(site) as run:

            async def begin(clip: Clip) -> str | None:
                response = await run.client.post("/files/", headers=clip.creation)
                if response.status_code == 201:
                    return str(response.url.join(response.headers["Location"]).path)
                assert (response.status_code, code(response)) == (507, "store-full")
                return None

            async def bring(path: str, clip: Clip) -> None:
                async def pieces() -> AsyncIterator[bytes]:
                    for start in range(0, len(clip.data), MIB // 4):
                        yield clip.data[start : start + MIB // 4]
                        least.append(await run.receiver.uploads.room.look())
                        assert await begin(refused) is None

                assert (await patch(run.client, path, pieces())).status_code == 204
                site.receipt((await ask(run.client, clip)).text, clip)

            refused = STATION.clip(b"x" * 2 * MIB, plaintext="one too many")
            first = await asyncio.gather(*map(begin, clips[:2]))
            begun = [path for path in [*first, *[await begin(clip) for clip in clips[2:]]] if path]
            assert len(begun) == 2
            await asyncio.gather(*map(bring, begun, clips))
            await begin(STATION.clip(b"x", plaintext="a small one"))

    asyncio.run(play())
    assert min(least) >= reserve


def test_a_disk_that_others_use_up_is_not_filled_by_uploads_that_run(
    tmp_path: Path, disk: Path
) -> None:
    store = {"path": str(disk / "store"), "reserve": MIB}
    site = make_site(tmp_path, STATION, store=store)
    clips = [STATION.clip(bytes([n]) * 2 * MIB, plaintext=str(n)) for n in range(2)]

    async def play() -> None:
        async with running(site) as run:
            paths = [await create(run.client, clip) for clip in clips]
            (disk / "ballast").write_bytes(b"x" * 3 * MIB)
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def waiting() -> AsyncIterator[bytes]:
                yield clips[0].data[:MIB]
                begun.set()
                await go_on.wait()
                yield clips[0].data[MIB:]

            writing = asyncio.create_task(patch(run.client, paths[0], waiting()))
            await begun.wait()
            response = await patch(run.client, paths[1], clips[1].data)
            assert (response.status_code, code(response)) == (507, "store-full")
            go_on.set()
            assert (await writing).status_code == 204
            site.receipt((await ask(run.client, clips[0])).text, clips[0])
            (disk / "ballast").unlink()
            assert (await patch(run.client, paths[1], clips[1].data)).status_code == 204

    asyncio.run(play())


def test_what_is_written_of_an_upload_is_promised_no_more(site: Site) -> None:
    clip = STATION.clip(b"x" * 4 * MIB)
    another = STATION.clip(b"y" * 3 * MIB, plaintext="another")

    async def play() -> None:
        async with running(site) as run:
            path = await create(run.client, clip)
            begun = run.receiver.uploads.find(path.removeprefix("/files/"))
            assert isinstance(begun, Upload)

            async def pieces() -> AsyncIterator[bytes]:
                for start in range(0, len(clip.data), MIB):
                    yield clip.data[start : start + MIB]
                    if start == 2 * MIB:
                        while begun.written < start:
                            await a_moment()
                        await create(run.client, another)

            assert (await patch(run.client, path, pieces())).status_code == 204

    asyncio.run(play())
