"""Delivers spooled clips: what goes first, how many at once, until each has its receipt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import ParamSpec
from weakref import WeakValueDictionary

from dockd import events
from dockd.activity import Activity
from dockd.clock import Clock
from dockd.concurrency import finished, to_the_end
from dockd.config import TargetConfig
from dockd.delivery import Delivery, TargetHealth
from dockd.errors import (
    DockdError,
    LedgerError,
    ReceiptRefusedError,
    RejectedError,
    SpoolDamagedError,
    SpoolError,
    TargetDownError,
    TransientError,
    UnforeseenError,
)
from dockd.keys import VerifyKey
from dockd.ledger import Ledger
from dockd.logs import Repeats, emit, emit_error
from dockd.manifest import Receipt, verify_receipt
from dockd.model import Clip
from dockd.retry import Wakeup, retrying
from dockd.slots import Priority, PrioritySlots
from dockd.spool import Spool
from dockd.targets import NotStored, Received, Sealed, Target, Verifying

P = ParamSpec("P")

_WAITING_PER_SLOT = 8
"""Clips that may be between tries for each one that is being sent."""
_LEDGER_PAUSE = 5.0
_LOOK_AGAIN = 30.0
SILENCE = 120.0
"""Seconds without a sign of life after which the uploading is stuck."""


class Uploader:
    """Brings every spooled clip to the target and its receipt into the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        target: Target,
        clock: Clock,
        activity: Activity,
        *,
        config: TargetConfig,
        receiver_keys: Sequence[VerifyKey],
        settled: Callable[[Clip], None],
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._target = target
        self._clock = clock
        self._activity = activity
        self._config = config
        self._keys = receiver_keys
        self._settled = settled
        self._slots = PrioritySlots(config.concurrency)
        self._most_under_way = config.concurrency * _WAITING_PER_SLOT
        self._under_way: dict[int, Delivery] = {}
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._more = asyncio.Event()
        self._wakeup = Wakeup(clock)
        self._let_go = asyncio.Event()
        self._let_go.set()
        board = activity.board
        self._target_trouble = Repeats(clock, events.TARGET_DOWN, events.TARGET_UP, board)
        self._clip_trouble = Repeats(clock, events.CLIP_RETRYING, events.CLIP_RECOVERED, board)
        self.target = TargetHealth()

    async def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Deliver clips until cancelled.

        Args:
            beat: is called at least every :data:`SILENCE` seconds while the work gets on.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                for clip in await self._next(beat):
                    self._under_way[clip.id] = delivery = Delivery(clip)
                    group.create_task(self._fenced(delivery))
                await self._clock.wait(self._more, _LOOK_AGAIN)
                self._more.clear()

    def look_again(self) -> None:
        """Say that there may be more to deliver."""
        self._more.set()

    def wake(self) -> None:
        """Try everything again now, and ask for receipts again."""
        self._wakeup.wake()
        self._more.set()

    def hold(self) -> None:
        """Send nothing until :meth:`release`; attempts under way break off, and resume then."""
        self._let_go.clear()
        for delivery in self._under_way.values():
            delivery.break_off()

    def release(self) -> None:
        """Go on after :meth:`hold`."""
        self._let_go.set()

    def start_anew(self, clip: Clip) -> None:
        """Begin a clip's upload again, if it is under way: the ledger knows it no longer."""
        delivery = self._under_way.get(clip.id)
        if delivery is not None:
            delivery.url = None
            delivery.break_off()

    async def _next(self, beat: Callable[[], None]) -> list[Clip]:
        """Return the clips to begin with now.

        So many may wait between their tries; event-flagged ones have places of their own,
        so that a long outage's backlog doesn't keep a new one from the front.
        """
        clips = await self._from_ledger(2 * self._most_under_way - len(self._under_way), beat)
        flagged = sum(one.clip.match.event for one in self._under_way.values())
        free = self._most_under_way - (len(self._under_way) - flagged)
        others = [clip for clip in clips if not clip.match.event]
        return [clip for clip in clips if clip.match.event] + others[: max(free, 0)]

    async def _from_ledger(self, limit: int, beat: Callable[[], None]) -> list[Clip]:
        while True:
            beat()
            try:
                return await asyncio.to_thread(
                    self._ledger.to_upload,
                    limit,
                    exclude=frozenset(self._under_way),
                    receipts=self._target.gives_receipts,
                )
            except LedgerError as error:
                self._target_trouble.failure(
                    error=error, retry_in=_LEDGER_PAUSE, target=self._config.url
                )
                await self._wakeup.pause(_LEDGER_PAUSE)

    async def _fenced(self, delivery: Delivery) -> None:
        """Deliver one clip to its end; what goes wrong with it stays with it."""
        clip = delivery.clip
        try:
            await self._conclude(delivery)
        except LedgerError as error:
            await self._give_up_for_now(clip, error, _LEDGER_PAUSE)
        except Exception as error:  # noqa: BLE001  # the boundary of one clip
            cap = self._config.retry_cap_seconds
            await self._give_up_for_now(clip, UnforeseenError.of(error), cap)
        finally:
            del self._under_way[clip.id]
            self._settled(clip)
            self._more.set()

    async def _give_up_for_now(self, clip: Clip, error: DockdError, pause: float) -> None:
        self._activity.counting.retried(error.event)
        self._clip_trouble.failure(str(clip.id), error=error, retry_in=pause, **_about(clip))
        await self._wakeup.pause(pause)

    async def _conclude(self, delivery: Delivery) -> None:
        clip = delivery.clip
        try:
            await self._deliver(delivery)
        except RejectedError as error:
            await to_the_end(self._ledger.reject, clip, error.event, error.message)
            self._clip_trouble.forget(str(clip.id))
            emit_error(events.CLIP_REJECTED, error, **_about(clip))
        except SpoolDamagedError as error:
            await to_the_end(self._ledger.spool_lost, clip, error.event, error.message)
            self._clip_trouble.forget(str(clip.id))
            emit_error(events.SPOOL_DAMAGED, error, **_about(clip))
            await self._spool.remove(str(clip.ciphertext_sha256))

    def _failed(self, clip: Clip, error: TransientError, pause: float) -> None:
        self._activity.counting.retried(error.event)
        if isinstance(error, TargetDownError):
            self.target.reachable = False
            self._target_trouble.failure(error=error, retry_in=pause, target=self._config.url)
        else:
            self._clip_trouble.failure(str(clip.id), error=error, retry_in=pause, **_about(clip))

    def _went_through(self, clip: Clip) -> None:
        self.target.reachable = True
        self.target.last_success = self._clock.now()
        self._clip_trouble.success(str(clip.id), **_about(clip))
        if self._target_trouble.success(target=self._config.url):
            # What waits out a pause now would go after what comes new.
            self._wakeup.wake()

    async def _deliver(self, delivery: Delivery) -> None:
        """Try until there is a receipt, or as good as the target can give.

        Raises:
            RejectedError: the server never will store the clip.
            SpoolDamagedError: the ciphertext is not what was written.
        """
        clip = delivery.clip
        tries = retrying(
            first=self._config.retry_first_seconds,
            cap=self._config.retry_cap_seconds,
            pause=self._wakeup.pause,
            progressed=delivery.progressed,
            on_wait=lambda error, seconds: self._failed(clip, error, seconds),
        )
        async for attempt in tries:
            with attempt:
                await self._attempt_unless_held(delivery)
                self._went_through(clip)

    async def _attempt_unless_held(self, delivery: Delivery) -> None:
        """Make one attempt; one that an order breaks off begins again."""
        while not delivery.settled:
            await self._let_go.wait()
            delivery.attempt = attempt = asyncio.ensure_future(self._attempt_in_turn(delivery))
            await finished(asyncio.wait({attempt}), delivery.break_off)
            if not attempt.cancelled():
                attempt.result()
                return

    async def _attempt_in_turn(self, delivery: Delivery) -> None:
        clip = delivery.clip
        async with self._alone(clip), self._slots.slot(_priority(clip)):
            await self._attempt(delivery)

    @contextlib.asynccontextmanager
    async def _alone(self, clip: Clip) -> AsyncIterator[None]:
        """Keep clips of one content apart, so that the second finds the first's receipt."""
        lock = self._one_at_a_time.setdefault(str(clip.clip_id), asyncio.Lock())
        async with lock:
            yield

    async def _attempt(self, delivery: Delivery) -> None:
        clip = delivery.clip
        sealed = Sealed(
            clip_id=str(clip.clip_id),
            manifest=str(clip.manifest),
            path=self._spool.path(str(clip.ciphertext_sha256)),
            size=int(clip.ciphertext_size or 0),
            sha256=str(clip.ciphertext_sha256),
        )
        await self._ledger_call(self._ledger.begin_upload, clip)
        if await self._has_receipt(delivery, sealed):
            return
        await self._send(delivery, sealed)
        if self._target.gives_receipts and not await self._has_receipt(delivery, sealed):
            await self._look_for_damage(delivery, sealed)

    async def _send(self, delivery: Delivery, sealed: Sealed) -> None:
        clip = delivery.clip

        async def remember(url: str) -> None:
            await self._ledger_call(self._ledger.remember_upload, clip, url)
            delivery.url = url

        began = self._clock.monotonic()
        with self._activity.working(clip, "upload", sealed.size) as work:
            began_at: int | None = None

            def progress(done: int) -> None:
                nonlocal began_at
                # A first number is where the server stands, and so is one that falls back.
                if (began_at is None and done) or (began_at is not None and done < work.done):
                    emit(events.CLIP_UPLOAD_RESUMED, **_about(clip), offset=done)
                if began_at is None:
                    began_at = done
                    work.begin_at(done)
                work.at(done)
                delivery.sent = done

            with _spool_trouble():
                await self._target.upload(sealed, delivery.url, remember, progress)
        await self._ledger_call(self._ledger.uploaded, clip)
        sent = sealed.size - (began_at or 0)
        seconds = round(self._clock.monotonic() - began, 3)
        emit(events.CLIP_UPLOADED, **_about(clip), size=sealed.size, sent=sent, seconds=seconds)
        self._activity.counting.uploaded(sent, seconds)

    async def _has_receipt(self, delivery: Delivery, sealed: Sealed) -> bool:
        """Ask for the receipt until the target has made up its mind; keep it if it holds."""
        if not self._target.gives_receipts:
            return False
        while True:
            match await self._target.receipt(sealed):
                case Received(token):
                    await self._accept(delivery, token)
                    return True
                case Verifying(retry_after):
                    await self._wakeup.pause(retry_after)
                case NotStored():
                    return False

    async def _accept(self, delivery: Delivery, token: str) -> None:
        clip = delivery.clip
        try:
            receipt = verify_receipt(token, self._keys, str(clip.manifest))
        except ReceiptRefusedError as refused:
            if delivery.refused != refused.reason:
                delivery.refused = refused.reason
                emit_error(events.RECEIPT_REFUSED, refused, **_about(clip), reason=refused.reason)
            self._activity.counting.receipt_refused(refused.reason)
            await self._ledger_call(self._ledger.note_problem, clip, refused.event, refused.message)
            raise TransientError(
                f"a receipt was refused ({refused.reason})",
                hint="check target.receiver_keys and the receiver; nothing is wiped meanwhile",
            ) from refused
        await finished(self._keep(delivery, token, receipt))

    async def _keep(self, delivery: Delivery, token: str, receipt: Receipt) -> None:
        """Enter a receipt that holds; whatever is ordered meanwhile, this is not left halfway."""
        clip = delivery.clip
        await self._ledger_call(self._ledger.acknowledge, clip, token)
        delivery.settled = True
        emit(events.CLIP_ACKNOWLEDGED, **_about(clip), receiver=receipt.receiver.id)
        self._activity.counting.acknowledged()
        with contextlib.suppress(SpoolError):  # the next start removes what stays behind
            await self._spool.remove(str(clip.ciphertext_sha256))

    async def _look_for_damage(self, delivery: Delivery, sealed: Sealed) -> None:
        """Find out why a server that was sent everything says that it has nothing.

        Raises:
            SpoolDamagedError: what was sent is not what the manifest says.
            TransientError: it is; so the server lost it, and is sent it again.
        """
        with _spool_trouble():
            await to_the_end(self._spool.check, sealed.sha256)
        await self._ledger_call(self._ledger.remember_upload, delivery.clip, None)
        delivery.url = None
        raise TransientError(
            f"the server no longer has clip {sealed.clip_id}, all of which it was sent",
            hint="look at the receiver's log; the clip is uploaded again",
        )

    async def _ledger_call(
        self, change: Callable[P, None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Change the ledger; one that fails is waited for as the server is."""
        try:
            await to_the_end(change, *args, **kwargs)
        except LedgerError as error:
            raise TransientError(error.message, hint=error.hint) from error


@contextlib.contextmanager
def _spool_trouble() -> Iterator[None]:
    """Make trouble with the spool something to try again, unless a ciphertext is damaged."""
    try:
        yield
    except SpoolDamagedError:
        raise
    except SpoolError as error:
        raise TransientError(error.message, hint=error.hint) from error


def _priority(clip: Clip) -> Priority:
    return (not clip.match.event, clip.match.recorded_at or 0.0, clip.id)


def _about(clip: Clip) -> dict[str, object]:
    return {
        "camera": clip.camera.id,
        "clip": clip.id,
        "path": clip.name,
        "clip_id": clip.clip_id,
    }
