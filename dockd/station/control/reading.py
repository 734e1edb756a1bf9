"""What the control API reads of the ledger: a connection and a thread of its own.

The station's own connection, its lock and the shared worker threads may be busy or hang;
these don't wait for them (SQLite's WAL lets readers read beside a writer).
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jwt.utils import base64url_decode

from dockd.base.errors import LedgerError
from dockd.base.threads import Pool
from dockd.station.control import troubles
from dockd.station.control.problems import ApiError
from dockd.station.control.requests import ClipQuery
from dockd.station.control.views import ClipStory, ClipView, JournalLine
from dockd.station.ledger.questions import listed, shown_counts
from dockd.station.lifecycle import DELIVERED, IN_SPOOL, PENDING, STUCK, State, StateName
from dockd.station.model import display_path

T = TypeVar("T")

_AT_HAND = "present AND camera IN (SELECT value FROM json_each(:docked))"
"""A camera that has left may be emptied elsewhere: what is on it is not waited for."""
_MOST_STUCK = 1000
_MOST_NAMED = 100
_LISTED = 5
_BEGINNING = re.compile(r"[0-9a-f]{6,63}")
"""As much of a clip id as names a clip."""
_PATIENCE = 1.0
"""Seconds that the end waits for a reading under way."""


@dataclass(frozen=True)
class CameraFacts:
    """What the ledger knows of a docked camera."""

    clips: Mapping[StateName, int] = field(default_factory=dict)
    """Those that are on it, by state."""
    total: int = 0
    """Bytes that this docking has to bring to the server."""
    done: int = 0
    """Of these, bytes of clips that are there."""
    stuck: int = 0
    """Of these, bytes of clips that can't be read, or were rejected."""


@dataclass(frozen=True)
class Facts:
    """What the ledger knows, at one moment."""

    clips: Mapping[StateName, int]
    cameras: Mapping[str, CameraFacts]
    stuck: Sequence[ClipView]
    """Unreadable clips that are on a docked camera, every rejected one, and those whose
    ciphertext was damaged and whose camera has left."""
    oldest_unacknowledged: str | None


class Reader:
    """Reads the ledger beside the station."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = Pool("control", 1)
        self._is_open = True
        self._db: sqlite3.Connection | None = None
        self._known: tuple[int, Mapping[str, int], Facts] | None = None

    def open(self) -> None:
        """Read again after ``aclose``; nothing to do if it is open."""
        if not self._is_open:
            self._is_open, self._db, self._known = True, None, None
            self._thread = Pool("control", 1)

    async def aclose(self) -> None:
        """End the connection and the thread; a reading that hangs is waited for only so long."""
        if self._is_open:
            self._is_open = False
            disconnected = self._thread.run(self._disconnect)
            self._thread.close()
            await asyncio.wait({disconnected}, timeout=_PATIENCE)

    async def run(self, function: Callable[[], T]) -> T:
        """Run a blocking function on the reading thread.

        Raises:
            LedgerError: the reader is closed.
        """
        if not self._is_open:
            raise LedgerError("the daemon is about to end", hint="ask again when it is back")
        return await self._thread.run(function)

    # On the thread

    def facts(self, dockings: Mapping[str, int]) -> Facts:
        """Read what the status shows.

        Args:
            dockings: the docked cameras' ids, and the number of each docking.

        Raises:
            LedgerError: it can't be read.
        """
        ((version,),) = self._rows("PRAGMA data_version")
        if self._known is None or self._known[:2] != (version, dockings):
            self._known = (version, dockings, self._facts(dockings))
        return self._known[2]

    def _facts(self, dockings: Mapping[str, int]) -> Facts:
        counts = self._rows("SELECT state, count(*) FROM clips GROUP BY state")
        docked = {"docked": json.dumps(list(dockings))}
        (oldest,) = self._rows(
            f"SELECT min(found) FROM clips WHERE state IN {listed(IN_SPOOL)}"  # noqa: S608
            f" OR state IN ('found', 'ingesting', 'unreadable') AND {_AT_HAND}",
            docked,
        )
        stuck = self._clips(
            f"state = 'rejected' OR state = 'unreadable' AND {_AT_HAND}"
            f" OR state = 'found' AND error = 'spool.damaged' AND NOT ({_AT_HAND})",
            docked,
            _MOST_STUCK,
        )
        return Facts(
            clips=shown_counts(counts),
            cameras={camera: self._camera(camera, n) for camera, n in dockings.items()},
            stuck=stuck,
            oldest_unacknowledged=oldest[0],
        )

    def _camera(self, camera: str, docking: int) -> CameraFacts:
        rows = self._rows(
            "SELECT state, present AND state != 'wiped' AS live, docking = :docking AS this,"
            " count(*) AS clips, sum(size) AS bytes FROM clips WHERE camera = :camera"
            " GROUP BY 1, 2, 3",
            {"camera": camera, "docking": docking},
        )
        clips: dict[StateName, int] = {}
        total = done = stuck = 0
        for row in rows:
            state = State(row["state"])
            if row["live"]:
                clips[state.shown] = clips.get(state.shown, 0) + row["clips"]
            if row["live"] and state in PENDING | STUCK:
                total += row["bytes"]
                stuck += 0 if state in PENDING else row["bytes"]
            elif row["this"] and state in DELIVERED:
                total += row["bytes"]
                done += row["bytes"]
        return CameraFacts(clips, total, done, stuck)

    def clips(self, query: ClipQuery) -> list[ClipView]:
        """Return the clips that are asked for, the newest first.

        Raises:
            LedgerError: the ledger can't be read.
        """
        conditions = ["1"]
        if query.camera is not None:
            conditions.append("(clips.camera = :camera OR cameras.serial = :camera)")
        if query.state is not None:
            states = [state for state in State if state.shown == query.state]
            conditions.append(f"state IN {listed(states)}")
        if query.since is not None:
            conditions.append("found >= :since")
        if query.before is not None:
            conditions.append("clips.id < :before")
        return self._clips(" AND ".join(conditions), query.model_dump(), query.limit)

    def knows_camera(self, named: str) -> bool:
        """Say whether there ever was a camera of this id or serial.

        Raises:
            LedgerError: the ledger can't be read.
        """
        where = "id = :named OR serial = :named"
        return bool(self._rows(f"SELECT 1 FROM cameras WHERE {where}", {"named": named}))  # noqa: S608

    def named(self, name: str) -> list[ClipView]:
        """Return the clips that are called so, the newest first; of one clip id only the newest.

        By number or clip id, else by the beginning of a clip id, else by path or file name.

        Raises:
            LedgerError: the ledger can't be read.
        """
        number = int(name) if name.isdecimal() and len(name) < 19 else -1
        values = {"number": number, "name": name, "end": f"/{name}", "length": len(name) + 1}
        ways = ["clips.id = :number OR clip_id = :name"]
        if _BEGINNING.fullmatch(name):
            ways.append("substr(clip_id, 1, :length - 1) = :name")
        ways.append("shown(path) = :name OR substr(shown(path), -:length) = :end")
        for where in ways:
            found = self._clips(where, values, _MOST_NAMED)
            if found:
                return list({clip.clip_id or clip.id: clip for clip in found[::-1]}.values())[::-1]
        return []

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
            ((manifest, receipt),) = self._rows(
                "SELECT manifest, receipt FROM clips WHERE id = :id", {"id": clip.id}
            )
            lines = self._rows(
                "SELECT seq, at, event, detail FROM journal WHERE clip = :id ORDER BY seq",
                {"id": clip.id},
            )
            return ClipStory(
                clip=clip,
                journal=[
                    JournalLine(
                        seq=line["seq"],
                        at=line["at"],
                        event=line["event"],
                        detail=json.loads(line["detail"]),
                    )
                    for line in lines
                ],
                manifest=_payload(manifest),
                receipt=_payload(receipt),
            )
        return None

    def _clips(self, where: str, values: Mapping[str, object], limit: int) -> list[ClipView]:
        rows = self._rows(
            "SELECT clips.id, clip_id, camera, path, kind, event, size, state, present, found,"  # noqa: S608
            " since, error, problem FROM clips JOIN cameras ON cameras.id = clips.camera"
            f" WHERE {where} ORDER BY clips.id DESC LIMIT {limit:d}",
            values,
        )
        return [_clip(row) for row in rows]

    def _rows(self, statement: str, values: Mapping[str, object] | None = None) -> list[Any]:
        try:
            if self._db is None:
                self._db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
                self._db.row_factory = sqlite3.Row
                self._db.create_function("shown", 1, display_path, deterministic=True)
            return self._db.execute(statement, values or {}).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(
                str(error), hint="check the disk that holds the ledger; dockd tries again"
            ) from error

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()


def _payload(token: str | None) -> dict[str, object] | None:
    """Return what the station's own ledger has of a compact JWS (RFC 7515, section 3.1)."""
    if token is None:
        return None
    payload: dict[str, object] = json.loads(base64url_decode(token.split(".")[1]))
    return payload


def _clip(row: sqlite3.Row) -> ClipView:
    path = display_path(row["path"])
    return ClipView(
        id=row["id"],
        clip_id=row["clip_id"],
        camera=row["camera"],
        path=path,
        kind=row["kind"],
        event=bool(row["event"]),
        size=row["size"],
        state=State(row["state"]).shown,
        present=bool(row["present"]) and row["state"] != State.WIPED,
        found=row["found"],
        since=row["since"],
        trouble=troubles.of_clip(
            clip=row["id"],
            camera=row["camera"],
            path=path,
            error=row["error"],
            problem=row["problem"],
            since=row["since"],
        ),
    )
