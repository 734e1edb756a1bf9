"""What is stuck, put into words: out of the board of failures, and out of the ledger."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from dockd.base import events
from dockd.base.board import Failing
from dockd.base.clock import timestamp
from dockd.base.errors import (
    ClipTooLargeError,
    ClipUnsettledError,
    SpoolDiskFullError,
    SpoolFullError,
    TransientError,
    UnforeseenError,
    WipeBusyError,
    WipeUnconfirmedError,
)
from dockd.base.log_output import Health
from dockd.station.control.views import Trouble
from dockd.station.model import shorten

_PERSONS = {ClipTooLargeError.event} | {
    event.name
    for event in (
        events.CAMERA_FILES_LEFT,
        events.CAMERA_REFUSED,
        events.CLIP_REJECTED,
        events.CLIP_UNREADABLE,
        events.FOLDER_UNREADABLE,
        events.JOURNAL_BROKEN,
        events.JOURNAL_FORKED,
        events.RECEIPT_REFUSED,
        events.SPOOL_DAMAGED,
        events.SPOOL_UNKNOWN,
        events.WIPE_DAMAGED,
        events.WIPE_REFUSED,
    )
}
"""What never ends by itself."""
_LASTING = {
    event.name
    for event in (
        events.CAMERA_FAILED,
        events.CLIP_INGEST_INTERRUPTED,
        events.CLIP_UNSETTLED,
        events.JOURNAL_UNREADABLE,
        events.JOURNAL_UNWITNESSED,
        events.LEDGER_FAILED,
        events.MONITOR_FAILED,
        events.PART_FAILED,
        events.SPOOL_FAILED,
        events.STATUS_STALE,
        events.WIPE_FAILED,
    )
}
"""What does not end by itself once it has lasted longer than patience does."""
_MOST_ALIKE = 50
"""Troubles of one kind and camera that are shown; the others are counted."""
_LONGEST = 2000
"""Characters of what is said of one trouble: a server may say as much as it likes."""
_PATIENCE = timedelta(minutes=1)
"""After which a camera or a disk that can't be worked with is not going to work by itself."""
_WRITERS_PATIENCE = timedelta(hours=1)
"""After which whoever writes to a file is not going to end by himself."""

HINTS = {
    ClipTooLargeError.event: "raise spool.budget, then: dockd resync --failed",
    events.CLIP_REJECTED.name: "mend what the server names, then: dockd resync --failed",
    events.CLIP_UNREADABLE.name: "copy it by other means, or: dockd resync --failed",
    events.RECEIPT_REFUSED.name: "check target.receiver_keys and the receiver",
    events.SPOOL_DAMAGED.name: "dock its camera, and look at the disk that holds the spool;"
    " docs/operate.md says what is left",
    events.WIPE_REFUSED.name: "check target.receiver_keys; docs/operate.md says what it means",
}
"""What to do about the errors that the ledger keeps with a clip."""


def of_board(failing: Iterable[Failing]) -> list[Trouble]:
    """Return the failures that go on, as they are shown: of very many alike, some of them."""
    alike: dict[tuple[str, str | None], list[Failing]] = {}
    for one in failing:
        alike.setdefault((one.event, _text(one.fields.get("camera"))), []).append(one)
    shown = []
    for those in alike.values():
        shown += [of_failing(one) for one in those[:_MOST_ALIKE]]
        if rest := those[_MOST_ALIKE:]:
            shown.append(_rest(rest))
    return shown


def _rest(failing: Sequence[Failing]) -> Trouble:
    first = failing[0]
    camera = _text(first.fields.get("camera"))
    return Trouble(
        event=first.event,
        needs_person=any(map(_needs_person, failing)),
        what=f"{len(failing)} more of the same kind",
        hint="the log has each of them" if camera is None else "dockd clips and the log have each",
        since=timestamp(first.since),
        failures=sum(one.failures for one in failing),
        count=len(failing),
        camera=camera,
    )


def of_failing(failing: Failing) -> Trouble:
    """Return a failure that goes on, as it is shown."""
    fields = failing.fields
    return Trouble(
        event=failing.event,
        needs_person=_needs_person(failing),
        what=shorten(failing.error.message, _LONGEST),
        hint=shorten(failing.error.hint, _LONGEST),
        since=timestamp(failing.since),
        next_try=None if failing.next_try is None else timestamp(failing.next_try),
        failures=failing.failures,
        camera=_text(fields.get("camera")),
        clip=_number(fields.get("clip")),
        path=_text(fields.get("path")),
    )


def _needs_person(failing: Failing) -> bool:
    slow = isinstance(failing.error, ClipUnsettledError | WipeBusyError)
    patience = _WRITERS_PATIENCE if slow else _PATIENCE
    return (
        failing.event in _PERSONS
        or isinstance(failing.error, UnforeseenError | SpoolDiskFullError)
        or (failing.at - failing.since > patience and _never_ends(failing))
    )


def _never_ends(failing: Failing) -> bool:
    """Say whether what has lasted so long won't end by itself."""
    match failing.error:
        case SpoolFullError():
            return False  # it ends with the next uploads
        case TransientError(needs_operator=needs_operator):
            return needs_operator
        case WipeUnconfirmedError(needs_operator=needs_operator):
            return needs_operator
        case _:
            return failing.event in _LASTING


def of_clip(  # a row of the ledger
    *, clip: int, camera: str, path: str, error: str | None, problem: str | None, since: str
) -> Trouble | None:
    """Return what keeps a clip from going on, as the ledger has it; None if nothing does."""
    if error not in HINTS:
        return None
    return Trouble(
        event=error,
        needs_person=error in _PERSONS,
        what=shorten(problem or events.EVENTS[error].meaning, _LONGEST),
        hint=HINTS[error],
        since=since,
        camera=camera,
        clip=clip,
        path=path,
    )


def of_log(health: Health, now: datetime) -> list[Trouble]:
    """Return that the log can't be written, if that is so."""
    if health.detail is None or health.since is None:
        return []
    return [
        Trouble(
            event=events.LOG_LOST.name,
            needs_person=now - health.since > _PATIENCE,
            what=f"The log can't be written: {health.detail}; {health.lost} lines are lost",
            hint="look at what reads dockd's standard error, or at the disk that keeps it;"
            " a reader that is gone may need dockd to be restarted",
            since=timestamp(health.since),
        )
    ]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
