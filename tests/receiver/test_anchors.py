"""What the receiver knows of stations' journals: anchors that only grow, and never fork."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from dockd.base.clock import Clock
from dockd.evidence.journal import GENESIS
from dockd.evidence.statements import JournalHead, sign, verify_anchor
from dockd.receiver.index.anchors import Anchors
from dockd.receiver.store.inventory import StoredManifests
from tests.receiver.support import (
    Clip,
    LaterClock,
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


def opened(
    store: Path, alive: Callable[[], None] = lambda: None, clock: Clock | None = None
) -> Anchors:
    """Open the anchors of a store."""
    return Anchors(store / "anchors.db", partial(StoredManifests, store / "clips", alive), clock)


HONEST = [clip(3, GENESIS), clip(12, head(3)), clip(22, head(12)), clip(40, head(22))]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_manifests_of_one_history_are_taken_in_any_order(tmp_path: Path, order: list[int]) -> None:
    anchors = opened(tmp_path)
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
    anchors = opened(tmp_path)
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


@pytest.mark.parametrize("damage", ["all", "a page", "its log"])
def test_a_damaged_database_is_set_aside_and_made_anew(tmp_path: Path, damage: str) -> None:
    site = make_site(tmp_path, STATION)

    async def bring(client: httpx.AsyncClient) -> None:
        for honest in HONEST:
            await upload(client, honest)

    async def bring_forked(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=FORKED["a step back"].creation)
        assert code(response) == "history-forked"

    with_receiver(site, bring)
    database = site.store / "anchors.db"
    if damage == "a page":
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"garbage" * 500)
    else:
        database.write_bytes(b"garbage" * 1000)
    if damage == "its log":
        (site.store / "anchors.db-wal").write_bytes(b"garbage" * 1000)
    with capture_logs() as log:
        with_receiver(site, bring_forked)
    (line,) = [line for line in log if line["event"] == "receiver.anchors_damaged"]
    assert b"garbage" in Path(line["file"]).read_bytes()
    with capture_logs() as log:
        with_receiver(site, bring_forked)
    assert not [line for line in log if "anchors" in line["event"]]


def keep(folder: Path, *clips: Clip, suffix: str = ".manifest.jws") -> None:
    """Put manifests where a store has them."""
    for one in clips:
        place = folder / "clips" / one.id[:2] / one.id[2:4]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{one.id}{suffix}").write_text(one.token)


def test_what_the_disk_can_not_give_back_is_read_at_the_next_start(tmp_path: Path) -> None:
    keep(tmp_path, *HONEST)
    lost = HONEST[3]
    path = tmp_path / "clips" / lost.id[:2] / lost.id[2:4] / f"{lost.id}.manifest.jws"
    path.unlink()
    path.mkdir()  # which can't be read as a file
    with capture_logs() as log, contextlib.closing(opened(tmp_path)) as anchors:
        assert anchors.newest(STATION.key.kid) == head(22)
    assert [line["unreadable"] for line in log if "unreadable" in line] == [1]
    path.rmdir()
    keep(tmp_path, lost)
    with contextlib.closing(opened(tmp_path)) as anchors:
        assert anchors.newest(STATION.key.kid) == head(40)


def test_files_that_are_no_manifests_are_told_so_many_times_at_most(tmp_path: Path) -> None:
    place = tmp_path / "clips" / "ab" / "cd"
    place.mkdir(parents=True)
    for number in range(100):
        (place / f"{number}.manifest.jws").write_text("no manifest")
    with capture_logs() as log, contextlib.closing(opened(tmp_path)):
        pass
    assert len([line for line in log if line["event"] == "receiver.leftover"]) == 20


def test_that_it_is_made_anew_is_told_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockd.receiver.index.anchors._BATCH", 2)
    keep(tmp_path, *HONEST)
    clock, alive = LaterClock(), []

    def later() -> None:
        alive.append(clock.ahead)
        clock.ahead += 90

    with capture_logs() as log, contextlib.closing(opened(tmp_path, later, clock)):
        pass
    told = [line["manifests"] for line in log if line["event"].startswith("receiver.anchors_")]
    assert told == [0, 2, 4, 4]
    assert len(alive) == 4


@pytest.mark.parametrize("forked", FORKED.values(), ids=FORKED)
def test_histories_that_had_forked_before_are_told_when_it_is_made_anew(
    tmp_path: Path, forked: Clip
) -> None:
    keep(tmp_path, *HONEST, clip(12, station=OTHER), clip(15, station=OTHER))
    with capture_logs() as log, contextlib.closing(opened(tmp_path)):
        pass
    assert not [line for line in log if line["event"] == "receiver.history_forked"]
    (tmp_path / "anchors.db").unlink()
    keep(tmp_path, forked, suffix=".manifest.0123456789abcdef.jws")  # as version 0.1 kept them
    with capture_logs() as log, contextlib.closing(opened(tmp_path)):
        pass
    (line,) = [line for line in log if line["event"] == "receiver.history_forked"]
    assert (line["station"], line["kid"]) == (STATION.id, STATION.key.kid)


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
