"""What uploads change in the ledger."""

from dockd.evidence.statements import statement_sha256
from dockd.station.ledger.clips import Clips
from dockd.station.ledger.database import Database
from dockd.station.lifecycle import Happening, State
from dockd.station.model import Clip


class Uploads:
    """Clips on their way to a receipt."""

    def __init__(self, db: Database, clips: Clips) -> None:
        self._db = db
        self._clips = clips

    def begin(self, clip: Clip) -> None:
        """Note that a clip is on its way: spooled → uploading; no change where it is already."""
        with self._db.transaction():
            if self._clips.state(clip) is State.SPOOLED:
                self._clips.change(clip, Happening.UPLOAD_BEGUN, {})

    def remember(self, clip: Clip, url: str | None) -> None:
        """Keep where a clip's upload goes on after a break."""
        with self._db.transaction():
            self._db.execute("UPDATE clips SET upload_url = ? WHERE id = ?", (url, clip.id))

    def uploaded(self, clip: Clip) -> None:
        """Note that the target has all of a clip's bytes."""
        with self._db.transaction():
            self._clips.change(clip, Happening.UPLOADED, {})

    def reject(self, clip: Clip, error: str, detail: str) -> None:
        """Note that the server never will store a clip: uploading → rejected."""
        with self._db.transaction():
            self._clips.change(
                clip,
                Happening.REJECTED,
                {"detail": detail},
                error=error,
                problem=detail,
            )

    def acknowledge(self, clip: Clip, receipt: str, answer: str) -> None:
        """Keep a verified receipt and the answer that it came with: uploading → acknowledged.

        Verifying them is the caller's part.
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
