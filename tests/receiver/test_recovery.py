"""Whatever stops the receiver, at whatever moment: the next start carries on."""

import asyncio
import base64
import contextlib
import hashlib
import re
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
import structlog

from tests.receiver.support import (
    TUS,
    Clip,
    ProcessDiedError,
    Site,
    Station,
    ask,
    code,
    create,
    make_site,
    patch,
    process,
    running,
    upload,
    with_receiver,
)
from tests.support import ALICE, BOB, unreadable

CAMDEN, SOHO = Station("camden-07"), Station("soho-01")
FIRST = CAMDEN.clip(b"0123456789" * 1000, recipients=[ALICE])
SAME = SOHO.clip(b"sealed again", recipients=[ALICE])
WIDER = SOHO.clip(b"sealed for two", recipients=[ALICE, BOB])


class StationState:
    """What a station's ledger remembers across crashes of the receiver."""

    def __init__(self) -> None:
        self.locations: dict[str, str] = {}
        self.receipts: dict[str, str] = {}


async def deliver(client: httpx.AsyncClient, clip: Clip, state: StationState) -> None:
    """Bring one clip, from wherever it stands."""
    response = await ask(client, clip)
    while response.status_code == 404 and code(response) == "clip-not-stored":
        await send(client, clip, state)
        response = await ask(client, clip)
    assert response.status_code == 200, response.text
    # A receipt that was given once is never given differently.
    assert state.receipts.setdefault(clip.token, response.text) == response.text


async def send(client: httpx.AsyncClient, clip: Clip, state: StationState) -> None:
    path = state.locations.get(clip.token)
    offset = None
    if path is not None:
        head = await client.head(path, headers=TUS)
        offset = int(head.headers["Upload-Offset"]) if head.status_code == 200 else None
    if path is None or offset is None:
        path, offset = await create(client, clip), 0
        state.locations[clip.token] = path
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    middle = len(clip.data) // 2
    if offset == 0:
        chunk = clip.data[:middle]
        damaged = await patch(client, path, chunk, 0, {"Upload-Checksum": f"sha256 {wrong}"})
        assert damaged.status_code == 460
        assert (await patch(client, path, chunk, 0)).status_code == 204
        offset = middle
    assert (await patch(client, path, clip.data[offset:], offset)).status_code == 204


async def play(client: httpx.AsyncClient, state: StationState) -> None:
    """Upload a clip as one station, and twice as another, once for more recipients."""
    for clip in (FIRST, SAME, WIDER):
        await deliver(client, clip, state)


def check(site: Site, state: StationState) -> None:
    """Check that each clip is there once, and nothing else is."""
    for clip in (FIRST, SAME, WIDER):
        site.receipt(state.receipts[clip.token], clip)
    stem = f"clips/{FIRST.id[:2]}/{FIRST.id[2:4]}/{FIRST.id}"
    same = f"{stem}.{hashlib.sha256(SAME.token.encode()).hexdigest()[:16]}"
    wider = f"{stem}.{hashlib.sha256(WIDER.token.encode()).hexdigest()[:16]}"
    assert site.stored() == {
        f"{stem}.age": FIRST.data,
        f"{stem}.manifest.jws": FIRST.token.encode(),
        f"{stem}.receipt.jws": state.receipts[FIRST.token].encode(),
        f"{same}.age": SAME.data,
        f"{same}.manifest.jws": SAME.token.encode(),
        f"{same}.receipt.jws": state.receipts[SAME.token].encode(),
        f"{wider}.age": WIDER.data,
        f"{wider}.manifest.jws": WIDER.token.encode(),
        f"{wider}.receipt.jws": state.receipts[WIDER.token].encode(),
    }


def crash_at(site: Site, at: int, log: Path, state: StationState) -> bool:
    """Run a receiver that kills itself at a crossing; return whether it came to that."""
    environment = {"DOCKD_CRASH_AT": str(at), "DOCKD_CRASH_LOG": str(log)}

    async def story(address: str) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            await play(client, state)

    with (
        contextlib.suppress(ProcessDiedError),
        process(site, "tests.receiver.crashing", environment=environment) as (child, address),
    ):
        try:
            asyncio.run(story(address))
        except httpx.TransportError:
            assert child.wait(30) == -signal.SIGKILL
    return len(list(crossings(log))) >= at


@pytest.fixture
def fresh_site(tmp_path: Path) -> Callable[[int], Site]:
    """Return what makes a new site for a number."""

    def make(number: int) -> Site:
        folder = tmp_path / str(number)
        folder.mkdir()
        return make_site(folder, CAMDEN, SOHO)

    return make


def crossings(log: Path) -> Iterator[str]:
    for line in log.read_text().splitlines():
        yield line.partition("\t")[2]


LOG_STEP = re.compile(r"checkpoint|\blog\b|tile|entries|\.p\b| \d")
"""A step of the statement log."""
PARTS = 8
"""Into how many tests the steps are dealt out, for several processes to take them."""


@pytest.mark.parametrize(
    ("first", "step"),
    [(1, 29), *(pytest.param(n + 1, PARTS, marks=pytest.mark.slow) for n in range(PARTS))],
)
def test_a_receiver_that_is_killed_at_any_step_carries_on(
    tmp_path: Path, fresh_site: Callable[[int], Site], first: int, step: int
) -> None:
    log = tmp_path / "crossings"
    crashes = 0
    for at in count(first, step):
        site, state = fresh_site(at), StationState()
        log.unlink(missing_ok=True)
        if not crash_at(site, at, log, state):
            break
        crashes += 1

        async def resume(client: httpx.AsyncClient, state: StationState = state) -> None:
            await play(client, state)

        with_receiver(site, resume)
        check(site, state)
    check(site, state)
    assert len(set(crossings(log))) >= 30
    # The log's batches begin by the clock, so how many steps they take differs from run to run.
    steady = [name for name in crossings(log) if not LOG_STEP.search(name)]
    assert crashes >= len(range(first, len(steady) + 1, step))


def test_an_unfinished_upload_goes_on_where_it_was(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN)

    async def begin(client: httpx.AsyncClient) -> str:
        path = await create(client, FIRST)
        await patch(client, path, FIRST.data[:1234])
        return path

    async def story() -> None:
        async with running(site) as run:
            path = await begin(run.client)
        async with running(site) as run:
            head = await run.client.head(path, headers=TUS)
            assert head.headers["Upload-Offset"] == "1234"
            assert head.headers["Upload-Metadata"] == FIRST.metadata
            assert (await patch(run.client, path, FIRST.data[1234:], 1234)).status_code == 204
            site.receipt((await ask(run.client, FIRST)).text, FIRST)

    asyncio.run(story())


def test_what_nobody_knows_is_removed_from_the_incoming_folder(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN)
    incoming = site.store / "incoming"
    incoming.mkdir(parents=True)
    for name, content in {
        "a" * 32 + ".part": "a part without a record",
        "b" * 32 + ".json": '{"v": 1, "manifest": "no manifest", "metadata": ""}',
        "c" * 32 + ".json": "not JSON",
        "d" * 32 + ".json": '{"v": 1}',
        "e" * 32 + ".json": "[]",
        "clip.receipt.jws.0123abcd.part": "a statement that was being written",
    }.items():
        (incoming / name).write_text(content)

    async def nothing(_client: httpx.AsyncClient) -> None:
        pass

    with_receiver(site, nothing)
    assert site.stored() == {}


def test_what_is_odd_in_the_incoming_folder_is_told_and_left(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN, SOHO)
    incoming = site.store / "incoming"

    async def begin(client: httpx.AsyncClient) -> None:
        await create(client, FIRST)

    with_receiver(site, begin)
    (record,) = incoming.glob("*.json")
    parts = list(incoming.glob("*.part"))
    folders = [incoming / "notes", incoming / f"{'a' * 32}.part", incoming / f"{'b' * 32}.json"]
    for folder in folders:
        folder.mkdir()
    (incoming / "notes.txt").write_text("not the receiver's")

    async def another(client: httpx.AsyncClient) -> None:
        await upload(client, SAME)

    with unreadable(record), structlog.testing.capture_logs() as log:
        with_receiver(site, another)
    told = {line["file"] for line in log if line["event"] == "receiver.leftover"}
    odd = {*folders, incoming / "notes.txt", record}
    assert told == set(map(str, odd))
    assert set(incoming.iterdir()) == {*odd, *parts}

    async def resume(client: httpx.AsyncClient) -> None:
        path = f"/files/{record.stem}"
        assert (await patch(client, path, FIRST.data)).status_code == 204
        assert (await ask(client, FIRST)).status_code == 200

    with_receiver(site, resume)


def test_an_upload_that_can_not_be_picked_up_keeps_no_other_from_it(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN, SOHO)
    paths = []

    async def begin(client: httpx.AsyncClient) -> None:
        paths.extend([await create(client, WIDER), await create(client, FIRST)])

    with_receiver(site, begin)
    part = site.store / "incoming" / f"{paths[0].removeprefix('/files/')}.part"
    part.unlink()
    part.mkdir()

    async def resume(client: httpx.AsyncClient) -> None:
        await patch(client, paths[1], FIRST.data)
        site.receipt((await ask(client, FIRST)).text, FIRST)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, resume)
    assert [line["file"] for line in log if line["event"] == "receiver.leftover"] == [str(part)]


def test_an_upload_of_a_station_that_is_enrolled_no_more_is_dropped(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN, SOHO)

    async def begin(client: httpx.AsyncClient) -> None:
        await create(client, WIDER)
        await create(client, FIRST)

    async def nothing(_client: httpx.AsyncClient) -> None:
        pass

    with_receiver(site, begin)
    assert len(site.stored()) == 4
    text = site.config_path.read_text()
    site.config_path.write_text(text[: text.rindex("[[stations]]")])
    with_receiver(site, nothing)
    assert len(site.stored()) == 2


def test_a_part_longer_than_its_upload_is_dropped(tmp_path: Path) -> None:
    site = make_site(tmp_path, CAMDEN)

    async def begin(client: httpx.AsyncClient) -> None:
        await create(client, FIRST)

    async def nothing(_client: httpx.AsyncClient) -> None:
        pass

    with_receiver(site, begin)
    next((site.store / "incoming").glob("*.part")).write_bytes(FIRST.data + b"x")
    with_receiver(site, nothing)
    assert site.stored() == {}
