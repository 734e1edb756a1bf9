"""Sending bytes."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from dockd.evidence.statements import sign
from dockd.receiver.core import appending, underway
from dockd.receiver.core.upload import Upload
from tests.receiver.support import (
    PATCH,
    TUS,
    Clip,
    LaterClock,
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
    with_receiver,
)
from tests.support import ALICE, BOB

STATION = Station()
CLIP = STATION.clip(b"0123456789")


def checksum(data: bytes, algorithm: str = "sha256") -> dict[str, str]:
    digest = hashlib.new(algorithm, data).digest()
    return {"Upload-Checksum": f"{algorithm} {b64encode(digest).decode()}"}


async def offset(client: httpx.AsyncClient, path: str) -> int:
    return int((await client.head(path, headers=TUS)).headers["Upload-Offset"])


def test_an_upload_in_chunks_ends_in_a_receipt(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip(bytes(range(256)) * 20_000)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip)
        for start in range(0, len(clip.data), 1_500_000):
            chunk = clip.data[start : start + 1_500_000]
            response = await patch(client, path, chunk, start, checksum(chunk))
            assert response.status_code == 204
            assert response.headers["Upload-Offset"] == str(start + len(chunk))
            assert ("Upload-Expires" in response.headers) == (start + len(chunk) < len(clip.data))
        site.receipt((await ask(client, clip)).text, clip)

    with_receiver(site, scenario)
    assert clip.data in site.stored().values()
    assert len(site.stored()) == 3


@pytest.mark.parametrize(
    ("headers", "status", "problem"),
    [
        ({"Content-Type": "text/plain"}, 415, "media-type"),
        ({"Tus-Resumable": "2.0.0"}, 412, "tus-version"),
        ({"Upload-Offset": "-0"}, 400, "bad-header"),
        ({"Upload-Offset": "٣"}, 400, "bad-header"),
        ({"Upload-Offset": "3"}, 409, "offset-conflict"),
        ({"Upload-Checksum": "md5 YQ=="}, 400, "bad-header"),
        ({"Upload-Checksum": "sha256"}, 400, "bad-header"),
        ({"Upload-Checksum": "sha256 YQ=="}, 400, "bad-header"),
        ({"Upload-Checksum": "sha256 ***"}, 400, "bad-header"),
    ],
)
def test_a_wrong_request_changes_nothing(
    tmp_path: Path, headers: dict[str, str], status: int, problem: str
) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        sent = {**PATCH, "Upload-Offset": "0", **headers}
        encoded = {name.encode(): value.encode() for name, value in sent.items()}
        response = await client.patch(path, content=CLIP.data, headers=encoded)
        assert (response.status_code, code(response)) == (status, problem)
        assert await offset(client, path) == 0

    with_receiver(site, scenario)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_damaged_chunk_is_discarded_and_can_be_sent_again(tmp_path: Path, algorithm: str) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        await patch(client, path, CLIP.data[:3])
        response = await patch(client, path, b"damaged", 3, checksum(CLIP.data[3:], algorithm))
        assert (response.status_code, code(response)) == (460, "checksum-mismatch")
        assert await offset(client, path) == 3
        chunk = CLIP.data[3:]
        response = await patch(client, path, chunk, 3, checksum(chunk, algorithm))
        assert response.status_code == 204
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario)


def test_more_than_the_upload_takes_is_refused_unread(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)

        async def unreadable() -> AsyncIterator[bytes]:
            raise AssertionError("the body was read")
            yield b""

        response = await patch(client, path, unreadable(), 0, {"Content-Length": "9999"})
        assert (response.status_code, code(response)) == (413, "too-large")

    with_receiver(site, scenario)


def test_a_body_of_unknown_length_never_grows_past_the_upload(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip(b"x" * 3_000_000)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 500_000
            part = next((site.store / "incoming").glob("*.part"))
            assert part.stat().st_size <= len(clip.data)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, clip)
        await patch(client, path, clip.data[:1000])
        response = await patch(client, path, endless(), 1000)
        assert (response.status_code, code(response)) == (413, "too-large")
        assert await offset(client, path) == 1000

    with_receiver(site, scenario)


def test_a_finished_upload_takes_nothing_more(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        await patch(client, path, CLIP.data)
        assert code(await patch(client, path, b"x", len(CLIP.data))) == "too-large"
        assert code(await patch(client, path, b"x", 0)) == "offset-conflict"

    with_receiver(site, scenario)


def test_bytes_of_another_clip_get_no_receipt_and_can_be_sent_again(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        assert (await patch(client, path, CLIP.data[:-1] + b"!")).status_code == 204
        response = await ask(client, CLIP)
        assert (response.status_code, code(response)) == (404, "clip-not-stored")
        assert site.stored() == {}
        path = await create(client, CLIP)
        await patch(client, path, CLIP.data)
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario)


@pytest.mark.parametrize(
    "data", [b"0", b"<!DOCTYPE html>" + b" " * 1000, b"age-encryption.org/v2\n"]
)
def test_bytes_that_are_no_age_file_are_refused_at_once(tmp_path: Path, data: bytes) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, STATION.clip(b"x" * 2000))
        response = await patch(client, path, data)
        assert (response.status_code, code(response)) == (415, "not-sealed")
        assert (await client.head(path, headers=TUS)).status_code == 404

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_an_age_file_for_fewer_recipients_than_its_manifest_names_gets_no_receipt(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip(b"x" * 500)
    manifest = clip.manifest.model_copy(update={"recipients": [ALICE, BOB]})
    clip = Clip(clip.data, manifest, sign(manifest, STATION.key))

    async def scenario(client: httpx.AsyncClient) -> None:
        await patch(client, await create(client, clip), clip.data)
        assert code(await ask(client, clip)) == "clip-not-stored"

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_a_body_of_no_bytes_renews_nothing(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clock = LaterClock()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        expires = (await client.head(path, headers=TUS)).headers["Upload-Expires"]
        clock.ahead = 3600
        response = await patch(client, path, b"")
        assert (response.status_code, response.headers["Upload-Expires"]) == (204, expires)
        assert (await patch(client, path, CLIP.data[:1])).headers["Upload-Expires"] != expires

    with_receiver(site, scenario, clock=clock)


def test_a_whole_clip_is_answered_though_it_is_long_to_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "MAX_WAIT", 0.01)
    site = make_site(tmp_path, STATION)
    files = SlowDisk()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        response = await patch(client, path, CLIP.data, 0, checksum(CLIP.data))
        assert response.status_code == 204
        files.release.set()
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario, files=files)


def test_what_arrived_of_a_broken_request_is_kept(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)

        # httpx's transport can't lose a client, so the application is called by hand.
        messages: Iterator[Message] = iter(
            [
                {"type": "http.request", "body": CLIP.data[:4], "more_body": True},
                {"type": "http.disconnect"},
            ]
        )

        async def receive() -> Message:
            return next(messages)

        async def send(_message: Message) -> None:
            pass

        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        headers = {**PATCH, "Upload-Offset": "0", **checksum(CLIP.data)}
        scope = {
            "type": "http",
            "method": "PATCH",
            "path": path,
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
        await transport.app(scope, receive, send)
        assert await offset(client, path) == 4
        assert (await patch(client, path, CLIP.data[4:], 4)).status_code == 204
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario)


def test_an_upload_whose_writer_can_not_let_go_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(underway, "LOCK_SECONDS", 0.05)
    site = make_site(tmp_path, STATION)
    files = StuckFiles()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        first = asyncio.create_task(patch(client, path, CLIP.data))
        await asyncio.to_thread(files.writing.wait)
        response = await patch(client, path, CLIP.data)
        assert (response.status_code, code(response)) == (423, "upload-locked")
        assert "Retry-After" in response.headers
        files.release.set()
        assert (await first).status_code == 204
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario, files=files)


def test_the_newest_of_many_waiting_requests_gets_the_upload(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    files = StuckFiles()

    async def play() -> None:
        async with running(site, files=files) as run:
            path = await create(run.client, CLIP)
            upload = run.receiver.uploads.find(path.removeprefix("/files/"))
            assert isinstance(upload, Upload)
            requests = []
            for number, data in enumerate([CLIP.data[:4], b"??", CLIP.data[4:]]):
                request = patch(run.client, path, data, 4 if number else 0)
                requests.append(asyncio.create_task(request))
                while upload.turn <= number:
                    await a_moment()
                await asyncio.to_thread(files.writing.wait)
            files.release.set()
            first, older, newest = await asyncio.gather(*requests)
            assert first.status_code == newest.status_code == 204
            assert code(older) == "upload-locked"
            site.receipt((await ask(run.client, CLIP)).text, CLIP)

    asyncio.run(play())


def test_a_stop_ends_a_request_and_keeps_its_bytes(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def play() -> None:
        async with running(site) as run:
            path = await create(run.client, CLIP)
            sent = asyncio.Event()

            async def hanging() -> AsyncIterator[bytes]:
                yield CLIP.data[:4]
                sent.set()
                await asyncio.Event().wait()

            request = asyncio.create_task(patch(run.client, path, hanging()))
            await sent.wait()
            run.receiver.stop()
            response = await request
            assert (response.status_code, code(response)) == (503, "stopping")
            response = await patch(run.client, path, CLIP.data[4:], 4)
            assert (response.status_code, code(response)) == (503, "stopping")
        async with running(site) as run:
            assert await offset(run.client, path) == 4
            assert (await patch(run.client, path, CLIP.data[4:], 4)).status_code == 204
            site.receipt((await ask(run.client, CLIP)).text, CLIP)

    asyncio.run(play())


def test_a_post_may_stand_for_another_method(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        headers = {**PATCH, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
        response = await client.post(path, content=CLIP.data[:4], headers=headers)
        assert response.status_code == 204
        response = await client.post(path, headers={**TUS, "X-HTTP-Method-Override": "HEAD"})
        assert response.headers["Upload-Offset"] == "4"
        response = await client.post(path, headers={**TUS, "X-HTTP-Method-Override": "DELETE"})
        assert response.status_code == 204

    with_receiver(site, scenario)
