"""A body as it arrives: collected in batches, and stopped from outside if necessary."""

from collections.abc import AsyncIterator

from dockd.base.clock import Clock, Timeout
from dockd.receiver.core.errors import BodyBrokenError

BATCH = 1 << 20
"""Bytes after which a batch is passed on."""


class Body:
    """The pieces of one body; what arrived before a break or a stop is kept."""

    def __init__(self, pieces: AsyncIterator[bytes], clock: Clock) -> None:
        """Take a body.

        Args:
            pieces: yields it, and raises BodyBrokenError if it stops arriving.
            clock: how waiting is interrupted.
        """
        self._pieces = pieces
        self._clock = clock
        self._waiting: Timeout | None = None
        self.stopped = False
        """Whether it was ended from outside."""
        self.broken = False
        """Whether it stopped arriving."""
        self.complete = False
        """Whether all of it has arrived."""
        self._interrupted = False

    def stop(self) -> None:
        """End it now, with what has arrived."""
        self.stopped = not self.complete and not self.broken
        if self._waiting is not None:
            self._waiting.restart(0)

    async def batch(self) -> list[bytes]:
        """Return the next batch: about ``BATCH`` bytes, fewer at the end, none after it."""
        batch: list[bytes] = []
        size = 0
        try:
            # Once stopped, only what has arrived already is taken, be it the body's end.
            async with self._clock.timeout(0 if self.stopped else None) as self._waiting:
                while size < BATCH and not (self._interrupted or self.broken or self.complete):
                    piece = await anext(self._pieces)
                    batch.append(piece)
                    size += len(piece)
        except StopAsyncIteration:
            self.complete = True
        except BodyBrokenError:
            self.broken = True
        except TimeoutError:
            self._interrupted = True
        finally:
            self._waiting = None
        return batch
