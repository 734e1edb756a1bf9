"""Creating uploads."""

import asyncio
import errno
import hashlib
import threading
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from dockd.evidence.keys import SigningKey
from dockd.evidence.statements import Content, sign
from dockd.receiver.core import uploads
from dockd.receiver.core.upload import Upload
from dockd.receiver.store import disk as store
from dockd.receiver.store.reading import read_back
from tests.receiver.support import (
    PATCH,
    TUS,
    Clip,
    FailingFiles,
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
    large, largest = STATION.clip(b"x" * 41), STATION.clip(b"x" * 40)
    site = make_site(tmp_path, STATION, store={"max_clip_size": len(largest.data)})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=large.creation)
        assert (response.status_code, code(response)) == (413, "too-large")
        await upload(client, largest)

    with_receiver(site, scenario)


def test_a_clip_that_would_use_up_the_reserve_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, store={"reserve": "1000 TiB"})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=STATION.clip().creation)
        assert (response.status_code, code(response)) == (507, "store-full")
        assert "Retry-After" in response.headers

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_a_stored_upload_is_not_taken_again_and_its_receipt_is_to_be_asked_for(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        receipt = await upload(client, clip)
        response = await client.post("/files/", headers=clip.creation)
        assert (response.status_code, code(response)) == (409, "clip-stored")
        assert (await ask(client, clip)).text == receipt

    with_receiver(site, scenario)
    assert len(site.stored()) == 3


@pytest.mark.parametrize("recipients", [[ALICE], [ALICE, BOB]])
def test_another_upload_of_a_stored_clip_is_kept_beside_it(
    tmp_path: Path, recipients: list[str]
) -> None:
    other = Station("soho-01")
    site = make_site(tmp_path, STATION, other)
    clips = [STATION.clip(), other.clip(b"another", recipients=recipients), STATION.clip(b"third")]

    async def scenario(client: httpx.AsyncClient) -> None:
        for clip in clips:
            receipt = site.receipt(await upload(client, clip), clip)
            assert receipt.station == clip.manifest.station

    with_receiver(site, scenario)
    folder = f"clips/{clips[0].id[:2]}/{clips[0].id[2:4]}/"
    for number, clip in enumerate(clips):
        own = f".{hashlib.sha256(clip.token.encode()).hexdigest()[:16]}" if number else ""
        assert site.stored()[f"{folder}{clip.id}{own}.age"] == clip.data
        assert site.stored()[f"{folder}{clip.id}{own}.manifest.jws"] == clip.token.encode()
    assert len(site.stored()) == 9


def changed(clip: Clip, **sizes: int) -> Clip:
    """A clip whose manifest gives other sizes."""
    members = {
        name: Content(sha256=getattr(clip.manifest, name).sha256, size=size)
        for name, size in sizes.items()
    }
    manifest = clip.manifest.model_copy(update=members)
    return Clip(clip.data, manifest, sign(manifest, STATION.key))


@pytest.mark.parametrize(
    "sizes",
    [{"ciphertext": 1}, {"ciphertext": 0}, {"plaintext": 10_000}, {"ciphertext": 2**30}],
)
def test_a_ciphertext_of_a_size_that_no_age_file_has_is_refused_at_once(
    tmp_path: Path, sizes: dict[str, int]
) -> None:
    site = make_site(tmp_path, STATION)
    clip = changed(STATION.clip(), **sizes)

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {**clip.creation, "Upload-Length": str(clip.manifest.ciphertext.size)}
        response = await client.post("/files/", headers=headers)
        assert (response.status_code, code(response)) == (400, "manifest-refused")

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_a_wrong_plaintext_size_gets_no_receipt(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    good = STATION.clip(b"x" * 100)
    clip = changed(good, plaintext=good.manifest.plaintext.size - 1)

    async def scenario(client: httpx.AsyncClient) -> None:
        await patch(client, await create(client, clip), clip.data)
        assert code(await ask(client, clip)) == "clip-not-stored"

    with_receiver(site, scenario)
    assert site.stored() == {}


def test_equal_files_of_one_camera_are_stored_however_many_there_are(tmp_path: Path) -> None:
    """As empty side-cars are: they share a clip id."""
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        for number in range(40):
            clip = STATION.clip(b"%d" % number)
            site.receipt(await upload(client, clip), clip)

    with_receiver(site, scenario)
    assert len(site.stored()) == 120


def test_a_clip_that_was_sealed_in_the_receivers_future_waits_for_the_clocks(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path, STATION)
    good = STATION.clip()
    manifest = good.manifest.model_copy(update={"sealed_at": "2099-01-01T00:00:00.000Z"})
    clip = Clip(good.data, manifest, sign(manifest, STATION.key))

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=clip.creation)
        assert (response.status_code, code(response)) == (503, "clocks-differ")
        assert "2099" in response.json()["detail"]

    with_receiver(site, scenario)


def test_a_clip_whose_bytes_are_being_verified_is_not_taken_again(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        await patch(client, await create(client, clip), clip.data)
        response = await client.post("/files/", headers=clip.creation)
        assert (response.status_code, code(response)) == (409, "clip-stored")
        assert (await ask(client, clip)).status_code == 200

    with_receiver(site, scenario)


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


def test_uploads_that_wait_to_be_read_back_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UNFINISHED", 3)
    site = make_site(tmp_path, STATION)
    reading = threading.Event()

    def read(path: Path, expected: Content, stopping: threading.Event) -> bool:
        reading.wait()
        return read_back(path, expected, stopping)

    monkeypatch.setattr(store, "read_back", read)

    async def scenario(client: httpx.AsyncClient) -> None:
        clips = [STATION.clip(plaintext=str(number)) for number in range(4)]
        try:
            for clip in clips[:3]:
                path = await create(client, clip)
                assert (await patch(client, path, clip.data)).status_code == 204
            response = await client.post("/files/", headers=clips[3].creation)
            assert (response.status_code, code(response)) == (503, "too-many-uploads")
        finally:
            reading.set()
        for clip in clips[:3]:
            site.receipt((await ask(client, clip)).text, clip)
        site.receipt(await upload(client, clips[3]), clips[3])

    with_receiver(site, scenario)


def test_manifests_of_begun_uploads_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [STATION.clip(plaintext=str(number)) for number in range(3)]
    monkeypatch.setattr(uploads, "MAX_UNFINISHED_BYTES", 5 * len(clips[0].token) // 2)
    other = Station("soho-01")
    site = make_site(tmp_path, STATION, other)

    async def scenario(client: httpx.AsyncClient) -> None:
        await create(client, clips[0])
        await create(client, clips[1])
        response = await client.post("/files/", headers=clips[2].creation)
        assert (response.status_code, code(response)) == (503, "too-many-uploads")
        await create(client, other.clip())

    with_receiver(site, scenario)


def test_other_metadata_is_bounded(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()
    much = f"{clip.metadata},filename {b64encode(b'x' * 5000).decode()}"

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers={**clip.creation, "Upload-Metadata": much})
        assert (response.status_code, code(response)) == (413, "too-large")

    with_receiver(site, scenario)


def test_creation_may_carry_the_whole_upload(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip(b"x" * 3_000_000)
    digest = b64encode(hashlib.sha256(clip.data).digest()).decode()

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {**clip.creation, **PATCH, "Upload-Checksum": f"sha256 {digest}"}
        response = await client.post("/files/", content=clip.data, headers=headers)
        assert response.status_code == 201
        assert response.headers["Upload-Offset"] == str(len(clip.data))
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
            assert isinstance(begun, Upload)
            writing = asyncio.create_task(patch(run.client, path, clip.data))
            await asyncio.to_thread(files.writing.wait)
            again = asyncio.create_task(run.client.post("/files/", headers=clip.creation))
            while begun.turn < 2:
                await a_moment()
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
