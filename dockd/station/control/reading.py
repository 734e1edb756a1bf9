"""What the control API reads of the ledger: on a thread of its own.

The station's own connection, its lock and the shared worker threads may be busy or hang;
these don't wait for them (SQLite's WAL lets readers read beside a writer).
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jwt.utils import base64url_decode

from dockd.base.errors import LedgerError
from dockd.base.threads import Pool
from dockd.station.control import troubles
from dockd.station.control.problems import ApiError
from dockd.station.control.requests import ClipQuery
from dockd.station.control.views import ClipStory, ClipView, JournalLine
from dockd.station.ledger.reporting import CameraFacts, ReportedClip, Reporting
from dockd.station.lifecycle import StateName

T = TypeVar("T")

_LISTED = 5
_PATIENCE = 1.0
"""Seconds that the end waits for a reading under way."""


@dataclass(frozen=True)
class Facts:
    """What the status shows of the ledger, at one moment."""

    clips: Mapping[StateName, int]
    cameras: Mapping[str, CameraFacts]
    stuck: Sequence[ClipView]
    oldest_unacknowledged: str | None


class Reader:
    """Reads the ledger beside the station."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = Pool("control", 1)
        self._is_open = True
        self._ledger = Reporting(path)
        self._known: tuple[int, Mapping[str, int], Facts] | None = None

    def open(self) -> None:
        """Read again after ``aclose``; nothing to do if it is open."""
        if not self._is_open:
            self._is_open, self._ledger, self._known = True, Reporting(self._path), None
            self._thread = Pool("control", 1)

    async def aclose(self) -> None:
        """End the connection and the thread; a reading that hangs is waited for only so long."""
        if self._is_open:
            self._is_open = False
            disconnected = self._thread.run(self._ledger.close)
            self._thread.close()
            await asyncio.wait({disconnected}, timeout=_PATIENCE)

    async def run(self, function: Callable[[], T]) -> T:
        """Run a blocking function on the reading thread.

        Raises:
            LedgerError: the reader is closed.
        """
        if not self._is_open:
            raise LedgerError("the daemon is shutting down", hint="retry when it is running again")
        return await self._thread.run(function)

    # On the thread

    def facts(self, dockings: Mapping[str, int]) -> Facts:
        """Read what the status shows.

        Args:
            dockings: the docked cameras' ids, and the number of each docking.

        Raises:
            LedgerError: it can't be read.
        """
        version = self._ledger.version()
        if self._known is None or self._known[:2] != (version, dockings):
            found = self._ledger.facts(dockings)
            facts = Facts(
                clips=found.clips,
                cameras=found.cameras,
                stuck=[_view(clip) for clip in found.stuck],
                oldest_unacknowledged=found.oldest_unacknowledged,
            )
            self._known = (version, dockings, facts)
        return self._known[2]

    def clips(self, query: ClipQuery) -> list[ClipView]:
        """Return the clips that are asked for, the newest first.

        Raises:
            LedgerError: the ledger can't be read.
        """
        found = self._ledger.clips(
            camera=query.camera,
            state=query.state,
            since=query.since,
            before=query.before,
            limit=query.limit,
        )
        return [_view(clip) for clip in found]

    def knows_camera(self, named: str) -> bool:
        """Say whether there ever was a camera of this id or serial.

        Raises:
            LedgerError: the ledger can't be read.
        """
        return self._ledger.knows_camera(named)

    def named(self, name: str) -> list[ClipView]:
        """Return the clips with a name, as :meth:`Reporting.named` does.

        Raises:
            LedgerError: the ledger can't be read.
        """
        return [_view(clip) for clip in self._ledger.named(name)]

    def story(self, name: str) -> ClipStory | None:
        """Return all that is known of a clip, by what :meth:`named` knows it by.

        Raises:
            LedgerError: the ledger can't be read.
            ApiError: several are called that.
        """
        clips = self.named(name)
        if len(clips) > 1:
            listed = ", ".join(f"{one.id} ({one.camera}, {one.path})" for one in clips[:_LISTED])
            more = f", and {len(clips) - _LISTED} more" if len(clips) > _LISTED else ""
            raise ApiError(
                409, "ambiguous", f"clips are called {name}: {listed}{more}", hint="name a number"
            )
        for clip in clips:
            manifest, receipt = self._ledger.statements(clip.id)
            return ClipStory(
                clip=clip,
                journal=[
                    JournalLine(seq=one.seq, at=one.at, event=one.event, detail=dict(one.detail))
                    for one in self._ledger.entries(clip.id)
                ],
                manifest=_payload(manifest),
                receipt=_payload(receipt),
            )
        return None


def _payload(token: str | None) -> dict[str, object] | None:
    """Return what the station's own ledger has of a compact JWS (RFC 7515, section 3.1)."""
    if token is None:
        return None
    payload: dict[str, object] = json.loads(base64url_decode(token.split(".")[1]))
    return payload


def _view(clip: ReportedClip) -> ClipView:
    return ClipView(
        id=clip.id,
        clip_id=clip.clip_id,
        camera=clip.camera,
        path=clip.path,
        kind=clip.kind,
        event=clip.event,
        size=clip.size,
        state=clip.state,
        present=clip.present,
        found=clip.found,
        since=clip.since,
        trouble=troubles.of_clip(
            clip=clip.id,
            camera=clip.camera,
            path=clip.path,
            error=clip.error,
            problem=clip.problem,
            since=clip.since,
        ),
    )
