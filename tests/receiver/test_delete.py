"""Giving up uploads: by their station, and by time."""

import asyncio
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from tests.clocks import START, FakeClock
from tests.receiver.support import (
    TUS,
    Station,
    ask,
    code,
    create,
    make_site,
    patch,
    running,
    with_receiver,
)

STATION = Station()


def test_an_unfinished_upload_can_be_given_up(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip)
        await patch(client, path, clip.data[:4])
        assert (await client.delete(path, headers=TUS)).status_code == 204
        response = await client.delete(path, headers=TUS)
        assert (response.status_code, code(response)) == (404, "upload-unknown")

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_a_finished_upload_stays(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip)
        await patch(client, path, clip.data)
        for _ in range(2):
            response = await client.delete(path, headers=TUS)
            assert (response.status_code, code(response)) == (403, "upload-finished")
            assert (await ask(client, clip)).status_code == 200

    with_receiver(site, scenario)


class WallClock(FakeClock):
    """Stands still, and is set by hand; the sweeper never wakes."""

    def __init__(self) -> None:
        self.time = START
        super().__init__()

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


def test_an_upload_expires_some_time_after_its_last_byte(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, store={"upload_expiry_seconds": 100})
    clip = STATION.clip()
    clock = WallClock()

    async def play() -> None:
        async with running(site, clock=clock) as run:
            path = await create(run.client, clip)
            clock.time += timedelta(seconds=90)
            response = await patch(run.client, path, clip.data[:4])
            expires = parsedate_to_datetime(response.headers["Upload-Expires"])
            assert expires == clock.time + timedelta(seconds=100)
            clock.time += timedelta(seconds=90)
            await run.receiver.uploads.sweep()
            assert (await run.client.head(path, headers=TUS)).status_code == 200
            clock.time += timedelta(seconds=10)
            await run.receiver.uploads.sweep()
            assert (await run.client.head(path, headers=TUS)).status_code == 404

    asyncio.run(play())
    assert site.stored() == {}
