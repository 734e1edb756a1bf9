"""Station and receiver work on without their log."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.processes.support import PATIENCE, Site

CLIPS = 60


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what no process reports, as none can be heard."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def closed(_stack: ExitStack) -> dict[str, Any]:
    return {"preexec_fn": lambda: os.close(2)}


def reader_gone(stack: ExitStack) -> dict[str, Any]:
    reader, writer = os.pipe()
    os.close(reader)
    stack.callback(os.close, writer)
    return {"stderr": writer}


def reader_stopped(stack: ExitStack) -> dict[str, Any]:
    reader, writer = os.pipe()
    # It is full from the start.
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    for end in (reader, writer):
        stack.callback(os.close, end)
    return {"stderr": writer}


def full_disk(stack: ExitStack) -> dict[str, Any]:
    return {"stderr": stack.enter_context(Path("/dev/full").open("wb", buffering=0))}


Silent = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(params=[closed, reader_gone, reader_stopped, full_disk])
def silent(request: pytest.FixtureRequest) -> Iterator[Silent]:
    """Starts processes whose log leads nowhere."""
    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", "dockd", *command], **request.param(stack)
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def test_a_station_brings_all_clips_without_its_log_and_obeys_a_stop(
    site: Site, silent: Silent
) -> None:
    site.fill("CAM-1", {f"{number}.mp4": b"%d" % number for number in range(CLIPS)})
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    station = silent("run", "--config", str(config))
    wait_until(lambda: site.on_camera("CAM-1") == [])
    assert station.poll() is None
    station.terminate()
    assert station.wait(PATIENCE) == 0
    assert len(site.stored()) == CLIPS


def test_a_receiver_takes_all_clips_without_its_log_and_obeys_a_stop(
    site: Site, silent: Silent
) -> None:
    site.fill("CAM-1", {f"{number}.mp4": b"%d" % number for number in range(CLIPS)})
    # For its port, and its configuration.
    site.start_receiver("camden").stop()
    config = site.folder / "receiver.toml"
    config.write_text(config.read_text().replace("port = 0", f"port = {urlsplit(site.url).port}"))
    receiver = silent("receiver", "--config", str(config))
    station = site.start_station(site.configure("camden", "CAM-1"))
    station.wait_for("camera.wiped")
    receiver.terminate()
    assert receiver.wait(PATIENCE) == 0
    assert len(site.stored()) == CLIPS


@pytest.mark.parametrize("silent", [closed, reader_gone, full_disk], indirect=True)
def test_status_says_how_many_lines_were_lost(site: Site, silent: Silent) -> None:
    site.start_receiver("camden")
    config = site.configure("camden", "CAM-1")
    config.write_text(config.read_text().replace('socket = ""', f'socket = "{site.folder}/c.sock"'))
    silent("run", "--config", str(config))

    def status() -> str:
        return subprocess.run(
            [sys.executable, "-m", "dockd", "status", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    wait_until(lambda: "The log can't be written" in status() and "lines were lost" in status())
