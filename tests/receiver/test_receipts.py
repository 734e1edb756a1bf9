"""Asking for receipts."""

import asyncio
from pathlib import Path

import httpx
import pytest

from dockd.evidence.jws import MAX_STATEMENT
from dockd.evidence.statements import verify_answer
from dockd.receiver.core import receipts as desk
from tests.receiver.support import (
    SlowDisk,
    Station,
    ask,
    asking,
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
OTHER = Station("soho-01")


def test_a_receipt_names_exactly_what_was_stored(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        receipt = site.receipt(await upload(client, clip), clip)
        assert receipt.ciphertext == clip.manifest.ciphertext
        assert receipt.station == clip.manifest.station
        assert receipt.receiver.id == "evidence-1"
        assert receipt.receiver.kid == site.key.kid

    with_receiver(site, scenario)


def test_a_receipt_is_the_same_however_often_it_is_asked_for(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        receipt = await upload(client, clip)
        for _ in range(3):
            response = await ask(client, clip)
            assert response.headers["Content-Type"] == "application/jose"
            assert response.text == receipt
            assert (await client.get(f"/receipts/{clip.id}")).text == receipt

    with_receiver(site, scenario)
    assert len(site.stored()) == 3


def test_a_receipt_outlasts_a_restart(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()
    receipts: list[str] = []

    async def scenario(client: httpx.AsyncClient) -> None:
        receipts.append(await upload(client, clip) if not receipts else "")
        receipts.append((await ask(client, clip)).text)

    with_receiver(site, scenario)
    with_receiver(site, scenario)
    assert receipts[0] == receipts[1] == receipts[3]


def test_a_clip_that_is_not_here_has_to_be_uploaded(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await ask(client, clip)
        assert (response.status_code, code(response)) == (404, "clip-not-stored")
        response = await client.get(f"/receipts/{clip.id}")
        assert (response.status_code, code(response)) == (404, "clip-not-stored")
        await patch(client, await create(client, clip), clip.data[:4])
        response = await ask(client, clip)
        assert (response.status_code, code(response)) == (404, "clip-not-stored")

    with_receiver(site, scenario)


@pytest.mark.parametrize("recipients", [[ALICE], [ALICE, BOB]])
def test_a_manifest_alone_gets_nothing_and_is_not_kept(
    tmp_path: Path, recipients: list[str]
) -> None:
    site = make_site(tmp_path, STATION, OTHER)
    first = STATION.clip(recipients=[ALICE, BOB])
    claims = [OTHER.clip(b"sealed again", recipients=recipients), STATION.clip(b"once more")]

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, first)
        for claim in claims:
            response = await ask(client, claim)
            assert (response.status_code, code(response)) == (404, "clip-not-stored")

    with_receiver(site, scenario)
    assert len(site.stored()) == 3


def test_stations_that_bring_one_clip_get_receipts_of_their_own(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER)
    clips = [STATION.clip(), OTHER.clip(b"sealed again")]
    files = SlowDisk()

    async def scenario(client: httpx.AsyncClient) -> None:
        paths = [await create(client, clip) for clip in clips]
        for clip, path in zip(clips, paths, strict=True):
            assert (await patch(client, path, clip.data)).status_code == 204
        files.release.set()
        for clip in clips:
            receipt = site.receipt((await ask(client, clip)).text, clip)
            assert receipt.station == clip.manifest.station

    with_receiver(site, scenario, files=files)
    assert len(site.stored()) == 6


def test_a_receipt_is_found_among_however_many_of_other_stations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "MAX_LISTED", 1)
    one, other = Station("camden-07", token="camden"), Station("soho-01", token="soho")
    site = make_site(tmp_path, one, other)

    async def scenario(client: httpx.AsyncClient) -> None:
        receipts = []
        for station in (one, other):
            headers = {"Authorization": f"Bearer {station.token}"}
            receipts.append((headers, await upload(client, station.clip(), headers)))
        for headers, receipt in receipts:
            found = await client.get(f"/receipts/{one.clip().id}", headers=headers)
            assert found.text == receipt

    with_receiver(site, scenario)


def test_while_verification_runs_the_station_is_told_to_wait(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER)
    clip, same = STATION.clip(), OTHER.clip(b"sealed again")
    files = SlowDisk()

    async def scenario(client: httpx.AsyncClient) -> None:
        await patch(client, await create(client, clip), clip.data)
        response = await ask(client, clip, wait=0)
        assert response.status_code == 202
        assert int(response.headers["Retry-After"]) >= 1
        assert code(await ask(client, same)) == "clip-not-stored"
        answer = asyncio.create_task(ask(client, clip, wait=30))
        await asyncio.sleep(0)
        files.release.set()
        site.receipt((await answer).text, clip)

    with_receiver(site, scenario, files=files)
    assert len(site.stored()) == 3


def test_an_answer_repeats_the_questions_nonce(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()

    async def scenario(client: httpx.AsyncClient) -> None:
        receipt = await upload(client, clip)
        answers = set()
        for number in range(3):
            response = await ask(client, clip, headers=asking(number))
            answers.add(response.headers["Dockd-Answer"])
            answer = verify_answer(
                response.headers["Dockd-Answer"],
                [site.key.verify_key],
                nonce=asking(number)["Dockd-Nonce"],
                receipt_token=receipt,
            )
            assert answer.clip_id == clip.id
            assert answer.read_at <= answer.answered_at
        assert len(answers) == 3
        assert "Dockd-Answer" not in (await ask(client, clip)).headers

    with_receiver(site, scenario)


@pytest.mark.parametrize("nonce", [b"", b"short", b"n" * 87, b"n" * 21 + b"!", b"n" * 21 + b"\xe9"])
def test_a_nonce_of_another_form_is_refused(tmp_path: Path, nonce: bytes) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = [(b"Content-Type", b"application/jose"), (b"Dockd-Nonce", nonce)]
        clip = STATION.clip()
        response = await client.put(f"/receipts/{clip.id}", content=clip.token, headers=headers)
        assert (response.status_code, code(response)) == (400, "bad-header")

    with_receiver(site, scenario)


def test_one_station_can_not_hold_all_requests(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER, listen={"max_connections": 8})
    clips = [STATION.clip(plaintext=str(number)) for number in range(2)]
    files = SlowDisk()

    async def scenario(client: httpx.AsyncClient) -> None:
        for clip in clips:
            await patch(client, await create(client, clip), clip.data)
        asking = [asyncio.create_task(ask(client, clip)) for clip in (*clips, clips[0])]
        refused, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        response = refused.pop().result()
        assert (response.status_code, code(response)) == (429, "too-many-requests")
        assert STATION.id in response.json()["detail"]
        assert code(await ask(client, OTHER.clip(), wait=0)) == "clip-not-stored"
        files.release.set()
        for answer in waiting:
            assert (await answer).status_code == 200

    with_receiver(site, scenario, files=files)


def test_a_stop_does_not_wait_for_a_receipt_that_is_not_ready(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip = STATION.clip()
    files = SlowDisk()

    async def play() -> None:
        async with running(site, files=files) as run:
            await patch(run.client, await create(run.client, clip), clip.data)
            answer = asyncio.create_task(ask(run.client, clip, wait=30))
            await asyncio.sleep(0)
            run.receiver.stop()
            assert (await answer).status_code == 202
            files.release.set()
        assert not any(name.endswith(".receipt.jws") for name in site.stored())
        async with running(site) as run:
            site.receipt((await ask(run.client, clip)).text, clip)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("body", "headers", "status", "problem"),
    [
        (b"", {}, 400, "manifest-refused"),
        (b"\xff\xfe", {}, 400, "manifest-refused"),
        (b"{}", {}, 400, "manifest-refused"),
        (b"a" * (MAX_STATEMENT + 1), {}, 413, "too-large"),
        (b"a.b.c", {"Content-Type": "text/plain"}, 415, "media-type"),
    ],
)
def test_a_wrong_request_is_refused(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int, problem: str
) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        headers_sent = {"Content-Type": "application/jose", **headers}
        response = await client.put(f"/receipts/{'a' * 64}", content=body, headers=headers_sent)
        assert (response.status_code, code(response)) == (status, problem)

    with_receiver(site, scenario)


def test_a_manifest_that_was_altered_or_is_for_another_clip_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    clip, other = STATION.clip(), STATION.clip(plaintext="other")
    head, _, signature = clip.token.split(".")
    forged = f"{head}.{other.token.split('.')[1]}.{signature}"

    async def scenario(client: httpx.AsyncClient) -> None:
        for token in (forged, other.token):
            response = await client.put(
                f"/receipts/{clip.id}", content=token, headers={"Content-Type": "application/jose"}
            )
            assert (response.status_code, code(response)) == (400, "manifest-refused")

    with_receiver(site, scenario)


def test_an_address_that_is_no_clip_id_is_a_wrong_address(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        for clip_id in ("A" * 64, "a" * 63, "%2e%2e", "..%2f..%2fetc%2fpasswd", "a" * 64 + "%0a"):
            response = await client.get(f"/receipts/{clip_id}")
            assert (response.status_code, code(response)) == (404, "not-found")

    with_receiver(site, scenario)
