"""What wipes, and the receiver's word before them, change in the ledger."""

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
    """Clips on their way off a camera."""

    def __init__(
        self, db: Database, journal: Journal, queries: Queries, clips: Clips, randomness: Randomness
    ) -> None:
        self._db = db
        self._journal = journal
        self._queries = queries
        self._clips = clips
        self._randomness = randomness

    def confirmed(self, clip: Clip, receipt: str, answer: str) -> bool:
        """Keep the receiver's newest word on a clip that is acknowledged.

        Returns:
            False where the clip is another one by now than was asked for; nothing is kept then.
        """
        with self._db.transaction():
            known = self._queries.clip(clip.id)
            if not _is_still(clip, known):
                return False
            self._db.execute(
                "UPDATE clips SET receipt = ?, answer = ? WHERE id = ?", (receipt, answer, clip.id)
            )
            # The same word as often as it is asked for would only make the journal longer.
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
        """Note that the receiver has lost a clip that is on its camera: acknowledged → found.

        Returns:
            False where the clip is another one by now than was asked for; nothing changes then.
        """
        with self._db.transaction():
            known = self._queries.clip(clip.id)
            if known.state is not State.ACKNOWLEDGED or known.manifest != clip.manifest:
                return False
            self._clips.change(
                clip,
                Happening.DISOWNED,
                # That it is lost is nobody's signed word, and its receipt proves what was there.
                {"receipt_sha256": statement_sha256(known.receipt or "")} | former(known),
                receipt=None,
                answer=None,
                upload_url=None,
            )
            return True

    def begin(self, clips: Collection[Clip], policy: str) -> list[Clip]:
        """Note, before anything is removed, which clips are about to be.

        Returns:
            The clips, each with a number for the names that its wipe gives files.

        Raises:
            TransitionError: one of them is not acknowledged; nothing is noted, nothing may go.
        """
        begun = []
        with self._db.transaction():
            for clip in clips:
                # What an earlier try has left still has the number of that one.
                number = (
                    self._queries.clip(clip.id).wipe_number or self._randomness.below(1 << 62) + 2
                )
                self._clips.change(clip, Happening.WIPE_BEGUN, {"policy": policy}, wiping=number)
                begun.append(replace(clip, state=State.WIPING, wipe_number=number))
        return begun

    def wiped(self, clips: Collection[Clip]) -> None:
        """Note that clips were removed and their absence read back: wiping → wiped."""
        with self._db.transaction():
            for clip in clips:
                self._clips.change(clip, Happening.WIPED, {"clip_id": clip.clip_id})

    def damaged(self, camera: Camera, paths: Sequence[str]) -> None:
        """Note that files which were not to go are gone or changed after a wipe."""
        with self._db.transaction():
            self._journal.append("wipe.damaged", camera.id, None, paths=list(paths))


def _is_still(clip: Clip, known: Clip) -> bool:
    """Say whether a clip has its receipt, for the very manifest that it was asked for by."""
    return known.state in UNWIPED and known.manifest == clip.manifest
