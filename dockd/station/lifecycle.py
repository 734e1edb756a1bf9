"""The states of a clip, and the table of all its transitions.

A clip has two properties that change: its state, and whether its file is on the camera as of the
newest scan. Whatever changes one of them is a happening; one that is not in the table is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from dockd.base.errors import TransitionError

StateName = Literal[
    "found",
    "ingesting",
    "spooled",
    "uploading",
    "acknowledged",
    "wiped",
    "unreadable",
    "rejected",
]
"""The states, as journal, API and metrics call them."""

STATE_NAMES: tuple[StateName, ...] = get_args(StateName)


class State(StrEnum):
    """The state of a clip."""

    FOUND = "found"
    """On the camera; its bytes have not been read."""
    INGESTING = "ingesting"
    """Being read, hashed and sealed."""
    SPOOLED = "spooled"
    """Its ciphertext is durable in the spool; its manifest is signed."""
    UPLOADING = "uploading"
    """Being uploaded to the target."""
    UPLOADED = "uploaded"
    """The target has all of its bytes; its receipt is awaited."""
    ACKNOWLEDGED = "acknowledged"
    """A verified receipt is durable in the ledger."""
    WIPING = "wiping"
    """Its removal from the camera has begun: it may be there, set aside, or gone."""
    WIPED = "wiped"
    """Removed from the camera, and its absence verified."""
    UNREADABLE = "unreadable"
    """The camera returned I/O errors, or it is too large; waits for a resync or a docking."""
    REJECTED = "rejected"
    """Permanently rejected by the server; waits for a resync."""

    @property
    def shown(self) -> StateName:
        """Its name in journal, API and metrics, which have fewer states."""
        return _SHOWN[self]


_SHOWN: Mapping[State, StateName] = {
    State.FOUND: "found",
    State.INGESTING: "ingesting",
    State.SPOOLED: "spooled",
    State.UPLOADING: "uploading",
    State.UPLOADED: "uploading",
    State.ACKNOWLEDGED: "acknowledged",
    State.WIPING: "acknowledged",
    State.WIPED: "wiped",
    State.UNREADABLE: "unreadable",
    State.REJECTED: "rejected",
}

PENDING = frozenset({State.FOUND, State.INGESTING, State.SPOOLED, State.UPLOADING, State.UPLOADED})
"""States that hold back the wipe of the clip's camera."""

ON_ITS_WAY = frozenset({State.SPOOLED, State.UPLOADING, State.UPLOADED})
"""States in which a clip waits for its receipt."""

IN_SPOOL = ON_ITS_WAY | {State.REJECTED}
"""States in which the spool has to hold a clip's ciphertext."""

UNWIPED = frozenset({State.ACKNOWLEDGED, State.WIPING})
"""States in which a clip has its receipt, and is to be removed if it still is on its camera."""

DELIVERED = UNWIPED | {State.WIPED}
"""States in which a clip has its receipt."""

STUCK = frozenset({State.UNREADABLE, State.REJECTED})
"""States that only a resync, or another docking, ends."""

READ = IN_SPOOL | UNWIPED
"""States in which a clip was read, and may still be on its camera."""

RESYNCABLE = STUCK | ON_ITS_WAY | UNWIPED
"""States of which a resync may ask something."""


class Happening(StrEnum):
    """What can happen to a clip."""

    SEEN = "seen"
    """A scan of the camera found a new file."""
    READ_BEGUN = "read begun"
    READ_INTERRUPTED = "read interrupted"
    READ_FAILED = "read failed"
    """The camera can't read it, or it is too large for the spool."""
    SPOOLED = "spooled"
    REJOINED = "rejoined"
    """The same content is already in the spool, as another clip of the ledger."""
    TAKEN_IN = "taken in"
    """Its ciphertext was found in the spool, and was unknown to the ledger."""
    RENEWED = "renewed"
    """Its manifest was signed again."""
    CIPHERTEXT_LOST = "ciphertext lost"
    """Its ciphertext is missing or damaged."""
    UPLOAD_BEGUN = "upload begun"
    UPLOADED = "uploaded"
    UPLOAD_RESTARTED = "upload restarted"
    """A resync restarted its upload."""
    REJECTED = "rejected"
    ACKNOWLEDGED = "acknowledged"
    DISOWNED = "disowned"
    """The receiver has lost it."""
    WIPE_BEGUN = "wipe begun"
    WIPE_UNDONE = "wipe undone"
    """An interrupted wipe has not removed it."""
    WIPED = "wiped"
    READ_AGAIN = "read again"
    """A resync, or another docking, queues it to be read again."""
    SENT_AGAIN = "sent again"
    """A resync queues it to be uploaded again from the spool."""
    VANISHED = "vanished"
    """Its file is gone from the camera, and dockd has not removed it."""
    REPLACED = "replaced"
    """Other content is at its path."""
    RETURNED = "returned"
    """A clip in the spool is on its camera again."""


@dataclass(frozen=True)
class Transition:
    """The result of a happening, and its names in journal and log."""

    to: State | None
    """The new state; None: the clip is removed from the ledger."""
    kind: str
    """The kind of the journal entry."""
    event: str | None = None
    """The log event, if there is one for each clip."""
    present: bool | None = None
    """Whether its file is on the camera from then on, and was not before; None: unchanged."""


Key = tuple[State | None, Happening]
"""A state, or None if the ledger doesn't know the clip yet; and what happens."""


def _table() -> dict[Key, Transition]:
    table: dict[Key, Transition] = {}

    def row(  # the columns of the table
        happening: Happening,
        before: Iterable[State | None],
        after: State | None,
        kind: str,
        event: str | None = None,
        *,
        present: bool | None = None,
    ) -> None:
        for state in before:
            table[state, happening] = Transition(after, kind, event, present)

    h, s = Happening, State
    row(h.SEEN, [None], s.FOUND, "clip.found", present=True)
    row(h.READ_BEGUN, [s.FOUND], s.INGESTING, "clip.ingesting")
    row(
        h.READ_INTERRUPTED,
        [s.INGESTING],
        s.FOUND,
        "clip.ingest_interrupted",
        "clip.ingest_interrupted",
    )
    row(h.READ_FAILED, [s.INGESTING], s.UNREADABLE, "clip.unreadable", "clip.unreadable")
    row(h.SPOOLED, [s.INGESTING], s.SPOOLED, "clip.spooled", "clip.spooled")
    row(h.REJOINED, [s.INGESTING], None, "clip.rejoined", "clip.rejoined")
    row(h.TAKEN_IN, [None], s.SPOOLED, "clip.spooled", "clip.taken_in", present=False)
    row(h.TAKEN_IN, [s.INGESTING], s.SPOOLED, "clip.spooled")
    row(h.RENEWED, [s.SPOOLED], s.SPOOLED, "clip.spooled")
    row(h.RENEWED, [s.UPLOADING, s.UPLOADED], s.UPLOADING, "clip.spooled")
    row(h.RENEWED, [s.REJECTED], s.REJECTED, "clip.spooled")
    row(h.CIPHERTEXT_LOST, IN_SPOOL, s.FOUND, "spool.damaged", "spool.damaged")
    row(h.UPLOAD_BEGUN, [s.SPOOLED], s.UPLOADING, "clip.uploading")
    row(h.UPLOADED, [s.UPLOADING, s.UPLOADED], s.UPLOADED, "clip.uploaded", "clip.uploaded")
    row(h.UPLOAD_RESTARTED, [s.SPOOLED], s.SPOOLED, "clip.taken_up")
    row(h.UPLOAD_RESTARTED, [s.UPLOADING, s.UPLOADED], s.UPLOADING, "clip.taken_up")
    row(h.REJECTED, [s.UPLOADING, s.UPLOADED], s.REJECTED, "clip.rejected", "clip.rejected")
    row(
        h.ACKNOWLEDGED,
        [s.UPLOADING, s.UPLOADED],
        s.ACKNOWLEDGED,
        "clip.acknowledged",
        "clip.acknowledged",
    )
    row(h.DISOWNED, [s.ACKNOWLEDGED], s.FOUND, "clip.disowned", "clip.disowned")
    row(h.WIPE_BEGUN, [s.ACKNOWLEDGED, s.WIPING], s.WIPING, "wipe.begun")
    row(h.WIPE_UNDONE, [s.WIPING], s.ACKNOWLEDGED, "wipe.undone")
    row(h.WIPED, [s.WIPING], s.WIPED, "clip.wiped", "clip.wiped")
    row(h.READ_AGAIN, [s.UNREADABLE, s.REJECTED, s.ACKNOWLEDGED], s.FOUND, "clip.taken_up")
    row(h.SENT_AGAIN, [s.REJECTED], s.SPOOLED, "clip.taken_up")
    for state in (s.FOUND, s.INGESTING, s.UNREADABLE, *IN_SPOOL, s.ACKNOWLEDGED):
        # A clip that vanishes in the state of being wiped was wiped.
        row(h.VANISHED, [state], state, "clip.vanished", present=False)
        row(h.REPLACED, [state], state, "clip.replaced", present=False)
    row(h.REPLACED, [s.WIPING], s.ACKNOWLEDGED, "clip.replaced", present=False)
    for state in ON_ITS_WAY:
        row(h.RETURNED, [state], state, "clip.returned", present=True)
    return table


LIFECYCLE: Mapping[Key, Transition] = _table()
"""Every transition. Back to ``found`` means that the clip is read from the camera again.

An acknowledged clip goes back if the receiver reports, or an operator states, that the server
has lost it.
"""


def follow(state: State | None, happening: Happening, *, present: bool | None) -> Transition:
    """Return the transition of a clip.

    Args:
        state: the clip's state; None if the ledger doesn't know it yet.
        happening: what happens.
        present: whether its file is on its camera; None if the ledger doesn't know it yet.

    Raises:
        TransitionError: that can't happen to the clip.
    """
    transition = LIFECYCLE.get((state, happening))
    if transition is None:
        raise TransitionError(f"{happening!r} can't happen to a clip in state {state}")
    if transition.present is not None and transition.present is present:
        where = "on its camera" if present else "not on its camera"
        raise TransitionError(f"{happening!r} can't happen to a clip that is {where}")
    return transition
