"""What the ledger tells whoever looks at a station."""

import asyncio
from contextlib import closing
from pathlib import Path

from dockd.base.clock import Clock
from dockd.station.control.reading import Reader
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import State
from tests.station.ledger.test_ledger import CAMERA, Story


def test_a_clip_whose_ciphertext_is_lost_needs_a_person_once_its_camera_has_left(
    tmp_path: Path,
) -> None:
    async def read() -> None:
        reader = Reader(tmp_path / "ledger.db")
        docked = await reader.run(lambda: reader.facts({CAMERA.id: story.docking}))
        assert docked.stuck == []
        (clip,) = (await reader.run(lambda: reader.facts({}))).stuck
        assert clip.trouble is not None
        assert clip.trouble.needs_person
        assert "dock its camera" in clip.trouble.hint
        await reader.aclose()

    with closing(Ledger(tmp_path / "ledger.db", Clock())) as ledger:
        story = Story(ledger)
        story.lose(story.bring_to(State.SPOOLED))
        asyncio.run(read())


def test_a_camera_whose_clips_can_not_be_read_is_not_done_to_all_of_them(tmp_path: Path) -> None:
    async def read() -> None:
        reader = Reader(tmp_path / "ledger.db")
        facts = (await reader.run(lambda: reader.facts({CAMERA.id: story.docking}))).cameras
        camera = facts[CAMERA.id]
        assert camera.done == 0
        assert camera.total == camera.stuck > 0
        await reader.aclose()

    with closing(Ledger(tmp_path / "ledger.db", Clock())) as ledger:
        story = Story(ledger)
        story.bring_to(State.UNREADABLE)
        asyncio.run(read())
