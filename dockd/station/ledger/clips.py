"""Changes of clips' states, each with its journal entry."""

from collections.abc import Mapping
from typing import Any, Literal

from dockd.base.clock import Clock, timestamp
from dockd.base.errors import NotFoundError
from dockd.station.ledger.database import Database
from dockd.station.ledger.journal import Journal
from dockd.station.lifecycle import Happening, State, follow
from dockd.station.model import Camera, Clip


class Clips:
    """Changes clips: the only place that writes a clip's state."""

    def __init__(self, db: Database, journal: Journal, clock: Clock) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock

    def change(
        self, clip: Clip, happening: Happening, detail: Mapping[str, Any], **columns: Any
    ) -> None:
        """Apply a happening to a clip, inside an open transaction.

        Raises:
            TransitionError: it can't happen to the clip; nothing changes.
            NotFoundError: there is no such clip.
        """
        state, present = self._standing(clip)
        transition = follow(state, happening, present=present)
        if transition.to is None:
            self._db.execute("DELETE FROM clips WHERE id = ?", (clip.id,))
        else:
            if transition.to.shown != state.shown:
                now = timestamp(self._clock.now())
                columns = {"error": None, "problem": None, "since": now} | columns
            columns["state"] = str(transition.to)
            if transition.present is not None:
                columns["present"] = transition.present
            assignments = ", ".join(f"{name} = ?" for name in columns)
            self._db.execute(
                f"UPDATE clips SET {assignments} WHERE id = ?",  # noqa: S608  # names are literals
                (*columns.values(), clip.id),
            )
        self._journal.append(transition.kind, clip.camera.id, clip.id, **detail)

    def create(
        self, camera: Camera, happening: Happening, detail: Mapping[str, Any], **columns: Any
    ) -> int:
        """Enter a clip that the ledger doesn't know, inside an open transaction.

        Returns:
            The clip's number.
        """
        transition = follow(None, happening, present=None)
        now = timestamp(self._clock.now())
        columns |= {
            "camera": camera.id,
            "state": str(transition.to),
            "present": transition.present,
            "found": now,
            "since": now,
        }
        number = int(
            self._db.execute(
                f"INSERT INTO clips ({', '.join(columns)})"  # noqa: S608  # names are literals
                f" VALUES ({', '.join('?' * len(columns))})",
                tuple(columns.values()),
            ).lastrowid
            or 0
        )
        self._journal.append(transition.kind, camera.id, number, **detail)
        return number

    def _standing(self, clip: Clip) -> tuple[State, bool]:
        row = self._db.execute(
            "SELECT state, present FROM clips WHERE id = ?", (clip.id,)
        ).fetchone()
        if row is None:
            raise NotFoundError(f"there is no clip {clip.id}")
        return State(row["state"]), bool(row["present"])

    def state(self, clip: Clip) -> State:
        """Return a clip's state, inside an open transaction.

        Raises:
            NotFoundError: there is no such clip.
        """
        return self._standing(clip)[0]

    def note_problem(self, clip: Clip, error: str, problem: str) -> None:
        """Note the error that keeps a clip from continuing; no change if it is already noted."""
        with self._db.transaction():
            known = self._db.execute(
                "SELECT error, problem FROM clips WHERE id = ?", (clip.id,)
            ).fetchone()
            if tuple(known) != (error, problem):
                self._db.execute(
                    "UPDATE clips SET error = ?, problem = ? WHERE id = ?",
                    (error, problem, clip.id),
                )
                self._journal.append(error, clip.camera.id, clip.id, problem=problem)


def former(clip: Clip, *names: Literal["manifest", "receipt", "answer"]) -> dict[str, str]:
    """Return the signed statements that a clip loses, to be kept in the journal."""
    values = {name: getattr(clip, name) for name in names or ("manifest", "receipt", "answer")}
    return {f"former_{name}": value for name, value in values.items() if value}
