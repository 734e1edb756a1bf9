"""A disk that really is full: a small tmpfs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.receiver.support import (
    TUS,
    Site,
    Station,
    ask,
    code,
    create,
    make_site,
    patch,
    running,
    upload,
)
from tests.support import fill, small_disk

STATION = Station()
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
    again = STATION.clip(b"sealed again")

    async def play() -> None:
        async with running(site) as run:
            receipt = await upload(run.client, clip)
            fill(disk)
            assert (await ask(run.client, clip)).text == receipt
            assert (await run.client.get(f"/receipts/{clip.id}")).text == receipt
            # Its manifest can't be kept now, so that there is no receipt for it yet.
            response = await ask(run.client, again)
            assert (response.status_code, code(response)) == (507, "store-full")

    asyncio.run(play())
