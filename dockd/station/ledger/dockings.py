"""The ledger's changes by dockings, and by scans of docked cameras."""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

from dockd.base.clock import Clock, timestamp
from dockd.station.cameras.tree import is_below
from dockd.station.ledger.clips import Clips
from dockd.station.ledger.database import Database
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.queries import Queries
from dockd.station.lifecycle import Happening, State
from dockd.station.model import Camera, Clip, FileStat, FoundFile, whole_path

_AT_ONCE = 1000
"""Files of a scan that are entered in one transaction."""
_TURN = 0.001
"""Seconds between two of those transactions, for other threads to get the ledger."""


@dataclass(frozen=True)
class Observed:
    """What a scan of a camera changed."""

    found: int
    vanished: int
    touched: list[Clip] = field(default_factory=list)
    """Clips that were read, and whose files have other times now, so perhaps other content."""


class Dockings:
    """Dockings, and what scans of cameras found."""

    def __init__(
        self, db: Database, journal: Journal, queries: Queries, clips: Clips, clock: Clock
    ) -> None:
        self._db = db
        self._journal = journal
        self._queries = queries
        self._clips = clips
        self._clock = clock

    def begin(self, camera: Camera, place: str) -> int:
        """Record that a camera was docked; return the docking's number."""
        with self._db.transaction():
            now = timestamp(self._clock.now())
            add_camera(self._db, camera, now)
            cursor = self._db.execute(
                "INSERT INTO dockings (camera, place, began) VALUES (?, ?, ?)",
                (camera.id, place, now),
            )
            docking = int(cursor.lastrowid or 0)
            self._journal.append("camera.docked", camera.id, None, docking=docking, place=place)
            # Name, size and time alone don't prove that it is the same recording.
            for clip in self._queries.select(
                "camera = ? AND present AND state = 'unreadable'", camera.id
            ):
                detail = {"docking": docking, "before": clip.state.shown}
                self._clips.change(clip, Happening.READ_AGAIN, detail)
            return docking

    def end(self, camera: Camera, docking: int) -> None:
        """Record that a camera was undocked."""
        with self._db.transaction():
            now = timestamp(self._clock.now())
            self._db.execute("UPDATE dockings SET ended = ? WHERE id = ?", (now, docking))
            self._journal.append("camera.undocked", camera.id, None, docking=docking)

    def observe(
        self,
        camera: Camera,
        docking: int,
        files: Iterable[FoundFile],
        unseen: Collection[bytes] = (),
    ) -> Observed:
        """Update the ledger to what a scan of a camera found.

        A file at a known path with another size is another clip. Other threads get the ledger
        between batches; the next scan completes an interrupted one.

        Args:
            camera: the camera.
            docking: the current docking.
            files: the clips that are on it.
            unseen: files and folders that could not be read; clips there are not gone.
        """
        found, touched = 0, []
        hidden = frozenset(unseen)
        missing = self._queries.live(camera)
        remaining = iter(files)
        while batch := list(islice(remaining, _AT_ONCE)):
            with self._db.transaction():
                for file in batch:
                    known = missing.pop(file.path, None)
                    if known is None or known.size != file.size:
                        if known is not None:
                            self._leave(known, Happening.REPLACED)
                        self._insert(camera, docking, file)
                        found += 1
                        continue
                    if known.state is State.WIPING and not is_below(known.path, hidden):
                        self._clips.change(known, Happening.WIPE_UNDONE, {}, wiping=0)
                    if known.modified_ns != file.modified_ns:
                        if known.state is State.FOUND:
                            self._touch(known, file.modified_ns)
                        else:
                            touched.append(replace(known, modified_ns=file.modified_ns))
            self._clock.block(_TURN)
        gone = [clip for clip in missing.values() if not is_below(clip.path, hidden)]
        with self._db.transaction():
            for known in gone:
                self._gone(known)
        return Observed(found, len(gone), touched)

    def recognised(self, clip: Clip, docking: int, stat: FileStat) -> None:
        """Record that a clip's file was read again, and still has the same content.

        Args:
            clip: the clip.
            docking: the current docking.
            stat: the file as it was when it was read again.
        """
        with self._db.transaction():
            self._db.execute(
                "UPDATE clips SET modified_ns = ?, docking = ?, stat = ? WHERE id = ?",
                (stat.modified_ns, docking, json.dumps(asdict(stat)), clip.id),
            )

    def replaced(self, clip: Clip) -> None:
        """Record that the file at a clip's path has other content.

        The next scan of the camera finds that content as a clip of its own.
        """
        with self._db.transaction():
            self._leave(clip, Happening.REPLACED)

    def _touch(self, clip: Clip, modified_ns: int) -> None:
        self._db.execute("UPDATE clips SET modified_ns = ? WHERE id = ?", (modified_ns, clip.id))

    def _gone(self, clip: Clip) -> None:
        """Record that a scan no longer found a clip's file."""
        if self._clips.state(clip) is State.WIPING:
            # Its wipe was interrupted between the removal and its record.
            self._clips.change(clip, Happening.WIPED, {"recovered": True})
        else:
            self._leave(clip, Happening.VANISHED)

    def _leave(self, clip: Clip, happening: Happening) -> None:
        """Record that a clip's file is no longer on its camera, though dockd didn't remove it."""
        detail = {"path": clip.name, "state": self._clips.state(clip).shown}
        self._clips.change(clip, happening, detail, wiping=0)

    def _insert(self, camera: Camera, docking: int, file: FoundFile) -> None:
        match, modified_ns = file.match, file.modified_ns
        self._clips.create(
            camera,
            Happening.SEEN,
            {"path": whole_path(file.path), "size": file.size},
            docking=docking,
            path=file.path,
            size=file.size,
            modified_ns=modified_ns,
            kind=match.kind,
            event=match.event,
            recorded_at=match.recorded_at if match.recorded_at is not None else modified_ns / 1e9,
            metadata=json.dumps(match.metadata),
        )


def add_camera(db: Database, camera: Camera, now: str) -> None:
    """Enter a camera unless the ledger knows it, inside an open transaction."""
    db.execute(
        "INSERT INTO cameras (id, profile, serial, first_seen) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO NOTHING",
        (camera.id, camera.profile, camera.serial, now),
    )
