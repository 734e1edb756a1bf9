"""Other people's clients upload, are interrupted, and resume."""

import json
import random
import signal
import socket
import subprocess
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient

from tests.fetching import npm_ci
from tests.receiver.support import Clip, Site, Station, make_site, process

STATION = Station()
JS = Path(__file__).parents[1] / "interop" / "js"
MIB = 2**20


@pytest.fixture
def clip() -> Clip:
    return STATION.clip(random.Random(1).randbytes(5 * MIB + 123))


@pytest.fixture
def path(tmp_path: Path, clip: Clip) -> Path:
    """Return a file with the clip's ciphertext."""
    path = tmp_path / "clip.age"
    path.write_bytes(clip.data)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a receiver that comes back at the same port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return make_site(tmp_path, STATION, listen={"port": port})


def check(site: Site, address: str, clip: Clip) -> None:
    headers = {"Content-Type": "application/jose", "Prefer": "wait=20"}
    response = httpx.put(f"{address}receipts/{clip.id}", content=clip.token, headers=headers)
    site.receipt(response.text, clip)
    assert clip.data in site.stored().values()
    assert len(site.stored()) == 3


def test_tuspy_uploads_and_resumes_at_a_receiver_that_was_killed(site: Site, clip: Clip) -> None:
    options = {"file_stream": BytesIO(clip.data), "chunk_size": MIB}
    with process(site) as (child, address):
        client: Any = TusClient(f"{address}files/")
        uploader = client.uploader(
            **options, metadata={"manifest": clip.token}, upload_checksum=True
        )
        uploader.upload_chunk()
        uploader.upload_chunk()
        assert uploader.offset == 2 * MIB
        child.send_signal(signal.SIGKILL)
    with process(site) as (_, address):
        resumed = client.uploader(**options, url=uploader.url)
        assert resumed.offset == 2 * MIB
        resumed.upload()
        check(site, address, clip)


@pytest.fixture(scope="module")
def tus_js_client() -> None:
    """Install tus-js-client."""
    npm_ci(JS)


def node(**options: object) -> list[str]:
    return ["node", "upload.mjs", json.dumps(options)]


@pytest.mark.slow
@pytest.mark.usefixtures("tus_js_client")
def test_tus_js_client_uploads_is_closed_and_resumes(site: Site, clip: Clip, path: Path) -> None:
    options = {"path": str(path), "metadata": {"manifest": clip.token}, "chunkSize": MIB}
    with process(site) as (_, address):
        options["endpoint"] = f"{address}files/"
        closed = subprocess.run(
            node(**options, stopAt=2 * MIB), cwd=JS, capture_output=True, text=True, check=False
        )
        assert closed.returncode == 3, closed.stderr
        url = json.loads(closed.stdout)["url"]
        part = next((site.store / "incoming").glob("*.part"))
        assert 2 * MIB <= part.stat().st_size < len(clip.data)
        subprocess.run(node(**options, url=url), cwd=JS, check=True, timeout=60)
        check(site, address, clip)


@pytest.mark.slow
@pytest.mark.usefixtures("tus_js_client")
def test_tus_js_client_carries_on_when_the_receiver_is_killed(
    site: Site, clip: Clip, path: Path
) -> None:
    options = {"path": str(path), "metadata": {"manifest": clip.token}, "chunkSize": MIB // 8}
    with process(site) as (child, address):
        options["endpoint"] = f"{address}files/"
        with subprocess.Popen(node(**options), cwd=JS) as uploading:
            incoming = site.store / "incoming"
            while not any(part.stat().st_size > MIB for part in incoming.glob("*.part")):
                assert uploading.poll() is None
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
            child.wait(20)
            with process(site) as (_, again):
                assert uploading.wait(60) == 0
                check(site, again, clip)
