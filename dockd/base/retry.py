"""Retrying: exponential backoff with full jitter, shortened by a wake-up."""

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_exponential,
)

from dockd.base.clock import Clock
from dockd.base.errors import (
    DockdError,
    LedgerError,
    ReceiptRefusedError,
    SpoolDamagedError,
    SpoolError,
    TransientError,
    TransitionError,
)
from dockd.base.randomness import Randomness


class Wakeup:
    """Pauses that end early: all of them on command, some because conditions improved."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._called = asyncio.Event()
        self._eased = asyncio.Event()

    async def pause(self, seconds: float, *, at_least: float | None = None) -> None:
        """Wait for a number of seconds, or until the next wake-up.

        Args:
            seconds: the whole pause.
            at_least: the part of it after which :meth:`ease` ends it; None: it never does.
        """
        called, eased = self._called, self._eased
        kept = seconds if at_least is None else at_least
        if not await self._clock.wait(called, kept) and kept < seconds:
            await self._clock.wait(eased, seconds - kept)

    def wake(self) -> None:
        """End every pause under way; later ones are unaffected."""
        self._called.set()
        self._called = asyncio.Event()
        self.ease()

    def ease(self) -> None:
        """Shorten backoffs that may be shortened; later ones are unaffected."""
        self._eased.set()
        self._eased = asyncio.Event()


def retrying(
    *,
    first: float,
    cap: float,
    randomness: Randomness,
    pause: Callable[[float], Awaitable[None]],
    progressed: Callable[[], bool],
    on_wait: Callable[[DockdError, float], None],
) -> AsyncRetrying:
    """Return the attempts of a delivery, retried indefinitely.

    A transient error (of the server or of this station's own disk, or an invalid receipt) is
    followed by a random pause of at most ``first`` seconds, then twice that, and so on up to
    ``cap`` ("full jitter", so that stations that failed together don't come back together), or
    by as long as the server asked for, if that is more. Any other error ends the attempts and
    is raised as it is, a cancellation too.

    Args:
        first: the longest first pause, in seconds.
        cap: the longest pause of dockd's own choice, in seconds.
        randomness: makes the jitter.
        pause: waits, and may return early; see :class:`Wakeup`.
        progressed: whether the attempt that just failed got further than those before it;
            the backoff then begins again, so that a link that breaks every few minutes does
            not count as a server that is down.
        on_wait: called with each error and the pause that follows it.
    """
    window = wait_exponential(multiplier=first, max=cap)

    def wait(state: RetryCallState) -> float:
        if progressed():
            state.attempt_number = 1
        error = _error(state)
        wanted = error.retry_after if isinstance(error, TransientError) else None
        return max(randomness.uniform(0, window(state)), wanted or 0.0)

    def before_sleep(state: RetryCallState) -> None:
        on_wait(_error(state), state.upcoming_sleep)

    return AsyncRetrying(
        sleep=pause,
        wait=wait,
        retry=retry_if_exception(_is_transient),
        before_sleep=before_sleep,
    )


def _is_transient(error: BaseException) -> bool:
    passing = (TransientError, ReceiptRefusedError, SpoolError, LedgerError, TransitionError)
    return isinstance(error, passing) and not isinstance(error, SpoolDamagedError)


def _error(state: RetryCallState) -> DockdError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, DockdError)
    return error
