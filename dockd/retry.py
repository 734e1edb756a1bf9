"""Trying again: exponential backoff with full jitter, cut short by a wake-up."""

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from dockd.clock import Clock
from dockd.errors import TransientError


class Wakeup:
    """Pauses that a resync or a reload ends early."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._called = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Wait for a number of seconds, or until the next wake-up."""
        await self._clock.wait(self._called, seconds)

    def wake(self) -> None:
        """End every pause that is under way; later ones are not touched."""
        self._called.set()
        self._called = asyncio.Event()


def retrying(
    *,
    first: float,
    cap: float,
    pause: Callable[[float], Awaitable[None]],
    progressed: Callable[[], bool],
    on_wait: Callable[[TransientError, float], None],
) -> AsyncRetrying:
    """Return the attempts of something that may fail for a while, without end.

    A :class:`TransientError` is followed by a random pause of at most ``first`` seconds,
    then twice that, and so on up to ``cap`` ("full jitter", so that stations that failed
    together don't come back together), or by as long as the server asked for, if that is
    more. Any other error ends the attempts and is raised as it is, a cancellation too.

    Args:
        first: the longest first pause, in seconds.
        cap: the longest pause of dockd's own choice, in seconds.
        pause: waits, and may return early; see :class:`Wakeup`.
        progressed: says whether the attempt that just failed got further than those
            before it; the backoff then begins again, so that a link that breaks every
            few minutes is not taken for a server that is down.
        on_wait: is told each error and the pause that follows it.
    """
    jitter = wait_random_exponential(multiplier=first, max=cap)

    def wait(state: RetryCallState) -> float:
        if progressed():
            state.attempt_number = 1
        return max(jitter(state), _error(state).retry_after or 0.0)

    def before_sleep(state: RetryCallState) -> None:
        on_wait(_error(state), state.upcoming_sleep)

    return AsyncRetrying(
        sleep=pause,
        wait=wait,
        retry=retry_if_exception_type(TransientError),
        before_sleep=before_sleep,
    )


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)
    return error
