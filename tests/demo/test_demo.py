"""The demo's network, which breaks once, and the demo with clips of awkward sizes."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dockd.demo.proxy import BreakingProxy

MIB = 2**20


def patch(size: int) -> bytes:
    return b"PATCH /files/1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)


def arriving(sent: Sequence[bytes], *, at_least: int) -> tuple[list[bytes], int]:
    """Send each over a connection of its own; returns what arrives, and how many were cut."""

    async def run() -> tuple[list[bytes], int]:
        arrived: list[bytes] = []
        over = asyncio.Semaphore(0)

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.append(await reader.read())
            writer.close()
            over.release()

        upstream = await asyncio.start_server(take, "127.0.0.1", 0)
        port = upstream.sockets[0].getsockname()[1]
        async with BreakingProxy("127.0.0.1", port, at_least=at_least) as proxy:
            for data in sent:
                _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(data)
                writer.write_eof()
                await over.acquire()
                writer.transport.abort()
            upstream.close()
            return arrived, proxy.cuts

    return asyncio.run(run())


@pytest.mark.parametrize("size", [2, 1000, 5 * MIB, 10 * MIB])
def test_half_of_a_long_upload_arrives_and_it_is_cut_once(size: int) -> None:
    request = patch(size)
    head = len(request) - size
    arrived, cuts = arriving([request, request], at_least=size)
    assert arrived == [request[: head + size // 2], request]
    assert cuts == 1


def test_what_is_shorter_passes_whole() -> None:
    request = patch(5 * MIB)
    arrived, cuts = arriving([request], at_least=5 * MIB + 1)
    assert (arrived, cuts) == ([request], 0)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[10 * MIB] + [5 * MIB] * 4, [1], [MIB, MIB]])
def test_the_demo_holds_whatever_passes_first(tmp_path: Path, sizes: Sequence[int]) -> None:
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.mp4").write_bytes(os.urandom(size))
    done = subprocess.run(
        [sys.executable, "-m", "dockd", "demo", "--json", "--from", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["cuts"] == 1
    assert report["resumed_at"] is not None
