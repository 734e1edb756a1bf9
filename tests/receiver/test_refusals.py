"""What the receiver tells of what it refuses, and of how it stands."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import structlog
import trustme

from dockd.base.findings import Level
from dockd.evidence.keys import SigningKey, write_secret_file
from dockd.receiver.check import check
from dockd.receiver.core.verifier import READ_AGAIN_SECONDS
from tests.receiver.support import (
    FailingFiles,
    LaterClock,
    Site,
    Station,
    ask,
    create,
    make_site,
    patch,
    running,
    upload,
    with_receiver,
)

STATION = Station("camden-07", token="camden's token")
OTHER = Station("soho-01", token="soho's token")


def bearer(station: Station) -> dict[str, str]:
    return {"Authorization": f"Bearer {station.token}"}


def test_refusals_are_told_once_for_each_kind_and_station(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER, store={"reserve": "1000 TiB"})
    stranger = Station("camden-07", SigningKey.generate())

    async def scenario(client: httpx.AsyncClient) -> None:
        for _ in range(3):
            await client.post("/files/", headers=STATION.clip().creation)
            await client.post("/files/", headers=STATION.clip().creation | bearer(OTHER))
            await client.post("/files/", headers=stranger.clip().creation | bearer(STATION))
            await client.post("/files/", headers=STATION.clip().creation | bearer(STATION))

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    told = [line for line in log if line["event"] == "receiver.refused"]
    assert {(one["code"], one["status"], one["station"]) for one in told} == {
        ("token-refused", 401, ""),
        ("other-station", 403, "soho-01"),
        ("not-enrolled", 403, "camden-07"),
        ("store-full", 507, "camden-07"),
    }
    assert len(told) == 4
    assert all(one["detail"] and one["address"] for one in told)
    assert not any(station.token in str(told) for station in (STATION, OTHER) if station.token)


def test_that_a_station_is_taken_again_is_told(tmp_path: Path) -> None:
    site, clock = make_site(tmp_path, STATION), LaterClock()
    stranger = Station("camden-07", SigningKey.generate())

    async def scenario(client: httpx.AsyncClient) -> None:
        await client.post("/files/", headers=stranger.clip().creation | bearer(STATION))
        clock.ahead += 60
        await client.post("/files/", headers=STATION.clip().creation | bearer(STATION))

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario, clock=clock)
    (line,) = [line for line in log if line["event"] == "receiver.taken"]
    assert (line["code"], line["station"]) == ("not-enrolled", "camden-07")


def test_refusals_among_what_is_taken_are_told_at_growing_intervals(tmp_path: Path) -> None:
    site, clock = make_site(tmp_path, STATION, store={"max_clip_size": "1 KiB"}), LaterClock()
    good, bad = STATION.clip(), STATION.clip(b"x" * 5000)

    async def scenario(client: httpx.AsyncClient) -> None:
        await upload(client, good, bearer(STATION))
        for _ in range(20):
            clock.ahead += 10
            await client.post("/files/", headers=bad.creation | bearer(STATION))
            await ask(client, good, headers=bearer(STATION))

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario, clock=clock)
    told = [
        line["event"] for line in log if line["event"].startswith(("receiver.re", "receiver.t"))
    ]
    assert told.count("receiver.refused") == 3
    assert "receiver.taken" not in told


def test_errors_of_the_disk_among_what_works_are_told_at_growing_intervals(
    tmp_path: Path,
) -> None:
    site, clock = make_site(tmp_path, STATION), LaterClock()
    files = FailingFiles(errno.EIO, "write_at")
    good, bad = STATION.clip(), STATION.clip(plaintext="another")

    async def play() -> None:
        async with running(site, files=files, clock=clock) as run:
            error, files.error = files.error, None
            await upload(run.client, good, bearer(STATION))
            path = await create(run.client, bad, bearer(STATION))
            files.error = error
            for _ in range(20):
                clock.ahead += READ_AGAIN_SECONDS + 1
                refused = await patch(run.client, path, bad.data, 0, bearer(STATION))
                assert refused.status_code == 503
                assert (await ask(run.client, good, headers=bearer(STATION))).status_code == 200
                health = await run.client.get("/healthz")
                assert health.json()["status"] == "failing"

    with structlog.testing.capture_logs() as log:
        asyncio.run(play())
    told = [line["event"] for line in log if line["event"].startswith("receiver.store_")]
    assert "receiver.store_recovered" not in told


def test_an_error_of_the_disk_that_is_over_is_forgotten_though_nobody_uploads(
    tmp_path: Path,
) -> None:
    site, clock = make_site(tmp_path, STATION), LaterClock()
    files = FailingFiles(errno.EIO, "write_at")

    async def play() -> None:
        async with running(site, files=files, clock=clock) as run:
            clip = STATION.clip()
            path = await create(run.client, clip, bearer(STATION))
            await patch(run.client, path, clip.data, 0, bearer(STATION))
            clock.ahead += 60
            await run.receiver.uploads.watch_disk()
            assert (await run.client.get("/healthz")).json()["status"] == "failing"
            files.error = None
            await run.receiver.uploads.watch_disk()
            assert (await run.client.get("/healthz")).json()["status"] == "failing"
            clock.ahead += 60
            await run.receiver.uploads.watch_disk()
            assert (await run.client.get("/healthz")).json()["status"] == "ok"

    with structlog.testing.capture_logs() as log:
        asyncio.run(play())
    told = [line["event"] for line in log if line["event"].startswith("receiver.store_")]
    assert told.count("receiver.store_recovered") == 1
    assert len(list((site.store / "incoming").iterdir())) == 2


def test_a_refusal_names_whom_a_manifest_and_a_proxy_name(tmp_path: Path) -> None:
    site = make_site(tmp_path, OTHER)
    stranger = Station("leeds-03", SigningKey.generate())

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = stranger.clip().creation | bearer(OTHER) | {"X-Forwarded-For": "192.0.2.7"}
        await client.post("/files/", headers=headers)

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    (line,) = [line for line in log if line["event"] == "receiver.refused"]
    assert line["forwarded"] == "192.0.2.7"
    assert "leeds-03" in line["detail"]
    assert stranger.key.kid in line["detail"]


def test_what_the_protocol_answers_every_day_is_not_told(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)

    async def scenario(client: httpx.AsyncClient) -> None:
        await client.get(f"/receipts/{'a' * 64}", headers=bearer(STATION))
        await client.get("/nothing")

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    assert not [line for line in log if line["event"] == "receiver.refused"]


def test_a_start_without_room_is_told(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, store={"reserve": "1000 TiB"})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get("/healthz")
        assert (response.status_code, response.json()["status"]) == (503, "full")

    with structlog.testing.capture_logs() as log:
        with_receiver(site, scenario)
    (line,) = [line for line in log if line["event"] == "receiver.room_short"]
    assert "store.reserve" in line["hint"]


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_plain_http_on_an_address_that_others_reach_is_told(
    tmp_path: Path, host: str, told: bool
) -> None:
    site = make_site(tmp_path, STATION, listen={"host": host})
    command = [sys.executable, "-m", "dockd", "receiver", "--config", str(site.config_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        events = []
        for line in child.stderr:
            events.append(json.loads(line)["event"])
            if events[-1] == "receiver.started":
                break
        child.terminate()
        child.communicate(timeout=30)
    assert ("receiver.unencrypted" in events) == told


def levels(site: Site) -> dict[str, Level]:
    worst: dict[str, Level] = {}
    for name, finding in check(site.config_path):
        worst[name] = max(worst.get(name, Level.OK), finding.level)
    return worst


def test_a_receiver_that_is_set_up_right_is_found_so(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION, OTHER)
    site.store.mkdir()
    assert levels(site) == dict.fromkeys(("configuration", "keys", "listen", "store"), Level.OK)


def test_a_check_says_what_is_wrong_and_changes_nothing(tmp_path: Path) -> None:
    site = make_site(
        tmp_path,
        STATION,
        Station("open-03"),
        listen={"host": "0.0.0.0"},
        store={"reserve": "1000 TiB"},
    )
    (site.store / "damaged").mkdir(parents=True)
    (site.store / "damaged" / "a.age").write_bytes(b"a")
    found = list(check(site.config_path))
    assert levels(site) == {
        "configuration": Level.OK,
        "keys": Level.WARNING,
        "listen": Level.WARNING,
        "store": Level.ERROR,
    }
    said = " ".join(finding.what for _, finding in found)
    assert "open-03" in said
    assert "plain HTTP" in said
    assert "damaged holds 1 files" in said
    assert [path.name for path in site.store.iterdir()] == ["damaged"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_certificate_is_looked_at_however_an_editor_has_left_it(
    tmp_path: Path, encoding: str
) -> None:
    certificate = trustme.CA().issue_cert("receiver.example")
    (tmp_path / "server.pem").write_text(
        certificate.cert_chain_pems[0].bytes().decode(), encoding=encoding
    )
    write_secret_file(tmp_path / "server.key", certificate.private_key_pem.bytes())
    listen = {"certificate": "server.pem", "certificate_key_file": "server.key"}
    found = check(make_site(tmp_path, STATION, listen=listen).config_path)
    said = [finding.what for name, finding in found if name == "listen"]
    assert "server.pem" in said[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as another user")
def test_root_looks_at_the_store_as_the_user_whom_it_belongs_to(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    site.store.mkdir(mode=0o500)
    os.chown(site.store, 65534, 65534)
    assert levels(site)["store"] == Level.ERROR


def test_a_store_that_can_not_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path, STATION, store={"path": "closed/deep/store"})
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path / "closed")
    assert levels(site)["store"] == Level.ERROR


def test_the_command_prints_it_and_exits_accordingly(tmp_path: Path) -> None:
    site = make_site(tmp_path, STATION)
    command = [sys.executable, "-m", "dockd", "receiver", "--check", "--json"]
    command += ["--config", str(site.config_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["level"]) == (0, "ok")
    (tmp_path / "receiver.key").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["level"]) == (20, "error")
