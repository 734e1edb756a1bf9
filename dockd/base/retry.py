"""Trying again: exponential backoff with full jitter, cut short by a wake-up."""

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_random_exponential,
)

from dockd.base.clock import Clock
from dockd.base.errors import (
    DockdError,
    LedgerError,
    ReceiptRefusedError,
    SpoolDamagedError,
    SpoolError,
    TransientError,
)


class Wakeup:
    """Pauses that end early: all of them by an order, some because things got better."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._called = asyncio.Event()
        self._eased = asyncio.Event()

    async def pause(self, seconds: float, *, at_least: float | None = None) -> None:
        """Wait for a number of seconds, or until the next wake-up.

        Args:
            seconds: the whole pause.
            at_least: the part of it after which :meth:`ease` ends it; None: that never does.
        """
        called, eased = self._called, self._eased
        kept = seconds if at_least is None else at_least
        if not await self._clock.wait(called, kept) and kept < seconds:
            await self._clock.wait(eased, seconds - kept)

    def wake(self) -> None:
        """End every pause that is under way; later ones are not touched."""
        self._called.set()
        self._called = asyncio.Event()
        self.ease()

    def ease(self) -> None:
        """End the pauses that allow it, as far as they do; later ones are not touched."""
        self._eased.set()
        self._eased = asyncio.Event()


def retrying(
    *,
    first: float,
    cap: float,
    pause: Callable[[float], Awaitable[None]],
    progressed: Callable[[], bool],
    on_wait: Callable[[DockdError, float], None],
) -> AsyncRetrying:
    """Return the attempts of a delivery, which may fail for a while, without end.

    What may pass (trouble with the server or with this station's own disk, a receipt that
    releases nothing) is followed by a random pause of at most ``first`` seconds, then twice
    that, and so on up to ``cap`` ("full jitter", so that stations that failed together don't
    come back together), or by as long as the server asked for, if that is more. Any other
    error ends the attempts and is raised as it is, a cancellation too.

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
        error = _error(state)
        wanted = error.retry_after if isinstance(error, TransientError) else None
        return max(jitter(state), wanted or 0.0)

    def before_sleep(state: RetryCallState) -> None:
        on_wait(_error(state), state.upcoming_sleep)

    return AsyncRetrying(
        sleep=pause,
        wait=wait,
        retry=retry_if_exception(_may_pass),
        before_sleep=before_sleep,
    )


def _may_pass(error: BaseException) -> bool:
    passing = (TransientError, ReceiptRefusedError, SpoolError, LedgerError)
    return isinstance(error, passing) and not isinstance(error, SpoolDamagedError)


def _error(state: RetryCallState) -> DockdError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, DockdError)
    return error
