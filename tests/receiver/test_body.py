"""Bodies that are stopped from outside keep what has arrived."""

import asyncio
from collections.abc import AsyncIterator

from dockd.base.clock import Clock
from dockd.receiver.core.body import BATCH, Body
from dockd.receiver.core.errors import BodyBrokenError


async def pieces(*sizes: int, ending: str = "") -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)
    if ending == "hangs":
        await asyncio.Event().wait()
    if ending == "breaks":
        raise BodyBrokenError


async def sizes(body: Body) -> list[int]:
    batches = []
    while batch := await body.batch():
        batches.append(sum(map(len, batch)))
    return batches


def test_a_body_is_read_in_batches_to_its_end() -> None:
    async def main() -> None:
        body = Body(pieces(BATCH - 1, 2, 3), Clock())
        assert await sizes(body) == [BATCH + 1, 3]
        assert body.complete

    asyncio.run(main())


def test_a_body_that_breaks_keeps_what_has_arrived() -> None:
    async def main() -> None:
        body = Body(pieces(1, 2, ending="breaks"), Clock())
        assert await sizes(body) == [3]
        assert body.broken
        assert not body.complete

    asyncio.run(main())


def test_a_body_that_is_stopped_while_it_is_waited_for_ends_with_what_has_arrived() -> None:
    async def main() -> None:
        body = Body(pieces(1, 2, ending="hangs"), Clock())
        reading = asyncio.create_task(sizes(body))
        await asyncio.sleep(0)
        body.stop()
        assert await reading == [3]
        assert body.stopped
        assert not body.complete

    asyncio.run(main())


def test_a_body_that_is_stopped_between_batches_ends_with_what_has_arrived() -> None:
    async def main() -> None:
        body = Body(pieces(BATCH, 2, ending="hangs"), Clock())
        assert len(await body.batch()) == 1
        body.stop()
        assert await sizes(body) == [2]
        assert not body.complete

    asyncio.run(main())


def test_a_body_whose_last_batch_has_arrived_when_it_is_stopped_is_complete() -> None:
    async def main() -> None:
        body = Body(pieces(BATCH), Clock())
        assert len(await body.batch()) == 1
        body.stop()
        assert await body.batch() == []
        assert body.complete

    asyncio.run(main())
