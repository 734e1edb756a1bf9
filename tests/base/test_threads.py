"""A camera that hangs in the kernel is told, and keeps nothing that others need."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockd.base import threads
from dockd.base.errors import CameraHangsError
from dockd.base.slots import FairSlots
from dockd.base.threads import Threads, left_behind
from dockd.station.control.views import Status
from tests.station.control.inside import at_work

PATIENCE = 20


class Kernel:
    """Calls that return when a test lets them."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.called = 0

    def call(self) -> str:
        self.called += 1
        assert self.gate.wait(PATIENCE)
        return "answer"


def run(main: Callable[[Kernel], Awaitable[None]]) -> None:
    kernel = Kernel()

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            try:
                await main(kernel)
            finally:
                kernel.gate.set()

    asyncio.run(bounded())


async def returned(camera: Threads) -> None:
    while camera.hanging:  # noqa: ASYNC110  # what is waited for has no event of its own
        await asyncio.sleep(0.01)


def test_a_call_that_does_not_return_is_given_up_and_no_other_is_made_until_it_does() -> None:
    async def main(kernel: Kernel) -> None:
        camera = Threads("bodycam:CAM-1", 0.01)
        with pytest.raises(CameraHangsError, match="bodycam:CAM-1"):
            await camera.run(kernel.call)
        assert camera.hanging == left_behind() == 1
        with pytest.raises(CameraHangsError, match="1 calls"):
            await camera.run(kernel.call)
        assert kernel.called == 1
        kernel.gate.set()
        await returned(camera)
        camera.patience = PATIENCE
        assert await camera.run(kernel.call) == "answer"
        assert left_behind() == 0

    run(main)


def test_a_call_that_gets_on_does_not_hang() -> None:
    async def main(kernel: Kernel) -> None:
        camera = Threads("bodycam:CAM-1", 0.05)
        looks = iter(range(5))

        def alive() -> float:
            if next(looks, None) is None:
                kernel.gate.set()
            return time.monotonic()

        assert await camera.patiently(kernel.call, alive=alive) == "answer"

    run(main)


def test_a_cancellation_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_GRACE", 0.05)

    async def main(kernel: Kernel) -> None:
        camera = Threads("bodycam:CAM-1")
        stopped = threading.Event()
        call = asyncio.create_task(camera.patiently(kernel.call, stop=stopped.set))
        while not kernel.called:  # noqa: ASYNC110  # a thread sets it
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert stopped.is_set()
        assert camera.hanging == 1
        kernel.gate.set()
        await returned(camera)

    run(main)


def test_what_a_call_raises_is_raised() -> None:
    async def main(_: Kernel) -> None:
        with pytest.raises(FileNotFoundError):
            await Threads("bodycam:CAM-1").run(Path("/nowhere").stat)

    run(main)


# Places


def test_the_next_place_goes_to_the_camera_that_has_the_fewest() -> None:
    async def main(_: Kernel) -> None:
        slots, order = FairSlots(4), []
        leave = asyncio.Event()

        async def take(who: str) -> None:
            async with slots.slot(who):
                order.append(who)
                await leave.wait()

        tasks = [asyncio.create_task(take("a")) for _ in range(6)]
        await asyncio.sleep(0)
        # One of the four is kept for somebody else, however many wait.
        assert order == ["a"] * 3
        tasks += [asyncio.create_task(take(who)) for who in ("b", "b", "c")]
        await asyncio.sleep(0)
        assert order == ["a"] * 3 + ["b"]
        tasks[0].cancel()
        tasks[4].cancel()
        await asyncio.wait({tasks[0], tasks[4]})
        await asyncio.sleep(0)
        assert order == ["a"] * 3 + ["b", "c"]
        leave.set()
        await asyncio.wait(tasks)
        assert sorted(order) == ["a"] * 5 + ["b", "b", "c"]

    run(main)


def test_who_is_cancelled_while_a_place_becomes_free_is_only_cancelled() -> None:
    async def main(_: Kernel) -> None:
        slots = FairSlots(1)

        async def take() -> None:
            async with slots.slot("b"):
                raise AssertionError("nobody waits for it any more")

        async with slots.slot("a"):
            waiting = asyncio.create_task(take())
            await asyncio.sleep(0)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with slots.slot("c"):
            pass

    run(main)


@pytest.mark.parametrize("places", [1, 2])
def test_a_camera_alone_gets_every_place_of_few(places: int) -> None:
    async def main(_: Kernel) -> None:
        slots = FairSlots(places)
        async with slots.slot("a"):
            if places == 2:
                async with slots.slot("a"):
                    pass

    run(main)


# A station


def test_a_network_folder_that_hangs_is_told_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.5)
    monkeypatch.setattr(threads, "_GRACE", 0.1)
    monkeypatch.setattr("dockd.station.pipeline.docking._TROUBLE_PAUSE", 0.1)
    gate = threading.Event()
    extra = ""
    for serial, clips in (("HANGS", 12), ("WORKS", 3)):
        (tmp_path / serial).mkdir()
        for number in range(clips):
            (tmp_path / serial / f"{number}.mp4").write_bytes(b"%d" % number)
        extra += f'\n[[folders]]\npath = "{tmp_path / serial}"\nserial = "{serial}"\n'
        extra += 'profile = "generic"\nsettle_seconds = 0\n'
    monkeypatch.setattr("os.readv", hanging_below(tmp_path / "HANGS", gate))

    def in_spool(status: Status) -> int:
        return status.clips.get("spooled", 0) + status.clips.get("uploading", 0)

    def hangs(status: Status) -> bool:
        return any("does not respond" in trouble.what for trouble in status.troubles)

    async def main() -> None:
        # Not one of the threads that everybody shares is needed for what hangs.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
        async with at_work(tmp_path, extra=extra) as inside:
            try:
                await inside.until(lambda status: in_spool(status) == 3)
                status = await inside.until(hangs)
                (trouble,) = [one for one in status.troubles if "does not respond" in one.what]
                assert trouble.camera == "generic:HANGS"
                assert not any(camera.safe_to_take for camera in status.cameras)
            finally:
                gate.set()
            await inside.until(lambda status: in_spool(status) == 15 and not hangs(status))

    asyncio.run(main())


def hanging_below(folder: Path, gate: threading.Event) -> Callable[..., int]:
    readv = os.readv

    def readv_later(fd: int, buffers: list[memoryview]) -> int:
        if Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(folder):
            gate.wait(PATIENCE)
        return readv(fd, buffers)

    return readv_later
