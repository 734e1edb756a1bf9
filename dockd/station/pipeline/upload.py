"""Schedules deliveries: their order, how many run at once, and retries."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from weakref import WeakValueDictionary

from dockd.base.clock import Clock
from dockd.base.concurrency import finished
from dockd.base.errors import (
    DockdError,
    LedgerError,
    ReceiptRefusedError,
    RejectedError,
    SpoolDamagedError,
    SpoolError,
    TargetDownError,
    TransientError,
    TransitionError,
    UnforeseenError,
)
from dockd.base.incidents import Scope
from dockd.base.randomness import Randomness
from dockd.base.retry import Wakeup, retrying
from dockd.base.slots import Priority, PrioritySlots
from dockd.base.threads import in_thread
from dockd.station import events
from dockd.station.config import TargetConfig
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Clip
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.confirming import Confirmations
from dockd.station.pipeline.delivery import Delivery, Means
from dockd.station.reports import ClipConcluded, Reports
from dockd.station.spool import Spool
from dockd.station.targets import Target

_WAITING_PER_SLOT = 8
"""Clips that may wait for a retry for each one that is being sent."""
_STUCK = 3
"""Consecutive failures of its own after which a clip no longer counts against that limit."""
_MOST_STUCK = 1000
_OWN_DISK_PAUSE = 5.0
"""Seconds until a failed access to the ledger or the spool is retried."""
_LOOK_AGAIN = 30.0
SILENCE = 120.0
"""Seconds without a heartbeat after which the uploader counts as hung."""


class Uploader:
    """Delivers every spooled clip to the target, and its receipt to the ledger."""

    def __init__(  # noqa: PLR0913  # each is a part of the station
        self,
        ledger: Ledger,
        spool: Spool,
        target: Target,
        clock: Clock,
        activity: Activity,
        *,
        config: TargetConfig,
        confirmations: Confirmations,
        reports: Reports,
        randomness: Randomness | None = None,
    ) -> None:
        self._randomness = randomness or Randomness()
        self._means = Means(ledger, spool, target, clock, activity, confirmations)
        self._clock = clock
        self._counting = activity.counting
        self._config = config
        self._reports = reports
        self._slots = PrioritySlots(config.concurrency)
        self._most_under_way = config.concurrency * _WAITING_PER_SLOT
        self._under_way: dict[int, Delivery] = {}
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._more = asyncio.Event()
        self._wakeup = Wakeup(clock)
        self._let_go = asyncio.Event()
        self._let_go.set()
        self._incidents = activity.incidents.scope("uploader")
        self.target = target.health

    async def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Deliver clips until cancelled.

        Args:
            beat: called at least every :data:`SILENCE` seconds while there is progress.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                for clip in await self._next(beat):
                    self._under_way[clip.id] = delivery = Delivery(clip, self._means)
                    group.create_task(self._fenced(delivery))
                await self._clock.wait(self._more, _LOOK_AGAIN)
                self._more.clear()

    def look_again(self) -> None:
        """Signal that there may be more to deliver."""
        self._more.set()

    def wake(self) -> None:
        """Retry everything now, and ask for receipts again."""
        self._wakeup.wake()
        self._more.set()

    def hold(self) -> None:
        """Send nothing until :meth:`release`; current attempts are cancelled, and resume then."""
        self._let_go.clear()
        for delivery in self._under_way.values():
            delivery.break_off()

    def release(self) -> None:
        """Resume after :meth:`hold`."""
        self._let_go.set()

    def start_anew(self, clip: Clip) -> None:
        """Restart a clip's delivery, if it is under way: the ledger has dropped its upload."""
        delivery = self._under_way.get(clip.id)
        if delivery is not None:
            delivery.start_anew()

    async def _next(self, beat: Callable[[], None]) -> list[Clip]:
        """Return the clips whose delivery begins now.

        The number of clips between retries is limited; event-flagged ones have a limit of their
        own, so that the backlog of a long outage does not delay a new one.
        """
        # Clips that keep failing for reasons of their own must not delay others.
        stuck = min(sum(one.failures >= _STUCK for one in self._under_way.values()), _MOST_STUCK)
        under_way = len(self._under_way) - stuck
        clips = await self._from_ledger(2 * self._most_under_way - under_way, beat)
        flagged = sum(one.clip.match.event for one in self._under_way.values())
        free = self._most_under_way - max(under_way - flagged, 0)
        others = [clip for clip in clips if not clip.match.event]
        return [clip for clip in clips if clip.match.event] + others[: max(free, 0)]

    async def _from_ledger(self, limit: int, beat: Callable[[], None]) -> list[Clip]:
        while True:
            beat()
            try:
                clips = await in_thread(
                    self._means.ledger.queries.to_upload,
                    limit,
                    exclude=frozenset(self._under_way),
                    receipts=self._means.target.gives_receipts,
                )
            except LedgerError as error:
                self._incidents.failed(events.ledger_failed(), error, retry_in=_OWN_DISK_PAUSE)
                await self._wakeup.pause(_OWN_DISK_PAUSE)
            else:
                self._incidents.recovered(events.ledger_failed)
                return clips

    async def _fenced(self, delivery: Delivery) -> None:
        """Deliver one clip, containing its errors."""
        try:
            await self._conclude(delivery)
        except (LedgerError, TransitionError, SpoolError) as error:
            await self._give_up_for_now(delivery, error, _OWN_DISK_PAUSE)
        except Exception as error:  # noqa: BLE001  # the boundary of one clip
            cap = self._config.retry_cap_seconds
            await self._give_up_for_now(delivery, UnforeseenError.of(error), cap)
        finally:
            del self._under_way[delivery.clip.id]
            self._reports.put(ClipConcluded(delivery.clip.camera))
            self._more.set()

    async def _give_up_for_now(self, delivery: Delivery, error: DockdError, pause: float) -> None:
        self._counting.retried(error.event)
        retrying = events.clip_retrying(**delivery.about)
        self._of(delivery).failed(retrying, error, retry_in=pause)
        await self._wakeup.pause(pause)

    async def _conclude(self, delivery: Delivery) -> None:
        try:
            await self._deliver(delivery)
        except RejectedError as error:
            self._is_up()
            await delivery.reject(error)
            self._of(delivery).close()
        except SpoolDamagedError as error:
            await delivery.give_up_ciphertext(error)
            self._of(delivery).close()

    def _of(self, delivery: Delivery) -> Scope:
        return self._incidents.within("clip", str(delivery.clip.id))

    async def _deliver(self, delivery: Delivery) -> None:
        """Retry until there is a receipt, or the upload is complete if the target gives none.

        Raises:
            RejectedError: permanently rejected by the server.
            SpoolDamagedError: the ciphertext is missing or damaged.
        """
        tries = retrying(
            first=self._config.retry_first_seconds,
            cap=self._config.retry_cap_seconds,
            randomness=self._randomness,
            pause=lambda seconds: self._wakeup.pause(seconds, at_least=delivery.at_least),
            progressed=delivery.progressed,
            on_wait=lambda error, seconds: self._failed(delivery, error, seconds),
        )
        async for attempt in tries:
            with attempt:
                while (ask_again_in := await self._attempt_unless_held(delivery)) is not None:
                    await self._wakeup.pause(ask_again_in)
                self._went_through(delivery)

    def _failed(self, delivery: Delivery, error: DockdError, pause: float) -> None:
        """Report a failed attempt as the target's failure, or as this clip's own."""
        self._means.confirmations.heed(error)
        if isinstance(error, TargetDownError) and self._goes_through_for_others(delivery):
            error = TransientError(
                error.detail,
                hint=error.hint,
                retry_after=error.retry_after,
                needs_operator=error.needs_operator,
            )
        self._counting.retried(error.event)
        incidents = self._of(delivery)
        delivery.at_least = None
        match error:
            case TargetDownError():
                # Clips that wait out their pause when it is up again would go after new ones.
                delivery.at_least = error.retry_after or 0.0
                self.target.down(error, retry_in=pause)
            case ReceiptRefusedError():
                delivery.failures += 1
                # The target has taken the clip, and answers.
                self._is_up()
                incidents.close(events.clip_retrying)
                refused = events.receipt_refused(**delivery.about, reason=error.reason)
                incidents.failed(refused, error, retry_in=pause)
            case _:
                delivery.failures += 1
                incidents.failed(events.clip_retrying(**delivery.about), error, retry_in=pause)

    def _goes_through_for_others(self, delivery: Delivery) -> bool:
        """Return whether other clips were delivered since this one began to fail."""
        if delivery.failing_since is None:
            delivery.failing_since = self.target.successes
        return self.target.successes > delivery.failing_since

    def _is_up(self) -> None:
        if self.target.up():
            self._wakeup.ease()

    def _went_through(self, delivery: Delivery) -> None:
        self.target.went_through()
        self._of(delivery).recovered(events.clip_retrying)
        self._of(delivery).recovered(events.receipt_refused)
        self._is_up()

    async def _attempt_unless_held(self, delivery: Delivery) -> float | None:
        """Make one attempt; it begins again if a pause or a resync cancels it."""
        while not delivery.settled:
            await self._let_go.wait()
            delivery.under_way = attempt = asyncio.ensure_future(self._attempt_in_turn(delivery))
            await finished(asyncio.wait({attempt}), delivery.break_off)
            if not attempt.cancelled():
                return attempt.result()
        return None

    async def _attempt_in_turn(self, delivery: Delivery) -> float | None:
        clip = delivery.clip
        async with self._alone(clip), self._slots.slot(_priority(clip)):
            return await delivery.attempt()

    @contextlib.asynccontextmanager
    async def _alone(self, clip: Clip) -> AsyncIterator[None]:
        """Deliver clips of equal content in turn, so that the second finds the first's receipt."""
        lock = self._one_at_a_time.setdefault(str(clip.clip_id), asyncio.Lock())
        async with lock:
            yield


def _priority(clip: Clip) -> Priority:
    return (not clip.match.event, clip.match.recorded_at or 0.0, clip.id)
