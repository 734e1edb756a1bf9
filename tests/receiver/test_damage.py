"""What the disk has not kept: told from what is sound, set aside, and uploaded again."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from dockd.files import read_from_disk
from dockd.receiver import reading
from tests.receiver.support import (
    TUS,
    Clip,
    Site,
    Station,
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
AGAIN = STATION.clip(b"sealed again", recipients=[ALICE])
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
    """Makes a disk that can't read what begins with some bytes."""

    def __init__(self, number: int, data: bytes) -> None:
        self._number = number
        self._data = data

    def __call__(self, path: Path) -> None:
        if path.read_bytes() == self._data:
            raise OSError(self._number, os.strerror(self._number), str(path))


def events(log: Sequence[Any], name: str) -> list[Any]:
    return [line for line in log if line["event"] == name]


def test_a_new_manifest_gets_the_receipt_after_the_copy_was_read_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    release = threading.Event()
    release.set()

    def wait(path: Path) -> None:
        read.append(path)
        release.wait()

    reading_as(monkeypatch, wait)

    async def scenario(client: httpx.AsyncClient) -> None:
        receipt = await upload(client, CLIP)
        read.clear()
        release.clear()
        for clip in (AGAIN, SAME, AGAIN):
            response = await ask(client, clip, wait=0)
            assert response.status_code == 202
            assert int(response.headers["Retry-After"]) >= 1
        assert (await ask(client, CLIP, wait=0)).text == receipt
        assert len(site.stored()) == 3
        release.set()
        for clip in (AGAIN, SAME):
            assert (await ask(client, clip)).text == receipt
            assert clip.token.encode() in site.stored().values()
        assert read == [place(site, CLIP, ".age")] * 2
        for clip in (CLIP, AGAIN, SAME):
            assert (await ask(client, clip, wait=0)).text == receipt
        assert len(read) == 2

    with_receiver(site, scenario)


@pytest.mark.parametrize("number", [0, errno.EIO, errno.ENODATA])
def test_a_new_manifest_gets_no_receipt_for_a_copy_that_has_rotted(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    receipts: list[str] = []
    rotten: list[bytes] = []

    async def scenario(client: httpx.AsyncClient) -> None:
        receipts.append(await upload(client, CLIP))
        if number:
            rotten.append(CLIP.data)
            reading_as(monkeypatch, BadSectors(number, CLIP.data))
        else:
            rotten.append(rot(place(site, CLIP, ".age")))
        # Whoever has the receipt may ask for it again.
        assert (await ask(client, CLIP)).text == receipts[0]
        response = await ask(client, AGAIN)
        assert (response.status_code, code(response)) == (404, "clip-not-stored")
        assert code(await ask(client, CLIP)) == "clip-not-stored"
        receipt = site.receipt(await upload(client, AGAIN), AGAIN)
        assert receipt.ciphertext == AGAIN.manifest.ciphertext

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    assert place(site, CLIP, ".age").read_bytes() == AGAIN.data
    assert aside(site) == {
        ".age": rotten[0],
        ".manifest.jws": CLIP.token.encode(),
        ".receipt.jws": receipts[0].encode(),
    }
    (told,) = events(log, "receiver.copy_damaged")
    assert told["clip_id"] == CLIP.id
    assert "damaged" in told["detail"]


@pytest.mark.parametrize("damage", ["missing", "shortened", "no-manifest"])
def test_a_copy_that_is_not_whole_is_set_aside_and_told_once(site: Site, damage: str) -> None:
    left = {}

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)
        match damage:
            case "missing":
                place(site, CLIP, ".age").unlink()
            case "shortened":
                place(site, CLIP, ".age").write_bytes(CLIP.data[:-1])
            case _:
                place(site, CLIP, ".manifest.jws").unlink()
        left.update(site.stored())
        for clip in (CLIP, AGAIN, SAME):
            assert code(await ask(client, clip)) == "clip-not-stored"
        assert code(await client.get(f"/receipts/{CLIP.id}")) == "clip-not-stored"
        site.receipt(await upload(client, AGAIN), AGAIN)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    assert place(site, CLIP, ".age").read_bytes() == AGAIN.data
    assert sorted(aside(site).values()) == sorted(left.values())
    assert len(events(log, "receiver.copy_damaged")) == 1


def test_a_copy_can_be_damaged_again_and_again(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for number in range(3):
            clip = STATION.clip(b"sealed %d" % number)
            site.receipt(await upload(client, clip), clip)
            place(site, clip, ".age").unlink()
        assert code(await ask(client, AGAIN)) == "clip-not-stored"

    with_receiver(site, scenario)
    names = [path.name for path in (site.store / "damaged").iterdir()]
    assert sum(name.endswith(".receipt.jws") for name in names) == 3


def test_an_upload_is_not_dropped_for_a_copy_that_has_rotted_meanwhile(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, AGAIN)
        await upload(client, CLIP)
        rot(place(site, CLIP, ".age"))
        assert (await patch(client, path, AGAIN.data)).status_code == 204
        receipt = site.receipt((await ask(client, AGAIN)).text, AGAIN)
        assert receipt.ciphertext == AGAIN.manifest.ciphertext

    with_receiver(site, scenario)
    assert place(site, CLIP, ".age").read_bytes() == AGAIN.data


def test_a_second_copy_takes_the_place_of_a_damaged_first_one(site: Site) -> None:
    narrow = STATION.clip(recipients=[ALICE])
    wide = OTHER.clip(b"for both", recipients=[ALICE, BOB])

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, narrow)
        receipt = await upload(client, wide)
        rot(place(site, narrow, ".age"))
        assert (await ask(client, AGAIN)).text == receipt

    with_receiver(site, scenario)
    assert set(aside(site)) == {".age", ".manifest.jws", ".receipt.jws"}


def test_a_copy_that_is_half_set_aside_follows_after_a_crash(site: Site) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)
        # The receipt goes last.
        (site.store / "damaged").mkdir()
        place(site, CLIP, ".age").rename(site.store / "damaged" / "moved")
        site.receipt(await upload(client, AGAIN), AGAIN)

    with_receiver(site, scenario)
    assert CLIP.data in site.stored().values()
    assert CLIP.token.encode() in site.stored().values()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODATA])
def test_an_upload_that_the_disk_can_not_give_back_is_set_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    reading_as(monkeypatch, BadSectors(number, CLIP.data))

    async def scenario(client: httpx.AsyncClient) -> None:
        path = await create(client, CLIP)
        assert (await patch(client, path, CLIP.data)).status_code == 204
        assert code(await ask(client, CLIP)) == "clip-not-stored"
        assert (await client.head(path, headers=TUS)).status_code == 404
        site.receipt(await upload(client, SAME), SAME)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    assert aside(site) == {".part": CLIP.data}
    (told,) = events(log, "receiver.upload_unreadable")
    assert told["hint"]
    assert not list((site.store / "incoming").iterdir())


def test_a_passing_trouble_with_reading_sets_nothing_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        async with running(site) as run:
            receipt = await upload(run.client, CLIP)
            with monkeypatch.context() as troubled:
                reading_as(troubled, BadSectors(errno.EMFILE, CLIP.data))
                response = await ask(run.client, AGAIN)
                assert (response.status_code, code(response)) == (503, "store-failed")
            assert (await ask(run.client, AGAIN)).text == receipt

    asyncio.run(play())
    assert not (site.store / "damaged").exists()


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
            with monkeypatch.context() as slow:
                reading_as(slow, wait)
                answer = asyncio.create_task(ask(run.client, AGAIN))
                await asyncio.to_thread(begun.wait)
                run.receiver.stop()
                assert (await answer).status_code == 202
                release.set()
        assert AGAIN.token.encode() not in site.stored().values()
        async with running(site) as run:
            assert (await ask(run.client, AGAIN)).status_code == 200

    asyncio.run(play())
