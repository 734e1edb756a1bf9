"""What the disk has not kept: told from what is sound, set aside, and uploaded again."""

import asyncio
import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from dockd.host.files import read_from_disk
from dockd.receiver.core.verifier import GIVE_UP_SECONDS, READ_AGAIN_SECONDS
from dockd.receiver.store import reading
from dockd.receiver.store.disk import DiskStore
from tests.receiver.support import (
    TUS,
    Clip,
    LaterClock,
    Site,
    Station,
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

STATION, OTHER = Station(), Station("soho-01")
CLIP = STATION.clip(recipients=[ALICE, BOB])
OTHER_CLIP = STATION.clip(plaintext="another")
SAME = OTHER.clip(b"and by another", recipients=[ALICE])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, STATION, OTHER)


def place(site: Site, clip: Clip, suffix: str) -> Path:
    return site.store / "clips" / clip.id[:2] / clip.id[2:4] / f"{clip.id}{suffix}"


def rot(path: Path) -> bytes:
    """Change one byte of a file in place, and return what it holds then."""
    with path.open("r+b") as file:
        file.write(b"\x00")
    return path.read_bytes()


def aside(site: Site) -> dict[str, bytes]:
    """What was set aside, by what it was."""
    return {path.name[81:]: path.read_bytes() for path in (site.store / "damaged").iterdir()}


Reads = Callable[[Path], None]


def reading_as(monkeypatch: pytest.MonkeyPatch, before: Reads) -> None:
    """Have something happen before a file is read back."""

    def read(path: Path) -> Iterator[memoryview]:
        before(path)
        yield from read_from_disk(path)

    monkeypatch.setattr(reading, "read_from_disk", read)


class BadSectors:
    """Makes a disk that can't read one file."""

    def __init__(self, number: int, unreadable: Path) -> None:
        self._number = number
        self._unreadable = unreadable

    def __call__(self, path: Path) -> None:
        if path == self._unreadable:
            raise OSError(self._number, os.strerror(self._number), str(path))


def events(log: Sequence[Any], name: str) -> list[Any]:
    return [line for line in log if line["event"] == name]


def test_a_copy_is_read_back_again_when_its_last_reading_is_long_ago(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    reading_as(monkeypatch, read.append)
    clock = LaterClock()

    async def scenario(client: httpx.AsyncClient) -> None:
        receipt = await upload(client, CLIP)
        read.clear()
        assert (await ask(client, CLIP)).text == receipt
        assert read == []
        clock.ahead = READ_AGAIN_SECONDS + 1
        assert (await ask(client, CLIP)).text == receipt
        assert read == [place(site, CLIP, ".age")]

    with_receiver(site, scenario, clock=clock)
    read.clear()

    async def after_a_restart(client: httpx.AsyncClient) -> None:
        assert (await ask(client, CLIP)).status_code == 200
        assert read == [place(site, CLIP, ".age")]

    with_receiver(site, after_a_restart)


def test_a_copy_that_has_rotted_counts_no_more_and_makes_way_for_the_next_upload(
    site: Site,
) -> None:
    rotten: list[bytes] = []
    receipts: list[str] = []

    async def first(client: httpx.AsyncClient) -> None:
        receipts.append(await upload(client, CLIP))

    async def then(client: httpx.AsyncClient) -> None:
        rotten.append(rot(place(site, CLIP, ".age")))
        before = site.stored()
        for _ in range(3):
            assert code(await ask(client, CLIP)) == "clip-not-stored"
        assert site.stored() == before  # reading moves nothing
        site.receipt(await upload(client, CLIP), CLIP)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, first)
        with_receiver(site, then)
    assert place(site, CLIP, ".age").read_bytes() == CLIP.data
    assert aside(site) == {
        ".age": rotten[0],
        ".manifest.jws": CLIP.token.encode(),
        ".receipt.jws": receipts[0].encode(),
    }
    told = events(log, "receiver.copy_damaged")
    assert [line["clip_id"] for line in told] == [CLIP.id] * 2  # found, and set aside


@pytest.mark.parametrize("damage", ["missing", "shortened", "no-manifest", "other-manifest"])
def test_a_copy_that_is_not_whole_is_uploaded_again(site: Site, damage: str) -> None:
    left: dict[str, bytes] = {}

    async def first(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)

    async def then(client: httpx.AsyncClient) -> None:
        match damage:
            case "missing":
                place(site, CLIP, ".age").unlink()
            case "shortened":
                place(site, CLIP, ".age").write_bytes(CLIP.data[:-1])
            case "no-manifest":
                place(site, CLIP, ".manifest.jws").unlink()
            case _:
                place(site, CLIP, ".manifest.jws").write_bytes(b"\xff" + CLIP.token.encode())
        left.update(site.stored())
        assert code(await ask(client, CLIP)) == "clip-not-stored"
        assert site.stored() == left
        site.receipt(await upload(client, CLIP), CLIP)

    with_receiver(site, first)
    with_receiver(site, then)
    assert {*left.values()} <= {*site.stored().values()}  # nothing was thrown away
    assert CLIP.data in site.stored().values()


def test_an_error_that_passes_moves_no_sound_copy(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a third of all readings failing for a while, every copy stays where it is."""
    clips = [STATION.clip(plaintext=str(number)) for number in range(9)]
    count = itertools.count()

    def fail_now_and_then(_path: Path) -> None:
        if next(count) % 3 == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def first(client: httpx.AsyncClient) -> None:
        for clip in clips:
            await upload(client, clip)

    async def then(client: httpx.AsyncClient) -> None:
        before = site.stored()
        with monkeypatch.context() as troubled:
            reading_as(troubled, fail_now_and_then)
            for clip in clips:
                assert (await client.get(f"/receipts/{clip.id}")).status_code == 200
                assert (await ask(client, clip)).status_code in {200, 503}
        for clip in clips:
            assert (await ask(client, clip)).status_code == 200
        assert site.stored() == before

    with_receiver(site, first)
    with_receiver(site, then)
    assert next(count) >= 9
    assert not (site.store / "damaged").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA])
def test_a_copy_that_lastingly_can_not_be_read_is_uploaded_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    clock = LaterClock()

    async def first(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)

    async def then(client: httpx.AsyncClient) -> None:
        stored = place(site, CLIP, ".age")
        with monkeypatch.context() as bad:
            reading_as(bad, BadSectors(number, stored))
            for _ in range(5):
                assert code(await ask(client, CLIP)) == "store-failed"
            clock.ahead = GIVE_UP_SECONDS
            assert code(await ask(client, CLIP)) == "clip-not-stored"
            assert stored.exists()
            path = await create(client, CLIP)
            assert (await patch(client, path, CLIP.data)).status_code == 204
            while not list((site.store / "damaged").glob("*.receipt.jws")):
                await a_moment()
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, first)
    with_receiver(site, then, clock=clock)
    assert sorted(aside(site)) == [".age", ".manifest.jws", ".receipt.jws"]


def test_a_copy_that_is_found_sound_again_counts_again_and_is_told(site: Site) -> None:
    async def first(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)

    async def then(client: httpx.AsyncClient) -> None:
        good = place(site, CLIP, ".age").read_bytes()
        rot(place(site, CLIP, ".age"))
        assert code(await ask(client, CLIP)) == "clip-not-stored"
        place(site, CLIP, ".age").write_bytes(good)
        # It is asked for again before its station has begun to upload it.
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, first)
        with_receiver(site, then)
    assert len(site.stored()) == 3
    assert len(events(log, "receiver.copy_restored")) == 1


def test_what_was_set_aside_and_is_sound_comes_back_by_itself(site: Site) -> None:
    async def first(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)
        await upload(client, SAME)

    with_receiver(site, first)
    before = site.stored()
    damaged = site.store / "damaged"
    damaged.mkdir()
    for suffix in (".age", ".manifest.jws", ".receipt.jws"):
        place(site, CLIP, suffix).rename(damaged / f"{CLIP.id}.{'0' * 16}{suffix}")

    async def then(client: httpx.AsyncClient) -> None:
        while list(damaged.iterdir()):
            await a_moment()
        assert (await ask(client, CLIP)).status_code == 200

    with structlog.testing.capture_logs() as log:
        with_receiver(site, then)
    assert site.stored() == before
    (told,) = events(log, "receiver.copy_restored")
    assert told["clip_id"] == CLIP.id


def test_a_copy_that_can_not_be_looked_at_keeps_no_other_set_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)
        await upload(client, OTHER_CLIP)

    with_receiver(site, first)
    damaged = site.store / "damaged"
    damaged.mkdir()
    for number, clip in enumerate(sorted([CLIP, OTHER_CLIP], key=lambda clip: clip.id)):
        for suffix in (".age", ".manifest.jws", ".receipt.jws"):
            place(site, clip, suffix).rename(damaged / f"{clip.id}.{number:016}{suffix}")
    bad = min(damaged.glob("*.age"))

    def failing(path: Path) -> None:
        if path == bad:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    reading_as(monkeypatch, failing)

    async def then(_client: httpx.AsyncClient) -> None:
        while len(list(damaged.iterdir())) > 3:
            await a_moment()

    with_receiver(site, then)
    assert bad.exists()


def test_a_copy_that_is_on_its_way_back_is_left_alone_by_the_same_upload(site: Site) -> None:
    async def first(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)

    async def nothing(_client: httpx.AsyncClient) -> None:
        while aside_receipt.exists():
            await a_moment()

    with_receiver(site, first)
    before = site.stored()
    (site.store / "damaged").mkdir()
    aside_receipt = site.store / "damaged" / f"{CLIP.id}.{'0' * 16}.receipt.jws"
    place(site, CLIP, ".receipt.jws").rename(aside_receipt)
    record = DiskStore(site.store).incoming.create(CLIP.token, "")
    with_receiver(site, nothing)
    after = site.stored()
    assert {name: after[name] for name in before} == before
    assert f"incoming/{record.id}.part" in after


def test_what_was_set_aside_and_is_damaged_stays_there(site: Site) -> None:
    async def first(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)

    with_receiver(site, first)
    rot(place(site, CLIP, ".age"))
    damaged = site.store / "damaged"
    damaged.mkdir()
    for suffix in (".age", ".manifest.jws", ".receipt.jws"):
        place(site, CLIP, suffix).rename(damaged / f"{CLIP.id}.{'0' * 16}{suffix}")

    async def then(client: httpx.AsyncClient) -> None:
        assert code(await ask(client, CLIP)) == "clip-not-stored"

    with_receiver(site, then)
    assert len(list(damaged.iterdir())) == 3


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA])
def test_an_upload_that_lastingly_can_not_be_read_back_is_set_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    clock = LaterClock()

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        part = site.store / "incoming" / f"{path.removeprefix('/files/')}.part"
        reading_as(monkeypatch, BadSectors(number, part))
        assert (await patch(client, path, CLIP.data)).status_code == 204
        for _ in range(4):
            assert code(await ask(client, CLIP)) == "store-failed"
        clock.ahead = GIVE_UP_SECONDS
        assert code(await ask(client, CLIP)) == "clip-not-stored"
        assert (await client.head(path, headers=TUS)).status_code == 404
        site.receipt(await upload(client, CLIP), CLIP)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario, clock=clock)
    assert aside(site) == {".part": CLIP.data}
    (told,) = events(log, "receiver.upload_unreadable")
    assert told["hint"]
    assert not list((site.store / "incoming").iterdir())


def test_bytes_that_differ_once_are_not_damaged(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault on the way from the disk is not a fault of the disk."""
    flipped: list[Path] = []

    def read(path: Path) -> Iterator[memoryview]:
        first = path not in flipped
        flipped.append(path)
        for block in read_from_disk(path):
            yield memoryview(bytes(len(block))) if first else block

    monkeypatch.setattr(reading, "read_from_disk", read)

    async def scenario(client: httpx.AsyncClient) -> None:
        site.receipt(await upload(client, CLIP), CLIP)

    with_receiver(site, scenario)
    assert len(flipped) == 2


def test_a_stop_ends_the_reading_back_of_a_copy(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()

    def wait(_path: Path) -> None:
        begun.set()
        release.wait()

    async def play() -> None:
        async with running(site) as run:
            await upload(run.client, CLIP)
        async with running(site) as run:
            with monkeypatch.context() as slow:
                reading_as(slow, wait)
                answer = asyncio.create_task(ask(run.client, CLIP))
                await asyncio.to_thread(begun.wait)
                run.receiver.stop()
                assert (await answer).status_code == 202
                release.set()
        async with running(site) as run:
            assert (await ask(run.client, CLIP)).status_code == 200

    asyncio.run(play())
