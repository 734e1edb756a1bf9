"""Operator commands: resync, and pause and resume uploads or wipes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dockd.base.clock import Clock, timestamp
from dockd.base.concurrency import to_the_end
from dockd.base.errors import LedgerError, NotFoundError, TransitionError
from dockd.station import events
from dockd.station.control.problems import ApiError, unknown
from dockd.station.control.requests import PauseOrder, ResumeOrder, ResyncOrder
from dockd.station.control.snapshot import pause_view
from dockd.station.control.views import PauseView, ResyncAnswer, Trouble
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import IN_SPOOL, State
from dockd.station.model import Clip
from dockd.station.pipeline.docking import Docking
from dockd.station.pipeline.pauses import Pauses
from dockd.station.pipeline.upload import Uploader
from dockd.station.spool import Spool

_RESTORE = "restore it from the server's backup; dockd show has its details"


@dataclass(frozen=True)
class _Scope:
    """The cameras and clips that an order covers."""

    dockings: list[Docking]
    clips: list[Clip]


@dataclass
class _Outcome:
    """An order's outcome, clip by clip."""

    number: int
    at: str
    changed: list[Clip] = field(default_factory=list)
    refused: list[Trouble] = field(default_factory=list)

    def refuse(self, clip: Clip, why: str, hint: str) -> None:
        what = f"clip {clip.id} stays {clip.state.shown}: {why}"
        self._refuse(what, hint, camera=clip.camera.id, clip=clip.id, path=clip.name)

    def refuse_camera(self, camera: str) -> None:
        what = f"camera {camera} is not docked and can't be scanned"
        self._refuse(what, "dock it: docking scans it again", camera=camera)

    def _refuse(
        self, what: str, hint: str, *, camera: str, clip: int | None = None, path: str | None = None
    ) -> None:
        self.refused.append(
            Trouble(
                event=events.order_resync.name,
                needs_person=True,
                what=what,
                hint=hint,
                since=self.at,
                camera=camera,
                clip=clip,
                path=path,
            )
        )


class Orders:
    """Carries out operator commands; each is in the journal before it is carried out."""

    def __init__(  # the parts that orders change
        self,
        ledger: Ledger,
        spool: Spool,
        uploader: Uploader,
        pauses: Pauses,
        dockings: Mapping[str, Docking],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._uploader = uploader
        self._pauses = pauses
        self._dockings = dockings
        self._clock = clock

    # Resync

    async def resync(self, order: ResyncOrder, uid: int) -> ResyncAnswer:
        """Rescan cameras and retry clips now; no check before a wipe is weakened.

        Raises:
            ApiError: the clip or camera does not exist.
            LedgerError: the ledger can't be read or written.
        """
        scope = await to_the_end(self._scope, order)
        number = await to_the_end(
            self._ledger.journal.record,
            events.order_resync.name,
            None,
            order.clip,
            uid=uid,
            named=order.camera,
            failed=order.failed,
            reupload=order.reupload,
        )
        outcome = _Outcome(number, timestamp(self._clock.now()))
        for docking in scope.dockings:
            docking.try_again()  # also before: from here on, none of them is safe to take
        for clip in scope.clips:
            try:
                await self._take_up(clip, order, outcome)
            except (LedgerError, TransitionError, NotFoundError) as error:
                outcome.refuse(clip, error.message, "check its state and order it again")
        if order.camera is not None and not scope.dockings:
            outcome.refuse_camera(order.camera)
        self._uploader.wake()
        for docking in scope.dockings:
            docking.try_again()
        cameras = sorted(docking.media.camera.id for docking in scope.dockings)
        events.order_resync(
            uid=uid,
            camera=order.camera,
            clip=order.clip,
            failed=order.failed,
            reupload=order.reupload,
            cameras=len(cameras),
            clips=len(outcome.changed),
            refused=len(outcome.refused),
        )
        return ResyncAnswer(
            order=number,
            cameras=cameras,
            clips=[clip.id for clip in outcome.changed],
            refused=outcome.refused,
        )

    def _scope(self, order: ResyncOrder) -> _Scope:
        """Return what an order covers: one clip, a camera's clips, or all that are available."""
        docked = list(self._dockings.values())
        if order.clip is not None:
            clip = self._ledger.queries.known_clip(order.clip)
            if clip is None:
                raise unknown(f"there is no clip {order.clip}", hint="dockd clips lists them")
            return _Scope([one for one in docked if one.media.camera == clip.camera], [clip])
        clips = self._ledger.queries.to_resync()
        if order.camera is None:
            ids = {one.media.camera.id for one in docked}
            at_hand = [c for c in clips if c.camera.id in ids or c.state in IN_SPOOL]
            return _Scope(docked, at_hand)
        named = [one for one in docked if order.camera in _names(one)]
        ids = {one.media.camera.id for one in named}
        ids |= self._ledger.queries.cameras_named(order.camera)
        if not ids:
            raise unknown(
                f"there is no camera {order.camera}",
                hint="name it by its serial, its id or its bay: dockd status",
            )
        return _Scope(
            [one for one in docked if one.media.camera.id in ids],
            [clip for clip in clips if clip.camera.id in ids],
        )

    async def _take_up(self, clip: Clip, order: ResyncOrder, outcome: _Outcome) -> None:
        """Retry a clip, as far as the order covers it and the clip still exists."""
        match clip.state:
            case State.UNREADABLE if order.failed or order.clip is not None:
                await self._read_again(clip, outcome)
            case State.REJECTED if order.failed or order.clip is not None:
                await self._send_again(clip, outcome)
            case State.SPOOLED | State.UPLOADING | State.UPLOADED if order.reupload:
                await to_the_end(self._ledger.orders.restart_upload, clip, outcome.number)
                self._uploader.start_anew(clip)
                outcome.changed.append(clip)
            case State.ACKNOWLEDGED | State.WIPING if order.reupload:
                await self._read_again(clip, outcome)
            case State.WIPED if order.reupload:
                outcome.refuse(clip, "it was wiped from its camera after its receipt", _RESTORE)

    async def _read_again(self, clip: Clip, outcome: _Outcome) -> None:
        if not clip.present:
            outcome.refuse(clip, "it is neither on its camera nor in the spool", _RESTORE)
            return
        await to_the_end(self._ledger.orders.read_again, clip, outcome.number)
        outcome.changed.append(clip)

    async def _send_again(self, clip: Clip, outcome: _Outcome) -> None:
        sha256 = str(clip.ciphertext_sha256)
        if self._spool.holds(sha256):
            await to_the_end(self._ledger.orders.send_again, clip, outcome.number)
            outcome.changed.append(clip)
            return
        await self._read_again(clip, outcome)

    # Pause and resume

    async def pause(self, order: PauseOrder, uid: int) -> list[PauseView]:
        """Pause uploads or wipes; returns what is paused.

        Raises:
            ApiError: its end is in the past.
            LedgerError: it can't be stored.
        """
        if order.until is not None and order.until <= timestamp(self._clock.now()):
            raise ApiError(
                422, "order-invalid", f"{order.until} is past", hint="name a future time"
            )
        whats = sorted(set(order.what))
        await self._pauses.pause(whats, reason=order.reason, until=order.until, uid=uid)
        return self.held()

    async def resume(self, order: ResumeOrder, uid: int) -> list[PauseView]:
        """Resume uploads or wipes; returns what is still paused.

        Raises:
            LedgerError: the order can't be stored.
        """
        await self._pauses.resume(sorted(set(order.what)), uid=uid)
        return self.held()

    def held(self) -> list[PauseView]:
        """Return what is paused."""
        return [pause_view(pause) for pause in self._pauses.current()]


def _names(docking: Docking) -> Iterable[str]:
    camera = docking.media.camera
    return (camera.id, camera.serial, docking.media.place)
