"""Asking how far an upload got."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests.receiver.support import TUS, Station, ask, code, create, make_site, patch, with_receiver

STATION = Station()


def test_head_tells_offset_length_and_metadata(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        metadata = f"{clip.metadata},filename YQ=="
        path = await create(client, clip, {"Upload-Metadata": metadata})
        await patch(client, path, clip.data[:4])
        response = await client.head(path, headers=TUS)
        assert response.status_code == 200
        assert response.headers["Upload-Offset"] == "4"
        assert response.headers["Upload-Length"] == str(len(clip.data))
        assert response.headers["Upload-Metadata"] == metadata
        assert response.headers["Cache-Control"] == "no-store"
        assert "Upload-Expires" in response.headers

    with_receiver(site, scenario)


def test_an_unknown_upload_is_not_found(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        for upload_id in ("0" * 32, "%2e%2e", "%2e%2e%2flock", "x" * 1000):
            response = await client.head(f"/files/{upload_id}", headers=TUS)
            assert response.status_code == 404
            assert response.headers["Tus-Resumable"] == "1.0.0"

    with_receiver(site, scenario)


def test_a_client_that_missed_the_last_response_learns_that_all_is_there(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip)
        await patch(client, path, clip.data)
        assert (await ask(client, clip)).status_code == 200
        response = await client.head(path, headers=TUS)
        size = len(clip.data)
        assert response.headers["Upload-Offset"] == response.headers["Upload-Length"] == str(size)
        assert (await patch(client, path, b"", size)).status_code == 204

    with_receiver(site, scenario)


def test_asking_takes_the_upload_from_a_connection_that_hangs(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip)
        sent = asyncio.Event()

        async def hanging() -> AsyncIterator[bytes]:
            yield clip.data[:4]
            sent.set()
            await asyncio.Event().wait()

        stale = asyncio.create_task(patch(client, path, hanging()))
        await sent.wait()
        response = await client.head(path, headers=TUS)
        assert response.headers["Upload-Offset"] == "4"
        assert code(await stale) == "upload-locked"
        assert (await patch(client, path, clip.data[4:], 4)).status_code == 204
        site.receipt((await ask(client, clip)).text, clip)

    with_receiver(site, scenario)
