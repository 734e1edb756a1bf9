"""Troubles as the status shows them: from open incidents, and from the ledger."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

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
from dockd.base.events import daemon_part_failed, log_lost
from dockd.base.incidents import Incident
from dockd.base.log_events import EVENTS
from dockd.base.log_output import Health
from dockd.station import events
from dockd.station.control.views import Trouble
from dockd.station.model import shorten

_NEEDS_OPERATOR = {ClipTooLargeError.event} | {
    event.name
    for event in (
        events.camera_files_left,
        events.camera_refused,
        events.clip_rejected,
        events.clip_unreadable,
        events.camera_folder_unreadable,
        events.journal_broken,
        events.journal_forked,
        events.receipt_refused,
        events.spool_damaged,
        events.spool_unknown,
        events.wipe_damaged,
        events.wipe_refused,
    )
}
"""Events that always need operator action."""
_LASTING = {
    event.name
    for event in (
        events.camera_failed,
        events.clip_ingest_interrupted,
        events.clip_unsettled,
        events.journal_unreadable,
        events.journal_unwitnessed,
        events.ledger_failed,
        events.usb_monitor_failed,
        daemon_part_failed,
        events.spool_failed,
        events.status_stale,
        events.wipe_failed,
    )
}
"""Events that need operator action once they last longer than the limits below."""
_MOST_ALIKE = 50
"""Maximum troubles shown per kind and camera; the others are counted."""
_LONGEST = 2000
"""Maximum characters of a trouble's text, which may come from a server."""
_PATIENCE = timedelta(minutes=1)
"""After which a failing camera or disk needs operator action."""
_WRITERS_PATIENCE = timedelta(hours=1)
"""After which a file that is still being written needs operator action."""

HINTS = {
    ClipTooLargeError.event: "raise spool.budget, then: dockd resync --failed",
    events.clip_rejected.name: "fix what the server reports, then: dockd resync --failed",
    events.clip_unreadable.name: "copy it by other means, or: dockd resync --failed",
    events.receipt_refused.name: "check target.receiver_keys and the receiver",
    events.spool_damaged.name: "dock its camera, and check the spool's disk; see docs/operate.md",
    events.wipe_refused.name: "check target.receiver_keys; see docs/operate.md",
}
"""Hints for the errors that the ledger stores with a clip."""


def of_incidents(incidents: Iterable[Incident]) -> list[Trouble]:
    """Return ongoing failures as they are shown: at most ``_MOST_ALIKE`` of one kind and camera."""
    alike: dict[tuple[str, str | None], list[Incident]] = {}
    for one in incidents:
        alike.setdefault((one.event, _text(one.fields.get("camera"))), []).append(one)
    shown = []
    for those in alike.values():
        shown += [of_incident(one) for one in those[:_MOST_ALIKE]]
        if rest := those[_MOST_ALIKE:]:
            shown.append(_rest(rest))
    return shown


def _rest(incidents: Sequence[Incident]) -> Trouble:
    first = incidents[0]
    camera = _text(first.fields.get("camera"))
    return Trouble(
        event=first.event,
        needs_person=any(map(_needs_person, incidents)),
        what=f"{len(incidents)} more of the same kind",
        hint="see the log" if camera is None else "see dockd clips and the log",
        since=timestamp(first.since),
        failures=sum(one.failures for one in incidents),
        count=len(incidents),
        camera=camera,
    )


def of_incident(incident: Incident) -> Trouble:
    """Return an ongoing failure as it is shown."""
    fields = incident.fields
    return Trouble(
        event=incident.event,
        needs_person=_needs_person(incident),
        what=shorten(incident.error.message, _LONGEST),
        hint=shorten(incident.error.hint, _LONGEST),
        since=timestamp(incident.since),
        next_try=None if incident.next_try is None else timestamp(incident.next_try),
        failures=incident.failures,
        camera=_text(fields.get("camera")),
        clip=_number(fields.get("clip")),
        path=_text(fields.get("path")),
    )


def _needs_person(incident: Incident) -> bool:
    slow = isinstance(incident.error, ClipUnsettledError | WipeBusyError)
    patience = _WRITERS_PATIENCE if slow else _PATIENCE
    return (
        incident.event in _NEEDS_OPERATOR
        or isinstance(incident.error, UnforeseenError | SpoolDiskFullError)
        or (incident.at - incident.since > patience and _is_lasting(incident))
    )


def _is_lasting(incident: Incident) -> bool:
    """Return whether a failure that has lasted so long needs operator action."""
    match incident.error:
        case SpoolFullError():
            return False  # it ends with the next uploads
        case TransientError(needs_operator=needs_operator):
            return needs_operator
        case WipeUnconfirmedError(needs_operator=needs_operator):
            return needs_operator
        case _:
            return incident.event in _LASTING


def of_clip(  # a row of the ledger
    *, clip: int, camera: str, path: str, error: str | None, problem: str | None, since: str
) -> Trouble | None:
    """Return what blocks a clip, according to the ledger; None if nothing does."""
    if error not in HINTS:
        return None
    return Trouble(
        event=error,
        needs_person=error in _NEEDS_OPERATOR,
        what=shorten(problem or EVENTS[error].meaning, _LONGEST),
        hint=HINTS[error],
        since=since,
        camera=camera,
        clip=clip,
        path=path,
    )


def of_log(health: Health, now: datetime) -> list[Trouble]:
    """Return a trouble if the log can't be written."""
    if health.detail is None or health.since is None:
        return []
    return [
        Trouble(
            event=log_lost.name,
            needs_person=now - health.since > _PATIENCE,
            what=f"The log can't be written: {health.detail}; {health.lost} lines are lost",
            hint="check what reads dockd's standard error, or its disk;"
            " if the reader is gone, restart dockd",
            since=timestamp(health.since),
        )
    ]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
