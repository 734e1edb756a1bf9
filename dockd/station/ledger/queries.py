"""Ledger queries: nothing here changes it."""

import json
import sqlite3
from collections.abc import Collection, Iterable

from dockd.base.errors import NotFoundError
from dockd.station.ledger.database import Database
from dockd.station.lifecycle import (
    DELIVERED,
    IN_SPOOL,
    ON_ITS_WAY,
    PENDING,
    READ,
    RESYNCABLE,
    STUCK,
    UNWIPED,
    State,
    StateName,
)
from dockd.station.model import Camera, Clip, FileStat, Match, Pause

_SLIM = (
    "clips.id, docking, path, size, modified_ns, kind, event, recorded_at, metadata, state,"
    " present, stat, clip_id, plaintext_sha256, ciphertext_sha256, ciphertext_size,"
    " NULL AS manifest, NULL AS receipt, NULL AS answer, upload_url, wiping, error,"
    " problem"
)
_LIVE = "present AND state != 'wiped'"


def listed(states: Iterable[State]) -> str:
    """Return states as SQL lists them."""
    return "({})".format(", ".join(sorted(f"'{state}'" for state in states)))


def shown_counts(rows: Iterable[tuple[str, int]]) -> dict[StateName, int]:
    """Return how many clips are in each state, as states are shown."""
    counts: dict[StateName, int] = {}
    for name, count in rows:
        shown = State(name).shown
        counts[shown] = counts.get(shown, 0) + count
    return counts


class Queries:
    """Queries of cameras, clips and pauses."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def pauses(self) -> list[Pause]:
        """Return the pauses."""
        with self._db.reading():
            rows = self._db.execute("SELECT * FROM pauses ORDER BY what").fetchall()
        return [Pause(**dict(row)) for row in rows]

    def clip(self, number: int) -> Clip:
        """Return one clip by its number in this ledger.

        Raises:
            NotFoundError: there is none.
        """
        clip = self.known_clip(number)
        if clip is None:
            raise NotFoundError(f"there is no clip {number}")
        return clip

    def known_clip(self, number: int) -> Clip | None:
        """Return one clip by its number in this ledger, if there is such a clip."""
        return next(iter(self.select("clips.id = ?", number)), None)

    def clips(self) -> list[Clip]:
        """Return every clip, oldest first."""
        return self.select("1")

    def newest_receipt(self) -> Clip | None:
        """Return the newest clip that has a receipt, if there is one."""
        return next(iter(self.select("receipt IS NOT NULL ORDER BY id DESC LIMIT 1")), None)

    def to_ingest(self, camera: Camera) -> list[Clip]:
        """Return a docked camera's unread clips: event-flagged first, then oldest."""
        return self.select(
            f"camera = ? AND {_LIVE} AND state = 'found' ORDER BY event DESC, recorded_at, id",
            camera.id,
        )

    def to_upload(self, limit: int, *, exclude: Collection[int], receipts: bool) -> list[Clip]:
        """Return the clips to upload next: event-flagged first, then oldest.

        Args:
            limit: how many clips, at most.
            exclude: numbers of clips that are under way.
            receipts: whether the target gives receipts; if not, complete uploads are left out.
        """
        clips = self.select(
            f"state IN {listed(ON_ITS_WAY)} AND (? OR state != 'uploaded')"
            " ORDER BY event DESC, recorded_at, id LIMIT ?",
            receipts,
            limit + len(exclude),
        )
        return [clip for clip in clips if clip.id not in exclude][:limit]

    def pending(self, camera: Camera) -> int:
        """Return how many clips hold back a docked camera's wipe."""
        return self._count(f"camera = ? AND {_LIVE} AND state IN {listed(PENDING)}", camera.id)

    def to_wipe(self, camera: Camera) -> list[Clip]:
        """Return a docked camera's acknowledged clips that are still on it."""
        return self.select(f"camera = ? AND {_LIVE} AND state IN {listed(UNWIPED)}", camera.id)

    def unwiped(self, camera: Camera) -> int:
        """Return how many acknowledged clips of a docked camera are still on it."""
        return self._count(f"camera = ? AND {_LIVE} AND state IN {listed(UNWIPED)}", camera.id)

    def wiping(self, camera: Camera) -> list[Clip]:
        """Return a camera's clips whose wipe was begun; without their signed statements."""
        return self.select(f"camera = ? AND {_LIVE} AND state = 'wiping'", camera.id, slim=True)

    def read_before(self, camera: Camera) -> list[Clip]:
        """Return a docked camera's clips that were read, and are still on it.

        They come without their signed statements.
        """
        where = f"camera = ? AND {_LIVE} AND state IN {listed(READ)}"
        return self.select(where, camera.id, slim=True)

    def stuck(self, camera: Camera) -> int:
        """Return how many clips of a docked camera need operator action."""
        return self._count(f"camera = ? AND {_LIVE} AND state IN {listed(STUCK)}", camera.id)

    def to_resync(self) -> list[Clip]:
        """Return the clips that a resync can retry: on a camera or in the spool."""
        return self.select(
            f"state IN {listed(RESYNCABLE)} AND (present OR state IN {listed(IN_SPOOL)})"
        )

    def cameras_named(self, name: str) -> set[str]:
        """Return the ids of the known cameras with an id or a serial."""
        with self._db.reading():
            rows = self._db.execute(
                "SELECT id FROM cameras WHERE id = ? OR serial = ?", (name, name)
            ).fetchall()
        return {camera for (camera,) in rows}

    def in_spool(self) -> list[Clip]:
        """Return the clips whose ciphertext the spool has to hold."""
        return self.select(f"state IN {listed(IN_SPOOL)}")

    def is_delivered(self, ciphertext_sha256: str) -> bool:
        """Return whether a ciphertext's clip has its receipt."""
        return bool(
            self._count(
                f"ciphertext_sha256 = ? AND receipt IS NOT NULL AND state IN {listed(DELIVERED)}",
                ciphertext_sha256,
            )
        )

    def counts(self) -> dict[State, int]:
        """Return how many clips are in each state."""
        with self._db.reading():
            rows = self._db.execute("SELECT state, count(*) FROM clips GROUP BY state").fetchall()
        return {State(state): count for state, count in rows}

    def live(self, camera: Camera) -> dict[bytes, Clip]:
        """Return the clips that are on a camera by their paths, without their statements."""
        live = self.select(f"camera = ? AND {_LIVE}", camera.id, slim=True)
        return {clip.path: clip for clip in live}

    def _count(self, where: str, *arguments: object) -> int:
        with self._db.reading():
            (count,) = self._db.execute(
                f"SELECT count(*) FROM clips WHERE {where}",  # noqa: S608  # literals
                arguments,
            ).fetchone()
        return int(count)

    def select(self, where: str, *arguments: object, slim: bool = False) -> list[Clip]:
        """Return the clips that meet a condition.

        Args:
            where: the condition in SQL.
            arguments: the values of its parameters.
            slim: leave out their signed statements, which take most of a clip's memory.
        """
        with self._db.reading():
            rows = self._db.execute(
                f"SELECT {_SLIM if slim else 'clips.*'}"  # noqa: S608  # literals
                ", cameras.profile, cameras.serial"
                f" FROM clips JOIN cameras ON cameras.id = clips.camera WHERE {where}",
                arguments,
            ).fetchall()
        return [_clip(row) for row in rows]


def _clip(row: sqlite3.Row) -> Clip:
    state = State(row["state"])
    return Clip(
        id=row["id"],
        camera=Camera(row["profile"], row["serial"]),
        docking=row["docking"],
        path=row["path"],
        size=row["size"],
        modified_ns=row["modified_ns"],
        match=Match(
            kind=row["kind"],
            event=bool(row["event"]),
            recorded_at=row["recorded_at"],
            metadata=json.loads(row["metadata"]),
        ),
        state=state,
        # A wiped clip is known to be gone, without another scan.
        present=bool(row["present"]) and state is not State.WIPED,
        stat=FileStat(**json.loads(row["stat"])) if row["stat"] else None,
        clip_id=row["clip_id"],
        plaintext_sha256=row["plaintext_sha256"],
        ciphertext_sha256=row["ciphertext_sha256"],
        ciphertext_size=row["ciphertext_size"],
        manifest=row["manifest"],
        receipt=row["receipt"],
        answer=row["answer"],
        upload_url=row["upload_url"],
        wipe_number=row["wiping"],
        error=row["error"],
        problem=row["problem"],
    )
