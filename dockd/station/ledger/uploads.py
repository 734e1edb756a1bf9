"""The ledger's changes by uploads."""

from dockd.evidence.statements import statement_sha256
from dockd.station.ledger.clips import Clips
from dockd.station.ledger.database import Database
from dockd.station.lifecycle import Happening, State
from dockd.station.model import Clip


class Uploads:
    """Clips that are uploaded, until they have a receipt."""

    def __init__(self, db: Database, clips: Clips) -> None:
        self._db = db
        self._clips = clips

    def begin(self, clip: Clip) -> None:
        """Record that a clip is being uploaded: spooled → uploading; no change in other states."""
        with self._db.transaction():
            if self._clips.state(clip) is State.SPOOLED:
                self._clips.change(clip, Happening.UPLOAD_BEGUN, {})

    def remember(self, clip: Clip, url: str | None) -> None:
        """Record the URL at which a clip's upload is resumed."""
        with self._db.transaction():
            self._db.execute("UPDATE clips SET upload_url = ? WHERE id = ?", (url, clip.id))

    def uploaded(self, clip: Clip) -> None:
        """Record that the target has all of a clip's bytes."""
        with self._db.transaction():
            self._clips.change(clip, Happening.UPLOADED, {})

    def reject(self, clip: Clip, error: str, detail: str) -> None:
        """Record that the server has permanently rejected a clip: uploading → rejected."""
        with self._db.transaction():
            self._clips.change(
                clip,
                Happening.REJECTED,
                {"detail": detail},
                error=error,
                problem=detail,
            )

    def acknowledge(self, clip: Clip, receipt: str, answer: str) -> None:
        """Record a receipt and the answer that came with it: uploading → acknowledged.

        The caller has verified both.
        """
        with self._db.transaction():
            self._clips.change(
                clip,
                Happening.ACKNOWLEDGED,
                {
                    "clip_id": clip.clip_id,
                    "receipt_sha256": statement_sha256(receipt),
                    "answer_sha256": statement_sha256(answer),
                },
                receipt=receipt,
                answer=answer,
                upload_url=None,
            )
