"""The ledger's changes by operator commands."""

from collections.abc import Sequence

from dockd.station.ledger.clips import Clips, former
from dockd.station.ledger.database import Database
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.queries import Queries
from dockd.station.lifecycle import Happening
from dockd.station.model import Clip, Pausable, Pause


class Orders:
    """Operator commands: resyncs and pauses."""

    def __init__(self, db: Database, journal: Journal, queries: Queries, clips: Clips) -> None:
        self._db = db
        self._journal = journal
        self._queries = queries
        self._clips = clips

    def read_again(self, clip: Clip, order: int) -> None:
        """Queue a clip to be read again: unreadable, rejected or acknowledged → found.

        Its receipt is void: before any wipe there has to be a new one.

        Args:
            clip: the clip.
            order: the number of the command's journal entry.

        Raises:
            TransitionError: it is in another state, or its wipe has begun.
        """
        self._take_up(clip, Happening.READ_AGAIN, order, receipt=None, answer=None)

    def send_again(self, clip: Clip, order: int) -> None:
        """Queue a clip to be uploaded again from the spool: rejected → spooled."""
        self._take_up(clip, Happening.SENT_AGAIN, order, receipt=None, answer=None)

    def restart_upload(self, clip: Clip, order: int) -> None:
        """Restart the upload of a clip that waits for its receipt; see `read_again`."""
        self._take_up(clip, Happening.UPLOAD_RESTARTED, order)

    def _take_up(self, clip: Clip, happening: Happening, order: int, **columns: None) -> None:
        with self._db.transaction():
            known = self._queries.clip(clip.id)
            statements = former(known) if known.receipt else {}
            detail = {"order": order, "before": known.state.shown} | statements
            self._clips.change(clip, happening, detail, upload_url=None, **columns)

    def pause(self, pauses: Sequence[Pause]) -> None:
        """Record pauses; each replaces an earlier one of the same kind."""
        with self._db.transaction():
            for pause in pauses:
                self._db.execute(
                    "INSERT OR REPLACE INTO pauses (what, reason, since, until, uid)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (pause.what, pause.reason, pause.since, pause.until, pause.uid),
                )
                detail = {"what": pause.what, "reason": pause.reason, "until": pause.until}
                self._journal.append("order.pause", None, None, **detail, uid=pause.uid)

    def resume(self, whats: Sequence[Pausable], uid: int) -> None:
        """Record that something is resumed."""
        with self._db.transaction():
            for what in whats:
                self._db.execute("DELETE FROM pauses WHERE what = ?", (what,))
                self._journal.append("order.resume", None, None, what=what, uid=uid)

    def forget_pause(self, pause: Pause) -> None:
        """Delete an expired pause, unless it was replaced."""
        with self._db.transaction():
            self._db.execute(
                "DELETE FROM pauses WHERE what = ? AND since = ?", (pause.what, pause.since)
            )
