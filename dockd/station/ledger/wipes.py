"""The ledger's changes by wipes, and by the receiver's answers before them."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from dockd.base.randomness import Randomness
from dockd.evidence.statements import statement_sha256
from dockd.station.ledger.clips import Clips, former
from dockd.station.ledger.database import Database
from dockd.station.ledger.journal import Journal
from dockd.station.ledger.queries import Queries
from dockd.station.lifecycle import UNWIPED, Happening, State
from dockd.station.model import Camera, Clip


class Wipes:
    """Clips that are wiped from a camera."""

    def __init__(
        self, db: Database, journal: Journal, queries: Queries, clips: Clips, randomness: Randomness
    ) -> None:
        self._db = db
        self._journal = journal
        self._queries = queries
        self._clips = clips
        self._randomness = randomness

    def confirmed(self, clip: Clip, receipt: str, answer: str) -> bool:
        """Record the receiver's newest receipt and answer for an acknowledged clip.

        Returns:
            False if the clip has changed since the request; nothing is recorded then.
        """
        with self._db.transaction():
            known = self._queries.clip(clip.id)
            if not _is_still(clip, known):
                return False
            self._db.execute(
                "UPDATE clips SET receipt = ?, answer = ? WHERE id = ?", (receipt, answer, clip.id)
            )
            # Repeated confirmations of one receipt would only lengthen the journal.
            if known.receipt != receipt or self._journal.last_event(clip.id) != "clip.confirmed":
                self._journal.append(
                    "clip.confirmed",
                    clip.camera.id,
                    clip.id,
                    receipt_sha256=statement_sha256(receipt),
                    answer_sha256=statement_sha256(answer),
                    **({} if known.receipt == receipt else former(known, "receipt", "answer")),
                )
            return True

    def disown(self, clip: Clip) -> bool:
        """Record that the receiver has lost a clip that is on its camera: acknowledged → found.

        Returns:
            False if the clip has changed since the request; nothing is recorded then.
        """
        with self._db.transaction():
            known = self._queries.clip(clip.id)
            if known.state is not State.ACKNOWLEDGED or known.manifest != clip.manifest:
                return False
            self._clips.change(
                clip,
                Happening.DISOWNED,
                # The loss is not stated under a signature; the receipt proves what was stored.
                {"receipt_sha256": statement_sha256(known.receipt or "")} | former(known),
                receipt=None,
                answer=None,
                upload_url=None,
            )
            return True

    def begin(self, clips: Collection[Clip], policy: str) -> list[Clip]:
        """Record, before anything is removed, which clips are about to be.

        Returns:
            The clips, each with a number for the names that its wipe gives files.

        Raises:
            TransitionError: one is not acknowledged; nothing is recorded, nothing may be removed.
        """
        begun = []
        with self._db.transaction():
            for clip in clips:
                # A file that an interrupted wipe has left has that wipe's number in its name.
                number = (
                    self._queries.clip(clip.id).wipe_number or self._randomness.below(1 << 62) + 2
                )
                self._clips.change(clip, Happening.WIPE_BEGUN, {"policy": policy}, wiping=number)
                begun.append(replace(clip, state=State.WIPING, wipe_number=number))
        return begun

    def wiped(self, clips: Collection[Clip]) -> None:
        """Record that clips were removed and their absence verified: wiping → wiped."""
        with self._db.transaction():
            for clip in clips:
                self._clips.change(clip, Happening.WIPED, {"clip_id": clip.clip_id})

    def damaged(self, camera: Camera, paths: Sequence[str]) -> None:
        """Record that a wipe has removed or changed other files than its clips."""
        with self._db.transaction():
            self._journal.append("wipe.damaged", camera.id, None, paths=list(paths))


def _is_still(clip: Clip, known: Clip) -> bool:
    """Return whether a clip still has its receipt, for the manifest in the request."""
    return known.state in UNWIPED and known.manifest == clip.manifest
