"""Creating uploads."""

import asyncio
import errno
import hashlib
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from dockd.keys import SigningKey
from dockd.receiver import uploads
from tests.receiver.support import (
    PATCH,
    TUS,
    FailingFiles,
    Station,
    StuckFiles,
    ask,
    code,
    create,
    make_site,
    patch,
    running,
    upload,
    with_receiver,
)
from tests.support import ALICE, BOB

STATION = Station()


def test_creation_answers_with_a_location_an_offset_and_an_expiry(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        for address in ("/files/", "/files"):
            response = await client.post(address, headers=STATION.clip().creation)
            assert response.status_code == 201
            assert response.headers["Tus-Resumable"] == "1.0.0"
            assert response.headers["Upload-Offset"] == "0"
            assert response.headers["Upload-Expires"].endswith(" GMT")
            location = response.url.join(response.headers["Location"])
            assert location.path.startswith("/files/")
            assert len(location.path.removeprefix("/files/")) == 32
            head = await client.head(location, headers=TUS)
            assert head.status_code == 200

    with_receiver(site, scenario)


def test_a_location_holds_behind_a_proxy_with_a_path_of_its_own(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=STATION.clip().creation)
        public = httpx.URL("https://evidence.example/dockd/files/")
        joined = public.join(response.headers["Location"])
        assert str(joined).startswith("https://evidence.example/dockd/files/")

    with_receiver(site, scenario)


@pytest.mark.parametrize(
    ("headers", "status", "problem"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412, "tus-version"),
        ({"Upload-Length": "-1"}, 400, "bad-header"),
        ({"Upload-Length": "ten"}, 400, "bad-header"),
        ({"Upload-Length": "1_0"}, 400, "bad-header"),
        ({"Upload-Length": "9" * 400}, 400, "bad-header"),
        ({"Upload-Length": "11"}, 400, "length-mismatch"),
        ({"Upload-Metadata": ""}, 400, "bad-header"),
        ({"Upload-Metadata": "filename YQ=="}, 400, "bad-header"),
        ({"Upload-Metadata": "manifest *"}, 400, "bad-header"),
        ({"Upload-Metadata": "manifest YQ==,manifest YQ=="}, 400, "bad-header"),
        ({"Upload-Metadata": "manifest YQ=="}, 400, "manifest-refused"),
    ],
)
def test_a_wrong_creation_is_refused(
    tmp_path: Path, headers: dict[str, str], status: int, problem: str
) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers={**STATION.clip().creation, **headers})
        assert (response.status_code, code(response)) == (status, problem)
        assert response.headers["Tus-Resumable"] == "1.0.0"

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_a_creation_without_its_headers_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        for missing in ("Tus-Resumable", "Upload-Length", "Upload-Metadata"):
            headers = STATION.clip().creation
            del headers[missing]
            response = await client.post("/files/", headers=headers)
            assert response.status_code == (412 if missing == "Tus-Resumable" else 400)

    with_receiver(site, scenario)


def test_a_station_that_is_not_enrolled_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    stranger = Station(key=SigningKey.generate())
    impostor = Station("soho-01", key=STATION.key)

    async def scenario(client: httpx.AsyncClient) -> None:
        for station in (stranger, impostor):
            response = await client.post("/files/", headers=station.clip().creation)
            assert (response.status_code, code(response)) == (403, "not-enrolled")

    with_receiver(site, scenario)


def test_a_clip_larger_than_the_receiver_takes_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, store={"max_clip_size": 9})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=STATION.clip(b"0123456789").creation)
        assert (response.status_code, code(response)) == (413, "too-large")
        await upload(client, STATION.clip(b"012345678"))

    with_receiver(site, scenario)


def test_a_clip_that_would_use_up_the_reserve_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, store={"reserve": "1000 TiB"})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=STATION.clip().creation)
        assert (response.status_code, code(response)) == (507, "store-full")
        assert "Retry-After" in response.headers

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_a_stored_clip_is_not_taken_again_and_its_receipt_is_to_be_asked_for(
    tmp_path: Path,
) -> None:
    other = Station("soho-01")
    site = make_site(tmp_path, STATION, other)
    first, second = STATION.clip(), other.clip(b"another ciphertext")

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, first)
        response = await client.post("/files/", headers=second.creation)
        assert (response.status_code, code(response)) == (409, "clip-stored")
        assert len(site.stored()) == 3
        assert (await ask(client, second)).status_code == 200

    with_receiver(site, scenario)
    digest = hashlib.sha256(second.token.encode()).hexdigest()[:16]
    kept = f"clips/{first.id[:2]}/{first.id[2:4]}/{first.id}.manifest.{digest}.jws"
    assert site.stored()[kept] == second.token.encode()
    assert len(site.stored()) == 4


def test_a_clip_whose_bytes_are_being_verified_is_not_taken_again(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        await patch(client, await create(client, clip), clip.data)
        response = await client.post("/files/", headers=clip.creation)
        assert (response.status_code, code(response)) == (409, "clip-stored")
        assert (await ask(client, clip)).status_code == 200

    with_receiver(site, scenario)


def test_a_clip_stored_for_fewer_recipients_is_taken_again(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    narrow = STATION.clip(recipients=[ALICE])
    wide = STATION.clip(b"for both", recipients=[ALICE, BOB])

    async def scenario(client: httpx.AsyncClient) -> None:
        site.receipt(await upload(client, narrow), narrow)
        site.receipt(await upload(client, wide), wide)

    with_receiver(site, scenario)
    folder = f"clips/{narrow.id[:2]}/{narrow.id[2:4]}/"
    second = f"{folder}{wide.id}.{wide.manifest.ciphertext.sha256[:16]}"
    assert site.stored()[f"{folder}{narrow.id}.age"] == narrow.data
    assert site.stored()[f"{second}.age"] == wide.data
    assert site.stored()[f"{second}.manifest.jws"] == wide.token.encode()


def test_a_creation_with_the_same_manifest_replaces_the_unfinished_upload(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        first = await create(client, clip)
        await patch(client, first, clip.data[:4])
        second = await create(client, clip)
        assert second != first
        response = await client.head(first, headers=TUS)
        assert response.status_code == 404

    with_receiver(site, scenario)
    assert len(site.stored()) == 2


def test_a_station_can_not_begin_uploads_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UNFINISHED", 3)
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        for number in range(3):
            await create(client, STATION.clip(plaintext=str(number)))
        response = await client.post("/files/", headers=STATION.clip().creation)
        assert (response.status_code, code(response)) == (503, "too-many-uploads")

    with_receiver(site, scenario)


def test_an_upload_of_nothing_is_complete_at_once(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip(b"")

    async def scenario(client: httpx.AsyncClient) -> None:
        await create(client, clip)
        response = await ask(client, clip)
        site.receipt(response.text, clip)

    with_receiver(site, scenario)


def test_creation_may_carry_the_whole_upload(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip(b"x" * 3_000_000)
    digest = b64encode(hashlib.sha256(clip.data).digest()).decode()

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {**clip.creation, **PATCH, "Upload-Checksum": f"sha256 {digest}"}
        response = await client.post("/files/", content=clip.data, headers=headers)
        assert response.status_code == 201
        assert response.headers["Upload-Offset"] == "3000000"
        site.receipt((await ask(client, clip)).text, clip)

    with_receiver(site, scenario)


def test_creation_may_carry_the_beginning_of_an_upload(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post(
            "/files/", content=clip.data[:4], headers={**clip.creation, **PATCH}
        )
        assert response.headers["Upload-Offset"] == "4"
        path = response.url.join(response.headers["Location"]).path
        assert (await patch(client, path, clip.data[4:], 4)).status_code == 204
        site.receipt((await ask(client, clip)).text, clip)

    with_receiver(site, scenario)


@pytest.mark.parametrize("operation", ["write_at", "publish"])
def test_a_creation_that_the_disk_fails_leaves_nothing_behind(
    tmp_path: Path, operation: str
) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()
    files = FailingFiles(errno.ENOSPC, operation)

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {**clip.creation, **PATCH}
        response = await client.post("/files/", content=clip.data, headers=headers)
        assert (response.status_code, code(response)) == (507, "store-full")
        assert site.stored() == {}

    with_receiver(site, scenario, files=files)


def test_a_station_that_waits_for_its_own_upload_holds_up_no_other(tmp_path: Path) -> None:
    other = Station("soho-01")
    site = make_site(tmp_path, STATION, other)
    clip = STATION.clip()
    files = StuckFiles()

    async def play() -> None:
        async with running(site, files=files) as run:
            path = await create(run.client, clip)
            begun = run.receiver.uploads.find(path.removeprefix("/files/"))
            writing = asyncio.create_task(patch(run.client, path, clip.data))
            await asyncio.to_thread(files.writing.wait)
            again = asyncio.create_task(run.client.post("/files/", headers=clip.creation))
            while begun.turn < 2:
                await run.client.get("/healthz")
            try:
                await create(run.client, other.clip(plaintext="another"))
                assert not again.done()
            finally:
                files.release.set()
            assert (await writing).status_code == 204
            assert code(await again) == "clip-stored"

    asyncio.run(play())


def test_a_creation_whose_bytes_arrive_damaged_leaves_nothing_behind(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()
    wrong = b64encode(hashlib.sha256(b"other bytes").digest()).decode()

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {**clip.creation, **PATCH, "Upload-Checksum": f"sha256 {wrong}"}
        response = await client.post("/files/", content=clip.data, headers=headers)
        assert (response.status_code, code(response)) == (460, "checksum-mismatch")

    with_receiver(site, scenario)
    assert site.stored() == {}
