"""What is going on right now: the part of the station's state that no restart needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from dockd.model import Clip

Stage = Literal["ingest", "upload"]


@dataclass
class Work:
    """One clip in one stage."""

    clip: Clip
    stage: Stage
    total: int
    """Bytes that the stage is to get through."""
    done: int = 0

    def at(self, done: int) -> None:
        """Note how far it is; called from any thread."""
        self.done = done


class Activity:
    """The work under way, for whoever shows it."""

    def __init__(self) -> None:
        self._works: dict[tuple[int, Stage], Work] = {}

    @contextmanager
    def working(self, clip: Clip, stage: Stage, total: int) -> Iterator[Work]:
        """Show a clip in a stage for as long as the context lasts."""
        work = Work(clip, stage, total)
        self._works[clip.id, stage] = work
        try:
            yield work
        finally:
            del self._works[clip.id, stage]

    def current(self) -> list[Work]:
        """Return all work under way."""
        return list(self._works.values())
