"""dockd log verify: a store's log, offline and from a running receiver."""

import asyncio
import json
from pathlib import Path

import pytest

from dockd.cli.main import main
from tests.receiver.logs import proof_of
from tests.receiver.support import Site, Station, make_site, process, running, upload

TOKEN = "t" * 32
OWN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A store with one receipt in its log, and the receiver's public key."""
    station = Station(token=TOKEN)
    site = make_site(tmp_path, station)
    (tmp_path / "receiver.key.pub").write_bytes(site.key.verify_key.pem("receiver"))
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    add(site, b"one")
    return site


def add(site: Site, data: bytes) -> None:
    clip = site.stations[0].clip(data, plaintext=data.decode())

    async def play() -> None:
        async with running(site) as run:
            await upload(run.client, clip, OWN)
            await proof_of(run.client, clip.id, **OWN)

    asyncio.run(play())


def verify(site: Site, log: Path | str, *options: str | Path) -> int:
    key = site.folder / "receiver.key.pub"
    return main(["log", "verify", str(log), "--receiver-key", str(key), *map(str, options)])


def test_a_stores_log_is_verified(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = site.folder / "earlier"
    earlier.write_bytes((site.store / "log" / "checkpoint").read_bytes())
    add(site, b"two")
    for place in (site.store, site.store / "log"):
        assert verify(site, place, "--since", earlier) == 0
        out = capsys.readouterr().out
        assert "ok     checkpoint: evidence-1/log, 2 entries\n" in out
        assert "ok     earlier checkpoint: " in out
        assert "ok     entries: 2 receipts\n" in out
    assert verify(site, site.store, "--json") == 0
    assert json.loads(capsys.readouterr().out)["holds"] is True


def test_what_does_not_hold_is_named(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    tile = site.store / "log" / "tile" / "0" / "000.p" / "1"
    tile.write_bytes(bytes(32))
    assert verify(site, site.store) == 65
    assert "FAILED tiles: tile/0/000.p/1 " in capsys.readouterr().out
    assert verify(site, site.store, "--json") == 65
    assert json.loads(capsys.readouterr().out)["holds"] is False


def test_a_folder_without_a_log_is_named(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(site, tmp_path / "nothing") == 65
    assert "has no checkpoint" in capsys.readouterr().err


def test_a_log_is_verified_over_http(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    token = site.folder / "token"
    with process(site) as (_, address):
        assert verify(site, f"{address}log", "--token-file", token) == 0
        assert "ok     entries: 1 receipts\n" in capsys.readouterr().out
        assert verify(site, f"{address}log") == 65
        assert "HTTP 401" in capsys.readouterr().err
        assert verify(site, f"{address}nothing", "--token-file", token) == 65
    assert verify(site, f"{address}log", "--token-file", token) == 65


def test_a_token_without_a_url_is_a_mistake(site: Site) -> None:
    assert verify(site, site.store, "--token-file", site.folder / "token") == 64
