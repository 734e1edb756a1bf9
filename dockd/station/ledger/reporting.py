"""Reports from the ledger, on a separate read-only connection for one thread.

The station's own connection and its lock may be busy or hang; this one doesn't wait for them
(SQLite's WAL lets readers read beside a writer).
"""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockd.base.errors import LedgerError
from dockd.station.ledger.queries import listed, shown_counts
from dockd.station.lifecycle import DELIVERED, IN_SPOOL, PENDING, STUCK, State, StateName
from dockd.station.model import Kind, display_path

_AT_HAND = "present AND camera IN (SELECT value FROM json_each(:docked))"
"""Clips on a docked camera: one that was undocked may be emptied at another station."""
_MOST_STUCK = 1000
_MOST_NAMED = 100
_BEGINNING = re.compile(r"[0-9a-f]{6,63}")
"""A prefix of a clip id that is long enough to name a clip."""


@dataclass(frozen=True)
class ReportedClip:
    """A clip as it is reported."""

    id: int
    clip_id: str | None
    camera: str
    path: str
    """As text to be shown."""
    kind: Kind
    event: bool
    size: int
    state: StateName
    present: bool
    found: str
    since: str
    error: str | None
    problem: str | None


@dataclass(frozen=True)
class ReportedEntry:
    """A journal entry about a clip."""

    seq: int
    at: str
    event: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class CameraFacts:
    """The ledger's facts about a docked camera."""

    clips: Mapping[StateName, int] = field(default_factory=dict)
    """The number of clips that are on it, by state."""
    total: int = 0
    """Bytes that this docking has to deliver."""
    done: int = 0
    """Of these, bytes of delivered clips."""
    stuck: int = 0
    """Of these, bytes of unreadable or rejected clips."""


@dataclass(frozen=True)
class LedgerFacts:
    """The ledger's facts at one moment."""

    clips: Mapping[StateName, int]
    cameras: Mapping[str, CameraFacts]
    stuck: Sequence[ReportedClip]
    """Unreadable clips on docked cameras, all rejected clips, and clips whose ciphertext was
    damaged and whose camera is undocked."""
    oldest_unacknowledged: str | None


class Reporting:
    """Reads the ledger beside the station; every method blocks, and raises LedgerError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def version(self) -> int:
        """Return a number that changes with the ledger."""
        ((version,),) = self._rows("PRAGMA data_version")
        return int(version)

    def facts(self, dockings: Mapping[str, int]) -> LedgerFacts:
        """Return what the status shows.

        Args:
            dockings: the docked cameras' ids, and the number of each docking.
        """
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
        return LedgerFacts(
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

    def clips(
        self,
        *,
        camera: str | None,
        state: StateName | None,
        since: str | None,
        before: int | None,
        limit: int,
    ) -> list[ReportedClip]:
        """Return clips, the newest first.

        Args:
            camera: only those of a camera with this id or serial.
            state: only those that are shown in this state.
            since: only those found at this moment or later.
            before: only those with a smaller number.
            limit: how many, at most.
        """
        conditions = ["1"]
        if camera is not None:
            conditions.append("(clips.camera = :camera OR cameras.serial = :camera)")
        if state is not None:
            states = [one for one in State if one.shown == state]
            conditions.append(f"state IN {listed(states)}")
        if since is not None:
            conditions.append("found >= :since")
        if before is not None:
            conditions.append("clips.id < :before")
        values = {"camera": camera, "since": since, "before": before}
        return self._clips(" AND ".join(conditions), values, limit)

    def knows_camera(self, named: str) -> bool:
        """Return whether the ledger has a camera with this id or serial."""
        where = "id = :named OR serial = :named"
        return bool(self._rows(f"SELECT 1 FROM cameras WHERE {where}", {"named": named}))  # noqa: S608

    def named(self, name: str) -> list[ReportedClip]:
        """Return the clips with a name, newest first; of those with one clip id, only the newest.

        A name is a number or clip id, else a prefix of a clip id, else a path or file name.
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

    def statements(self, number: int) -> tuple[str | None, str | None]:
        """Return the manifest and the receipt of a clip by its number, each if there is one."""
        query = "SELECT manifest, receipt FROM clips WHERE id = :id"
        for manifest, receipt in self._rows(query, {"id": number}):
            return manifest, receipt
        return None, None

    def entries(self, number: int) -> list[ReportedEntry]:
        """Return the journal's entries about a clip by its number."""
        query = "SELECT seq, at, event, detail FROM journal WHERE clip = :id ORDER BY seq"
        return [
            ReportedEntry(row["seq"], row["at"], row["event"], json.loads(row["detail"]))
            for row in self._rows(query, {"id": number})
        ]

    def close(self) -> None:
        """Close the connection; the next query opens another."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _clips(self, where: str, values: Mapping[str, object], limit: int) -> list[ReportedClip]:
        rows = self._rows(
            "SELECT clips.id, clip_id, camera, path, kind, event, size, state, present, found,"  # noqa: S608
            " since, error, problem FROM clips JOIN cameras ON cameras.id = clips.camera"
            f" WHERE {where} ORDER BY clips.id DESC LIMIT {limit:d}",
            values,
        )
        return [_reported(row) for row in rows]

    def _rows(self, statement: str, values: Mapping[str, object] | None = None) -> list[Any]:
        try:
            if self._db is None:
                self._db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
                self._db.row_factory = sqlite3.Row
                self._db.create_function("shown", 1, display_path, deterministic=True)
            return self._db.execute(statement, values or {}).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(
                str(error), hint="check the disk that holds the ledger; dockd retries"
            ) from error


def _reported(row: sqlite3.Row) -> ReportedClip:
    state = State(row["state"])
    return ReportedClip(
        id=row["id"],
        clip_id=row["clip_id"],
        camera=row["camera"],
        path=display_path(row["path"]),
        kind=row["kind"],
        event=bool(row["event"]),
        size=row["size"],
        state=state.shown,
        present=bool(row["present"]) and state is not State.WIPED,
        found=row["found"],
        since=row["since"],
        error=row["error"],
        problem=row["problem"],
    )
