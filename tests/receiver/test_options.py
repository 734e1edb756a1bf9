"""What the receiver says of itself."""

import asyncio
from pathlib import Path

import httpx

from tests.receiver.support import Station, code, make_site, running, with_receiver

STATION = Station(token="secret")


def test_options_names_version_extensions_checksums_and_the_largest_size(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, store={"max_clip_size": "2 GiB"})

    async def scenario(client: httpx.AsyncClient) -> None:
        for path in ("/files/", "/files", "/files/abc"):
            response = await client.options(path)
            assert response.status_code == 204
            assert response.headers["Tus-Resumable"] == "1.0.0"
            assert response.headers["Tus-Version"] == "1.0.0"
            assert response.headers["Tus-Max-Size"] == "2147483648"
            assert set(response.headers["Tus-Extension"].split(",")) == {
                "creation",
                "creation-with-upload",
                "checksum",
                "expiration",
                "termination",
            }
            assert response.headers["Tus-Checksum-Algorithm"].split(",") == ["sha256", "sha1"]

    with_receiver(site, scenario)


def test_health_needs_no_token_and_says_how_much_is_free(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def play() -> None:
        async with running(site) as run:
            response = await run.client.get("/healthz")
            assert response.status_code == 200
            assert response.json()["status"] == "ok"
            assert response.json()["free_bytes"] > 0
            run.receiver.stop()
            response = await run.client.get("/healthz")
            assert (response.status_code, response.json()["status"]) == (503, "stopping")

    asyncio.run(play())


def test_health_fails_when_only_the_reserve_is_left(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, store={"reserve": "1000 TiB"})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get("/healthz")
        assert (response.status_code, response.json()["status"]) == (503, "full")

    with_receiver(site, scenario)


def test_unknown_addresses_and_methods_are_refused_as_problems(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        for path in ("/", "/receipts", "/receipts/", "/clips/a", "/healthz/"):
            response = await client.get(path)
            assert (response.status_code, code(response)) == (404, "not-found")
        response = await client.delete("/healthz")
        assert (response.status_code, code(response)) == (405, "method-not-allowed")
        assert "GET" in response.headers["Allow"]

    with_receiver(site, scenario)
