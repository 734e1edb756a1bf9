"""udev's events, from a real netlink socket; the test is the udevd that sends them."""

import asyncio
import gc
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from dockd.base.errors import SourceError
from dockd.station.cameras.udev import SystemUdev
from tests.support import open_descriptors

UDEV_GROUP = 2
EVENT = b"ACTION=change\0DEVPATH=/devices/virtual/block/loop0\0SUBSYSTEM=block\0SEQNUM=7\0"


def murmur2(key: bytes) -> int:
    """MurmurHash2 with a seed of 0, by which the kernel filters udev's events."""
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    whole = len(key) - len(key) % 4
    digest = len(key)
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * factor & mask
        word ^= word >> 24
        digest = (digest * factor & mask) ^ (word * factor & mask)
    if key[whole:]:
        digest = (digest ^ int.from_bytes(key[whole:], "little")) * factor & mask
    digest = (digest ^ digest >> 13) * factor & mask
    return digest ^ digest >> 15


def message(subsystem: bytes) -> bytes:
    """An event as systemd's device-monitor.c sends it."""
    header = struct.pack(
        ">8sI12xIIQ", b"libudev", 0xFEEDCAFE, murmur2(subsystem), murmur2(b"disk"), 0
    )
    places = struct.pack("=III", len(header), len(header), len(EVENT))
    return header[:12] + places + header[24:] + EVENT


class Udevd:
    """Sends events to whoever listens for udev's."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
        self._socket.bind((0, 0))

    def send(self, subsystem: bytes = b"block") -> None:
        self._socket.sendto(message(subsystem), (0, UDEV_GROUP))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def udevd() -> Iterator[Udevd]:
    if os.geteuid() != 0:
        pytest.skip("only root may send udev's events")
    udevd = Udevd()
    try:
        udevd.send()
    except OSError as error:
        pytest.skip(f"udev's events can't be sent here: {error}")
    yield udevd
    udevd.close()


async def followed(hints: asyncio.Queue[None], udev: SystemUdev) -> "asyncio.Task[None]":
    task = asyncio.create_task(udev.follow(lambda: hints.put_nowait(None)))
    await asyncio.wait_for(hints.get(), 10)  # it listens
    return task


def test_an_event_is_a_hint_and_those_of_other_subsystems_are_none(udevd: Udevd) -> None:
    async def scenario() -> None:
        hints: asyncio.Queue[None] = asyncio.Queue()
        task = await followed(hints, SystemUdev())
        udevd.send(b"net")
        udevd.send()
        await asyncio.wait_for(hints.get(), 10)
        assert hints.empty()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(scenario())


def test_an_overrun_ends_the_following_and_it_can_be_begun_again(udevd: Udevd) -> None:
    async def scenario() -> None:
        hints: asyncio.Queue[None] = asyncio.Queue()
        udev = SystemUdev(receive_buffer=8192)
        task = await followed(hints, udev)
        for _ in range(1000):  # the event loop is busy here, and reads none of them
            udevd.send()
        with pytest.raises(SourceError, match="udev's events were lost"):
            await asyncio.wait_for(task, 30)
        hints = asyncio.Queue()
        task = await followed(hints, udev)
        udevd.send()
        await asyncio.wait_for(hints.get(), 10)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(scenario())


def test_a_monitor_that_was_overrun_is_closed_at_once(udevd: Udevd) -> None:
    async def scenario() -> None:
        udev = SystemUdev(receive_buffer=8192)
        before = open_descriptors()
        task = await followed(asyncio.Queue(), udev)
        assert open_descriptors() != before
        for _ in range(1000):
            udevd.send()
        await asyncio.wait({task}, timeout=10)
        assert isinstance(task.exception(), SourceError)
        del task
        assert open_descriptors() == before

    gc.collect()
    gc.disable()
    try:
        asyncio.run(scenario())
    finally:
        gc.enable()
