"""Time, randomness and threads of a receiver can be replaced without patching anything."""

import asyncio
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from dockd.base.randomness import Randomness
from dockd.receiver.app import open_receiver
from tests.receiver.support import Site, Station, ask, create, make_site, patch

STATION = Station()
CLIP = STATION.clip()


class Loop(asyncio.SelectorEventLoop):
    """Makes blocking calls itself, at once."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        called = self.create_future()
        try:
            called.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # as an executor does
            called.set_exception(error)
        return called


class Counted(Randomness):
    """Bytes that are the same in every run."""

    def __init__(self) -> None:
        self._numbers = count()

    def bytes(self, count: int) -> bytes:
        return next(self._numbers).to_bytes(count)


async def store_a_clip(site: Site) -> str:
    """Upload a clip, and return the address of its upload."""
    async with open_receiver(site.config, randomness=Counted()) as receiver:
        transport = httpx.ASGITransport(receiver.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            path = await create(client, CLIP)
            assert (await patch(client, path, CLIP.data)).status_code == 204
            site.receipt((await ask(client, CLIP)).text, CLIP)
            return path


def test_a_run_without_threads_and_with_given_randomness_is_repeatable(tmp_path: Path) -> None:
    before = threading.active_count()
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        site = make_site(tmp_path / name, STATION)
        with asyncio.Runner(loop_factory=Loop) as runner:
            paths.append(runner.run(store_a_clip(site)))
    assert paths[0] == paths[1]
    assert threading.active_count() == before
