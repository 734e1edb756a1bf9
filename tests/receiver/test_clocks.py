"""A clock that is wrong: nothing is signed by it that no station would take."""

import asyncio
import errno
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import structlog

from dockd.base.clock import Clock
from dockd.evidence.statements import sign
from tests.receiver.support import (
    Clip,
    FailingFiles,
    Site,
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
from tests.support import make_receipt

STATION = Station()
CLIP = STATION.clip()


class SetClock(Clock):
    """A clock that is right until its battery is empty, and once it was set."""

    right = True

    def now(self) -> datetime:
        return super().now() if self.right else datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, STATION)


def place(site: Site, suffix: str) -> Path:
    return site.store / "clips" / CLIP.id[:2] / CLIP.id[2:4] / f"{CLIP.id}{suffix}"


def test_an_upload_that_arrived_waits_for_its_receipt_until_the_clock_is_right(site: Site) -> None:
    clock = SetClock()

    async def play() -> None:
        async with running(site, clock=clock) as run:
            path = await create(run.client, CLIP)
            clock.right = False
            assert (await patch(run.client, path, CLIP.data)).status_code == 204
            response = await ask(run.client, CLIP)
            assert (response.status_code, code(response)) == (503, "clocks-differ")
            assert response.headers["Retry-After"]
            await run.receiver.uploads.sweep()
        async with running(site, clock=clock) as run:
            assert code(await ask(run.client, CLIP)) == "clocks-differ"
            assert not place(site, ".receipt.jws").exists()
            clock.right = True
            site.receipt((await ask(run.client, CLIP)).text, CLIP)

    asyncio.run(play())
    assert len(site.stored()) == 3


@pytest.mark.parametrize("suffix", [".age", ".manifest.jws"])
def test_nothing_is_stored_if_the_clock_goes_wrong_while_a_clip_is_read_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    clock = SetClock()

    def read(*_: object) -> bool:
        clock.right = False
        return True

    async def play() -> None:
        async with running(site, clock=clock) as run:
            path = await create(run.client, CLIP)
            with monkeypatch.context() as patched:
                patched.setattr("dockd.receiver.store.disk.read_back", read)
                assert (await patch(run.client, path, CLIP.data)).status_code == 204
                assert code(await ask(run.client, CLIP)) == "clocks-differ"
            assert not place(site, suffix).exists()
            clock.right = True
            site.receipt((await ask(run.client, CLIP)).text, CLIP)

    asyncio.run(play())


def early() -> str:
    """A receipt that was signed while the clock was wrong."""
    receipt = make_receipt(
        STATION.key, CLIP.manifest, CLIP.token, stored_at="2000-01-01T00:00:00.000Z"
    )
    return sign(receipt, STATION.key)


def other() -> str:
    """A receipt that is for another upload."""
    clip = STATION.clip(plaintext="another")
    return sign(make_receipt(STATION.key, clip.manifest, clip.token), STATION.key)


@pytest.mark.parametrize("old", [early(), other(), "rotten", ""])
def test_a_receipt_that_no_station_takes_is_renewed_when_the_copy_was_read_back(
    site: Site, old: str
) -> None:
    async def bring(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=CLIP.creation)
        assert code(response) == "clip-stored"
        for number in range(2):
            response = await ask(client, CLIP, headers=asking(number))
            site.receipt(response.text, CLIP)
            assert response.headers["Dockd-Answer"]

    with_receiver(site, bring)
    place(site, ".receipt.jws").write_text(old)
    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    (line,) = [line for line in log if line["event"] == "receiver.receipt_renewed"]
    assert (line["clip_id"], line["station"]) == (CLIP.id, STATION.id)
    (kept,) = [
        path
        for path in place(site, "").parent.iterdir()
        if ".receipt." in path.name and not path.name.endswith(".receipt.jws")
    ]
    assert kept.read_text() == old
    assert len(site.stored()) == 4


@pytest.mark.parametrize("operation", ["publish", "published .jws"])
def test_a_receipt_that_could_not_be_renewed_is_renewed_later(site: Site, operation: str) -> None:
    files = FailingFiles(errno.EIO, operation)
    error, files.error = files.error, None

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)
        place(site, ".receipt.jws").write_text(early())
        files.error = error
        assert code(await ask(client, CLIP)) == "store-failed"
        assert place(site, ".receipt.jws").read_text() == early()
        files.error = None
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario, files=files)
    assert len(site.stored()) == 4


def test_a_receipt_is_not_renewed_by_a_clock_that_is_wrong(site: Site) -> None:
    clock = SetClock()

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, CLIP)
        place(site, ".receipt.jws").write_text(early())
        clock.right = False
        assert code(await ask(client, CLIP)) == "clocks-differ"
        assert place(site, ".receipt.jws").read_text() == early()
        clock.right = True
        site.receipt((await ask(client, CLIP)).text, CLIP)

    with_receiver(site, scenario, clock=clock)


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_a_manifest_may_be_of_the_first_or_the_last_year(site: Site, year: str) -> None:
    made = STATION.clip()
    sealed_at = f"{year}-01-01T00:00:00.000Z" if year == "0001" else f"{year}-12-31T23:59:59.999Z"
    manifest = made.manifest.model_copy(update={"sealed_at": sealed_at})
    clip = Clip(made.data, manifest, sign(manifest, STATION.key))

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/files/", headers=clip.creation)
        if year == "9999":
            assert code(response) == "clocks-differ"
        else:
            assert response.status_code == 201
            await upload(client, clip)

    with_receiver(site, scenario)
