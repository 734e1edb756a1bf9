"""Wipes a docked camera: one read-write window, checked before and read back after."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from dockd.base.clock import Clock
from dockd.base.concurrency import to_the_end
from dockd.base.errors import (
    DockdError,
    ReceiptRefusedError,
    StatementError,
    TargetDownError,
    TargetError,
    TransientError,
    WipeBusyError,
    WipeDamageError,
    WipeError,
    WipeFailedError,
    WipeRefusedError,
    WipeUnconfirmedError,
)
from dockd.base.threads import in_thread, reading_seconds
from dockd.evidence.keys import VerifyKey
from dockd.evidence.statements import verify_receipt
from dockd.host.files import Files
from dockd.station import events
from dockd.station.cameras import Media
from dockd.station.cameras.tree import Root, advice, exists, walk
from dockd.station.ledger.ledger import Ledger
from dockd.station.lifecycle import State
from dockd.station.model import Camera, Clip, FileStat, display_path
from dockd.station.pipeline import wipe
from dockd.station.pipeline.activity import Activity
from dockd.station.pipeline.confirming import Confirmations, Confirmed
from dockd.station.targets import NotStored, Sealed, Verifying

_ASK_FIRST, _ASK_CAP = 5.0, 60.0
"""Seconds between two requests for a camera's receipts; they grow with the time waited."""
_TURN = 30.0
"""Seconds of requests after which a camera's new footage is ingested first."""
_PUT_OFF_FIRST, _PUT_OFF_CAP = 300.0, 86400.0
"""Seconds until the wipe of a clip is retried after a failure; they double."""
_PATIENCE = 300.0
"""Seconds that the receiver may take to read clips back before that is reported."""
_LONGEST_READING = 3600.0
"""Seconds after which reading clips back needs operator action."""
_SLOW_HINT = "the server is still reading the clips back; check its disk"
_NAMED = 20
"""Paths that are named, at most, where many files are damaged."""


@dataclass(frozen=True)
class Checked:
    """A clip that may be wiped, and the file that was checked for it."""

    clip: Clip
    stat: FileStat


@dataclass
class Sweep:
    """One wipe of one camera: what may be removed, and what must be there afterwards."""

    checked: list[Checked] = field(default_factory=list)
    cut_short: list[Clip] = field(default_factory=list)
    """Clips that an interrupted wipe has left under another name."""
    finished: int = 0
    """How many of those were removed; the next scan records them as wiped."""
    strays: list[Clip] = field(default_factory=list)
    """Clips whose path held another file, or none."""
    failed: list[Clip] = field(default_factory=list)
    """Clips that could not be checked or removed now."""
    gone: int = 0
    """How many of the checked clips were removed, and their absence verified."""
    others: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Size and time of every file, where only dockd changes the medium."""


class HoldsWipes(Protocol):
    """Something that can hold all wipes of a station."""

    @property
    def holds_wipes(self) -> bool:
        """Whether wipes are held."""


class Cleaning:
    """Wipes the cameras of a station by one policy."""

    def __init__(
        self,
        ledger: Ledger,
        files: Files,
        clock: Clock,
        activity: Activity,
        *,
        policy: wipe.Policy,
        receiver_keys: Sequence[VerifyKey],
        confirmations: Confirmations,
        holds: Sequence[HoldsWipes],
    ) -> None:
        """Wipe by a policy.

        Args:
            ledger: has the acknowledged clips, and records what was wiped.
            files: removes files.
            clock: measures pauses and how long failures last.
            activity: takes incidents and counts.
            policy: what happens to acknowledged clips.
            receiver_keys: the keys whose receipts are accepted.
            confirmations: the receipts that the receiver has confirmed in this run.
            holds: what can hold all wipes.
        """
        self._ledger = ledger
        self._files = files
        self._policy = policy
        self._keys = receiver_keys
        self._confirmations = confirmations
        self._holds = holds
        self._clock = clock
        self._counting = activity.counting
        self._activity = activity
        self._harmed: dict[str, int] = {}
        """How many files of a docked camera a wipe has damaged."""
        self._unconfirmed: dict[str, float] = {}
        """Cameras with clips that the receiver has still to confirm, and since when."""
        self._asked: dict[str, dict[int, float]] = {}
        """By camera, when the receiver was last asked for each clip."""
        self._put_off: dict[str, dict[int, tuple[float, float]]] = {}
        """By camera, the clips that could not be wiped: when they are retried, and the pause."""
        self._disowned: set[str] = set()
        self._rehearsed: set[int] = set()

    def _held(self) -> bool:
        return any(one.holds_wipes for one in self._holds)

    async def put_back(self, media: Media, root: Root) -> None:
        """Give files that an interrupted wipe was holding their names again.

        Raises:
            OSError: one of them could not be renamed.
        """
        if media.ours_alone:
            return  # held only where others change files, and writable without a window
        for clip in await in_thread(self._ledger.queries.wiping, media.camera):
            await media.threads.run(wipe.put_back, root, clip, self._files)

    async def cut_short(self, media: Media, root: Root) -> list[Clip]:
        """Return the clips that an interrupted wipe has left under another name."""
        clips = await in_thread(self._ledger.queries.wiping, media.camera)
        return await media.threads.run(_left_aside, root, clips)

    async def released(
        self, camera: Camera, is_hidden: Callable[[Clip], bool] = lambda _: False
    ) -> list[Clip]:
        """Return the clips that may be wiped now.

        None while one of the camera's clips is pending, or wipes are held.

        Args:
            camera: the camera.
            is_hidden: whether a clip can't be wiped, as the last scan could not read it whole.
        """
        if self._policy == "keep" or self._held():
            return []
        if await in_thread(self._ledger.queries.pending, camera):
            return []
        acknowledged = [
            clip
            for clip in await self._acknowledged(camera)
            if not is_hidden(clip) and not self._is_put_off(clip)
        ]
        receipts = [clip for clip in acknowledged if await self._has_receipt(clip)]
        asked = [clip for clip in receipts if not self._is_confirmed(clip)]
        await self._confirm(camera, asked)
        if asked:
            # Read again: some have another receipt now, and some have to be ingested again.
            known = {clip.id for clip in receipts}
            receipts = [clip for clip in await self._acknowledged(camera) if clip.id in known]
        return [clip for clip in receipts if self._is_confirmed(clip)]

    @property
    def leaves_clips(self) -> bool:
        """Whether the policy leaves acknowledged clips on a camera: no wipe will check them."""
        return self._policy in {"keep", "dry-run"}

    def harmed(self, camera: Camera) -> int:
        """Return how many files a wipe of a docked camera has removed or changed in error."""
        return self._harmed.get(camera.id, 0)

    async def left(self, camera: Camera) -> int:
        """Return how many acknowledged clips are still on a camera and should have been wiped."""
        if self.leaves_clips:
            return 0
        return await in_thread(self._ledger.queries.unwiped, camera)

    async def waits(self, camera: Camera) -> bool:
        """Return whether clips are still on a camera because wipes wait.

        They wait while paused, until the receiver has witnessed the journal, and until it has
        confirmed the clips' receipts.
        """
        holds = self._held() or camera.id in self._unconfirmed
        return holds and await self.left(camera) > 0

    def ask_again_in(self, camera: Camera) -> float:
        """Return the seconds until the receiver is asked for a camera's receipts again."""
        since = self._unconfirmed.get(camera.id)
        if since is None:
            return math.inf
        return min(max(self._clock.monotonic() - since, _ASK_FIRST), _ASK_CAP)

    def gave_back(self, camera: Camera) -> bool:
        """Return, once, whether clips have to be ingested again as the server lost them."""
        found = camera.id in self._disowned
        self._disowned.discard(camera.id)
        return found

    def forget(self, camera: Camera) -> None:
        """Drop the state of a camera that is gone."""
        self._unconfirmed.pop(camera.id, None)
        self._asked.pop(camera.id, None)
        self.try_again(camera)
        self._harmed.pop(camera.id, None)

    def try_again(self, camera: Camera) -> None:
        """Retry a camera's clips without waiting for their pauses to end."""
        self._put_off.pop(camera.id, None)

    def _is_put_off(self, clip: Clip) -> bool:
        until, _ = self._put_off.get(clip.camera.id, {}).get(clip.id, (-math.inf, 0.0))
        return self._clock.monotonic() < until

    def _put_off_longer(self, clips: Sequence[Clip]) -> None:
        """Retry clips that could not be wiped later: each try adds entries to the journal."""
        now = self._clock.monotonic()
        for clip in clips:
            waits = self._put_off.setdefault(clip.camera.id, {})
            _, before = waits.get(clip.id, (now, 0.0))
            pause = min(max(2 * before, _PUT_OFF_FIRST), _PUT_OFF_CAP)
            waits[clip.id] = now + pause, pause

    async def check(self, media: Media, root: Root, clips: Sequence[Clip], docking: int) -> Sweep:
        """Check each clip on the camera before any of them is removed.

        Raises:
            OSError, LedgerError: the check was aborted; nothing was removed.
        """
        sweep = Sweep(cut_short=await media.threads.run(_left_aside, root, clips))
        aside = {clip.id for clip in sweep.cut_short}
        for clip in clips:
            if clip.id in aside:
                continue
            async with self._fenced(clip, sweep):
                stat = await media.threads.patiently(
                    partial(wipe.check, root, clip, docking), more=reading_seconds(clip.size)
                )
                sweep.checked.append(Checked(clip, stat))
        if media.ours_alone and sweep.checked:
            sweep.others = await media.threads.run(_inventory, root)
        return sweep

    async def wipe(self, media: Media, sweep: Sweep) -> None:
        """Remove the checked clips in one window; verify that they are gone, and nothing else.

        Raises:
            OSError, SourceError, LedgerError: the wipe was aborted; the ledger has what it began.
        """
        if self._policy == "dry-run":
            self._rehearse(sweep.checked)
            return
        await self._confirm_anew(media.camera, sweep)
        if sweep.checked or sweep.cut_short:
            await self._open_window(media, sweep)
        if not (sweep.gone or sweep.finished):
            self._put_off_longer(sweep.failed)

    async def _confirm_anew(self, camera: Camera, sweep: Sweep) -> None:
        """Confirm receipts again that have aged, as the checks may take hours; drop the others."""
        clips = [one.clip for one in sweep.checked] + sweep.cut_short
        aged = [clip for clip in clips if not self._is_confirmed(clip)]
        if not aged:
            return
        confirmed, waiting = await self._ask_for(camera, aged)
        if waiting is not None:
            self._wait(camera, waiting, clips=len(aged), progressed=confirmed)
        known = await self._acknowledged(camera)
        good = {clip.id: clip for clip in known if self._is_confirmed(clip)}
        sweep.checked = [
            Checked(good[one.clip.id], one.stat) for one in sweep.checked if one.clip.id in good
        ]
        sweep.cut_short = [good[clip.id] for clip in sweep.cut_short if clip.id in good]

    def _may_go(self, clip: Clip) -> bool:
        """Return whether a clip may be removed now: wipes may be held, or its receipt aged."""
        return not self._held() and self._is_confirmed(clip)

    async def _open_window(self, media: Media, sweep: Sweep) -> None:
        if self._held():
            return
        removed = []
        async with media.writable() as root:
            for clip in filter(self._may_go, sweep.cut_short):
                async with self._fenced(clip, sweep):
                    await media.threads.run(wipe.finish, root, clip, self._files)
                    sweep.finished += 1
            going = [one for one in sweep.checked if self._may_go(one.clip)]
            clips = [one.clip for one in going]
            begun = await to_the_end(self._ledger.wipes.begin, clips, self._policy)
            for clip, one in zip(begun, going, strict=True):
                # The next scan undoes in the ledger what was begun and is still there.
                if self._may_go(clip) and await self._remove(
                    media, root, Checked(clip, one.stat), sweep
                ):
                    removed.append(clip)
        async with media.opened() as root:
            gone = [clip for clip in removed if await self._is_gone(media, root, clip, sweep)]
            harmed = await media.threads.run(_harmed, root, sweep) if media.ours_alone else []
        if harmed:
            await self._damaged(media.camera, harmed)
        await to_the_end(self._ledger.wipes.wiped, gone)
        sweep.gone = len(gone)
        self._tell(media.camera, gone)

    async def _acknowledged(self, camera: Camera) -> list[Clip]:
        return await in_thread(self._ledger.queries.to_wipe, camera)

    def _is_confirmed(self, clip: Clip) -> bool:
        return self._confirmations.holds(clip)

    async def _confirm(self, camera: Camera, clips: Sequence[Clip]) -> None:
        """Have the receiver confirm receipts that it has not just issued, as time allows."""
        confirmed, waiting = await self._ask_for(camera, clips)
        if waiting is None:
            self._unconfirmed.pop(camera.id, None)
            if confirmed:
                self._activity.docking(camera).recovered(events.wipe_unconfirmed)
            else:
                self._activity.docking(camera).close(events.wipe_unconfirmed)
        else:
            self._wait(camera, waiting, clips=len(clips), progressed=confirmed)

    def _wait(
        self, camera: Camera, waiting: WipeUnconfirmedError, *, clips: int, progressed: bool
    ) -> None:
        """Note that the receiver has to be asked again; report it if that takes long."""
        now = self._clock.monotonic()
        if progressed:
            self._unconfirmed[camera.id] = now
        since = self._unconfirmed.setdefault(camera.id, now)
        if now - since >= _LONGEST_READING:
            waiting.needs_operator = waiting.needs_operator or not waiting.detail
        if waiting.detail or now - since >= _PATIENCE:
            unconfirmed = events.wipe_unconfirmed(camera=camera.id, clips=clips)
            self._activity.docking(camera).failed(unconfirmed, waiting)

    async def _ask_for(
        self, camera: Camera, clips: Sequence[Clip]
    ) -> tuple[bool, WipeUnconfirmedError | None]:
        """Return whether any clip was confirmed, and why another was not yet, if one wasn't."""
        waiting: WipeUnconfirmedError | None = None
        confirmed = False
        began = self._clock.monotonic()
        asked = self._asked.setdefault(camera.id, {})
        # The longest unasked first, so that slow answers for some clips don't starve the others.
        for clip in sorted(clips, key=lambda clip: asked.get(clip.id, -math.inf)):
            now = self._clock.monotonic()
            if now - began >= _TURN:
                waiting = waiting or WipeUnconfirmedError(hint=_SLOW_HINT)
                break
            asked[clip.id] = now
            try:
                confirmed |= await self._confirm_one(clip)
            except ReceiptRefusedError as error:
                self._put_off_longer([clip])
                await self._refused(clip, error)
            except WipeUnconfirmedError as error:
                waiting = _graver(waiting, error)
            except TargetError as error:
                self._confirmations.heed(error)
                is_passing = isinstance(error, TransientError) and not error.needs_operator
                unconfirmed = WipeUnconfirmedError(
                    error.message, hint=error.hint, needs_operator=not is_passing
                )
                waiting = _graver(waiting, unconfirmed)
                if isinstance(error, TargetDownError):
                    break
        return confirmed, waiting

    async def _confirm_one(self, clip: Clip) -> bool:
        """Ask the receiver for a clip's receipt and keep the answer; return whether it confirms.

        Raises:
            WipeUnconfirmedError: it can't confirm yet; without a detail where it reads back.
            ReceiptRefusedError, TargetError: as :meth:`Confirmations.ask`.
        """
        match await self._confirmations.ask(Sealed.of(clip, Path())):
            case Confirmed() as answer:
                kept = await to_the_end(
                    self._ledger.wipes.confirmed, clip, answer.token, answer.answer
                )
                if kept:
                    self._confirmations.remember(clip, answer.token)
                return kept
            case Verifying():
                raise WipeUnconfirmedError(hint=_SLOW_HINT)
            case NotStored() if clip.state is State.WIPING:
                raise WipeUnconfirmedError(
                    f"the server has lost clip {clip.id}, whose wipe had begun",
                    hint="check what is left of it on the camera before using the camera again",
                    needs_operator=True,
                )
            case NotStored():
                if await to_the_end(self._ledger.wipes.disown, clip):
                    self._disowned.add(clip.camera.id)
                    events.clip_disowned(**clip.about, clip_id=str(clip.clip_id))
                return False

    async def _has_receipt(self, clip: Clip) -> bool:
        """Verify the receipt in the ledger once more, against the keys that are pinned now."""
        if clip.id in self._rehearsed:
            return False
        try:
            # On a thread: two signatures for each of possibly very many clips.
            receipt = await in_thread(
                verify_receipt, clip.receipt or "", self._keys, clip.manifest or ""
            )
            if (receipt.clip_id, receipt.plaintext.sha256) != (
                clip.clip_id,
                clip.plaintext_sha256,
            ):
                raise ReceiptRefusedError("it is for another clip", reason="other-clip")
        except StatementError as error:
            await self._refused(clip, error)
            return False
        return True

    async def _remove(self, media: Media, root: Root, one: Checked, sweep: Sweep) -> bool:
        async with self._fenced(one.clip, sweep):
            removing = partial(
                wipe.remove,
                root,
                one.clip,
                one.stat,
                self._files,
                overwrite=self._policy == "overwrite",
                shared=not media.ours_alone,
            )
            await media.threads.patiently(removing, more=reading_seconds(one.clip.size))
            return True
        return False

    @asynccontextmanager
    async def _fenced(self, clip: Clip, sweep: Sweep) -> AsyncIterator[None]:
        """Contain one clip's failure; a file that is not the clip is a stray."""
        try:
            yield
        except WipeRefusedError as error:
            await self._refused(clip, error)
            await to_the_end(self._ledger.dockings.replaced, clip)
            self._activity.docked_clip(clip).close(
                events.wipe_refused
            )  # logged; what is there now is another clip
            sweep.strays.append(clip)
        except WipeBusyError as error:
            sweep.failed.append(clip)
            self._activity.docked_clip(clip).failed(events.wipe_failed(**clip.about), error)
        except FileNotFoundError:
            sweep.strays.append(clip)
        except OSError as error:
            sweep.failed.append(clip)
            failure = WipeError(
                error.strerror or str(error),
                hint=advice(error, "check the camera; dockd retries"),
            )
            self._activity.docked_clip(clip).failed(events.wipe_failed(**clip.about), failure)

    async def _is_gone(self, media: Media, root: Root, clip: Clip, sweep: Sweep) -> bool:
        try:
            await media.threads.patiently(
                partial(wipe.verify_gone, root, clip), more=reading_seconds(clip.size)
            )
        except WipeFailedError as error:
            sweep.failed.append(clip)
            self._activity.docked_clip(clip).failed(events.wipe_failed(**clip.about), error)
            return False
        self._activity.docked_clip(clip).recovered(events.wipe_failed)
        return True

    async def _damaged(self, camera: Camera, harmed: Sequence[str]) -> None:
        """Report files that the wipe removed or changed in error."""
        error = WipeDamageError(
            f"{len(harmed)} files, first {harmed[0]}",
            hint="take the camera out of service, and have its medium examined",
        )
        await to_the_end(self._ledger.wipes.damaged, camera, harmed[:_NAMED])
        damaged = events.wipe_damaged(camera=camera.id, files=len(harmed), paths=harmed[:_NAMED])
        self._activity.docking(camera).failed(damaged, error)
        self._harmed[camera.id] = len(harmed)

    def _rehearse(self, checked: Sequence[Checked]) -> None:
        for one in checked:
            events.clip_wipe_rehearsed(**one.clip.about, clip_id=str(one.clip.clip_id))
            self._rehearsed.add(one.clip.id)

    async def _refused(self, clip: Clip, error: DockdError) -> None:
        self._activity.docked_clip(clip).failed(events.wipe_refused(**clip.about), error)
        await to_the_end(
            self._ledger.clips.note_problem, clip, events.wipe_refused.name, error.message
        )

    def _tell(self, camera: Camera, gone: Sequence[Clip]) -> None:
        for clip in gone:
            self._activity.docked_clip(clip).recovered(events.wipe_refused)
            events.clip_wiped(**clip.about, clip_id=str(clip.clip_id), policy=self._policy)
        if gone:
            size = sum(clip.size for clip in gone)
            events.camera_wiped(camera=camera.id, clips=len(gone), size=size)
            self._counting.wiped(len(gone))


def _left_aside(root: Root, clips: Sequence[Clip]) -> list[Clip]:
    return [clip for clip in clips if clip.state is State.WIPING and _is_left_aside(root, clip)]


def _is_left_aside(root: Root, clip: Clip) -> bool:
    try:
        return exists(root, wipe.aside(clip))
    except FileNotFoundError:
        return False
    except OSError:
        return True  # what can't be looked up may still be there


def _harmed(root: Root, sweep: Sweep) -> list[str]:
    """Return the files outside a wipe that are missing or changed after it."""
    there = _inventory(root)
    going = {one.clip.path for one in sweep.checked}
    going |= {wipe.aside(clip) for clip in sweep.cut_short}
    return [
        display_path(path)
        for path, what in sorted(sweep.others.items())
        if path not in going and there.get(path) != what
    ]


def _inventory(root: Root) -> dict[bytes, tuple[int, int]]:
    return {
        listed.path: (listed.status.st_size, listed.status.st_mtime_ns) for listed in walk(root, {})
    }


def _graver(known: WipeUnconfirmedError | None, new: WipeUnconfirmedError) -> WipeUnconfirmedError:
    """Return the failure to report: the newest, unless the known one needs operator action."""
    return known if known is not None and known.needs_operator else new
