"""What the receiver knows of stations' journals: anchors that only grow, and never fork."""

from pathlib import Path

import httpx
import pytest

from dockd.journal import GENESIS
from dockd.manifest import JournalHead, sign, verify_anchor
from dockd.receiver.anchors import Anchors
from tests.receiver.support import (
    Clip,
    Station,
    ask,
    asking,
    code,
    create,
    make_site,
    patch,
    upload,
    with_receiver,
)

STATION, OTHER = Station(), Station("soho-01")
LATER = "2026-11-21T13:00:00.000Z"


def head(seq: int, branch: str = "a") -> JournalHead:
    """An entry of a journal; another branch has another content at the same number."""
    return JournalHead(seq=seq, hash=branch * 64)


def clip(
    seq: int,
    previous: JournalHead | None = None,
    *,
    branch: str = "a",
    sealed_at: str = LATER,
    station: Station = STATION,
) -> Clip:
    """A clip whose manifest was signed when the journal stood there."""
    made = station.clip(plaintext=f"{seq} {branch} {sealed_at}")
    manifest = made.manifest.model_copy(
        update={"journal": head(seq, branch), "previous": previous, "sealed_at": sealed_at}
    )
    return Clip(made.data, manifest, sign(manifest, station.key))


HONEST = [clip(3, GENESIS), clip(12, head(3)), clip(22, head(12)), clip(40, head(22))]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_manifests_of_one_history_are_taken_in_any_order(tmp_path: Path, order: list[int]) -> None:
    anchors = Anchors(tmp_path)
    for number in order:
        anchors.record(HONEST[number].manifest, HONEST[number].token)
        anchors.record(HONEST[number].manifest, HONEST[number].token)
    assert anchors.newest(STATION.key.kid) == head(40)
    assert anchors.newest(OTHER.key.kid) is None


FORKED = {
    "another content of an entry": clip(22, head(12), branch="b"),
    "a step back": clip(21, head(12), branch="b"),
    "a step back that goes on further": clip(50, head(12), branch="b"),
    "a step back before all": clip(30, GENESIS, branch="b"),
    "another past": clip(50, head(40, "b"), branch="b"),
    "between two that follow each other": clip(15, head(13, "b"), branch="b"),
    "after itself": clip(50, head(50), branch="b"),
    "after a later one": clip(50, head(60), branch="b"),
    "an old client's step back": clip(21, branch="b", sealed_at="2026-11-21T15:00:00.000Z"),
}


@pytest.mark.parametrize("forked", FORKED.values(), ids=FORKED)
def test_a_manifest_of_a_second_history_is_refused_and_told(tmp_path: Path, forked: Clip) -> None:
    site = make_site(tmp_path, STATION, OTHER)

    async def scenario(client: httpx.AsyncClient) -> None:
        for honest in HONEST:
            site.receipt(await upload(client, honest), honest)
        for response in (
            await ask(client, forked),
            await client.post("/files/", headers=forked.creation),
        ):
            assert (response.status_code, code(response)) == (409, "history-forked")
            assert STATION.id in response.json()["detail"]
            assert "docs/operate.md" in response.json()["hint"]
        another = clip(5, GENESIS, station=OTHER)
        site.receipt(await upload(client, another), another)

    with_receiver(site, scenario)
    assert len(site.stored()) == 15


def test_of_two_uploads_that_contradict_each_other_one_is_stored(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    both = [clip(12, head(3)), clip(14, head(3), branch="b")]

    async def scenario(client: httpx.AsyncClient) -> None:
        paths = [await create(client, one) for one in both]
        for one, path in zip(both, paths, strict=True):
            await patch(client, path, one.data)
        answers = [await ask(client, one) for one in both]
        assert sorted(answer.status_code for answer in answers) == [200, 409]

    with_receiver(site, scenario)
    assert len(site.stored()) == 3


def test_what_an_old_client_sealed_before_may_arrive_later(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path)
    late = clip(12, sealed_at="2026-11-21T12:30:00.000Z")
    beside = clip(21, sealed_at="2026-11-21T13:00:00.005Z")
    for one in (clip(22), late, beside, clip(22, sealed_at="2026-11-21T14:00:00.000Z")):
        anchors.check(one.manifest, one.token)
        anchors.record(one.manifest, one.token)


def test_anchors_are_found_again_in_the_store_where_they_were_lost(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def bring(client: httpx.AsyncClient) -> None:
        for honest in HONEST:
            await upload(client, honest)

    async def bring_forked(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=FORKED["a step back"].creation)
        assert code(response) == "history-forked"

    with_receiver(site, bring)
    for path in site.store.glob("anchors.db*"):
        path.unlink()
    with_receiver(site, bring_forked)


def test_a_station_is_told_the_newest_anchor_in_answer_to_its_question(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER)
    address = f"/receipts/anchors/{STATION.key.kid}"

    async def scenario(client: httpx.AsyncClient) -> None:
        async def newest(number: int) -> JournalHead | None:
            response = await client.get(address, headers=asking(number))
            return verify_anchor(
                response.text,
                [site.key.verify_key],
                nonce=asking(number)["Dockd-Nonce"],
                kid=STATION.key.kid,
            ).journal

        assert await newest(1) is None
        for honest in (HONEST[0], HONEST[2], HONEST[1]):
            await upload(client, honest)
        assert await newest(2) == head(22)
        assert code(await client.get(address)) == "bad-header"
        response = await client.get("/receipts/anchors/unknown", headers=asking())
        assert (response.status_code, code(response)) == (403, "not-enrolled")

    with_receiver(site, scenario)


def test_a_station_is_told_of_no_other_stations_journal(tmp_path: Path) -> None:
    guarded = Station("camden-07", token="camden's token")
    site = make_site(tmp_path, guarded, OTHER)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(f"/receipts/anchors/{guarded.key.kid}", headers=asking())
        assert (response.status_code, code(response)) == (401, "token-refused")

    with_receiver(site, scenario)
