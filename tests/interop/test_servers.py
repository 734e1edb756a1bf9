"""The daemon uploads to other people's servers, which issue no receipts."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockd.evidence.keys import SigningKey, write_secret_file
from tests.interop.servers import Command, Relay, TusServer, tus_node_server, tusd
from tests.processes.support import Process, Site

pytestmark = pytest.mark.slow

MIB = 2**20
SIZE = 24 * MIB
MOST_OF_IT = 16 * MIB


@pytest.fixture(scope="module", params=[tusd, tus_node_server])
def command(request: pytest.FixtureRequest) -> Command:
    """Somebody else's server, installed."""
    install: Callable[[], Command] = request.param
    return install()


@pytest.fixture
def server(command: Command, tmp_path: Path) -> Iterator[TusServer]:
    with TusServer(command, tmp_path / "uploads") as server:
        yield server


@pytest.fixture
def relay(server: TusServer, site: Site) -> Iterator[Relay]:
    """What stands between the station and the server."""
    with Relay(server.port) as relay:
        site.url = relay.url
        yield relay


@pytest.fixture
def digest(site: Site) -> str:
    """A camera with one clip; its SHA-256."""
    return site.fill("CAM-1", {"PC1/20260114.mp4": os.urandom(SIZE)})[0]


@pytest.fixture(autouse=True)
def station_key(site: Site) -> None:
    """The key of a station that no receiver has enrolled."""
    write_secret_file(site.folder / "camden.key", SigningKey.generate().pem())


def start_station(site: Site, chunk_size: str = "512 MiB") -> Process:
    target = f'chunk_size = "{chunk_size}"'
    return site.start_station(site.configure("camden", "CAM-1", receipts=False, target=target))


def assert_arrived(site: Site, server: TusServer, digest: str) -> None:
    """Make sure that the server has the ciphertext, and that the camera still has the clip."""
    (clip,) = site.clips("camden")
    whole = [path for path in server.uploads() if path.stat().st_size == clip.ciphertext_size]
    (stored,) = whole
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == clip.ciphertext_sha256
    assert site.open(stored) == digest
    on_camera = site.camera("CAM-1") / "PC1/20260114.mp4"
    assert hashlib.sha256(on_camera.read_bytes()).hexdigest() == digest
    assert clip.receipt is None


def test_a_clip_arrives_in_chunks_and_is_not_wiped(
    site: Site, server: TusServer, relay: Relay, digest: str
) -> None:
    station = start_station(site, chunk_size="5 MiB")
    station.wait_for("clip.uploaded")
    assert station.stop() == 0
    assert_arrived(site, server, digest)


def test_a_cut_connection_is_resumed(
    site: Site, server: TusServer, relay: Relay, digest: str
) -> None:
    relay.breaks.append((MOST_OF_IT, lambda: None))
    station = start_station(site)
    station.wait_for("clip.uploaded")
    assert station.stop() == 0
    assert_arrived(site, server, digest)
    assert relay.passed < SIZE + MOST_OF_IT // 2


def test_a_killed_server_is_gone_on_with(
    site: Site, server: TusServer, relay: Relay, digest: str
) -> None:
    def restart() -> None:
        server.kill()
        server.start()

    relay.breaks.append((MOST_OF_IT, restart))
    station = start_station(site)
    station.wait_for("clip.uploaded")
    assert station.stop() == 0
    assert_arrived(site, server, digest)
    assert relay.passed < SIZE + MOST_OF_IT // 2


def test_a_killed_station_goes_on_where_it_was(
    site: Site, server: TusServer, relay: Relay, digest: str
) -> None:
    first: list[Process] = []
    relay.breaks.append((MOST_OF_IT, lambda: first[0].signal(signal.SIGKILL)))
    first.append(start_station(site))
    assert first[0].wait() == -signal.SIGKILL
    station = start_station(site)
    station.wait_for("clip.uploaded")
    assert station.stop() == 0
    assert_arrived(site, server, digest)
    assert relay.passed < SIZE + MOST_OF_IT // 2


def test_a_server_that_forgets_everything_is_sent_everything(
    site: Site, server: TusServer, relay: Relay, digest: str
) -> None:
    def begin_anew() -> None:
        server.kill()
        server.forget()
        server.start()

    relay.breaks.append((MOST_OF_IT, begin_anew))
    station = start_station(site)
    station.wait_for("clip.uploaded")
    assert station.stop() == 0
    assert_arrived(site, server, digest)
