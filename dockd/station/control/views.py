"""The answers of the control API, as types: a declared contract.

``docs/control-api.json`` (OpenAPI) is generated from these and from ``requests``. A member is
never removed or given another meaning within one version; clients ignore unknown members.

Commands read these without pydantic, whose import takes longer than everything else they do:
``decoding`` is the client's side, ``encoding`` the server's.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from dockd.station.lifecycle import StateName

VERSION = 1
_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
MOMENT_PATTERN = rf"\A{_MOMENT}\z"
"""A moment's pattern, as pydantic and JSON Schema take it."""


class MomentFormat:
    """Marks a text as a moment, for whoever checks or declares it."""

    @staticmethod
    def check(text: str) -> str:
        """Return a text that is a moment.

        Raises:
            ValueError: it is none, or not on the calendar.
        """
        if re.fullmatch(_MOMENT, text) is None:
            raise ValueError("not a moment of the form YYYY-MM-DDThh:mm:ss.sssZ")
        datetime.fromisoformat(text)
        return text

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "pattern": MOMENT_PATTERN}


Moment = Annotated[str, MomentFormat()]
"""RFC 3339, UTC, milliseconds: a moment that exists on the calendar and on the clock."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A part of an answer."""


class Verdict(StrEnum):
    """How a station is, in one word; ``dockd status`` has an exit code for each."""

    WELL = "well"
    """Nothing is under way, and there is no trouble."""
    WORKING = "working"
    """Clips are on their way, or something is tried again, by itself."""
    NEEDS_PERSON = "needs-person"
    """Something goes on only when somebody does something."""


class Stage(StrEnum):
    """What goes on with a docked camera."""

    LOOKING = "looking"
    READING = "reading"
    UPLOADING = "uploading"
    WAITING = "waiting"
    """Its clips wait: for the server, for room in the spool, for a pause to end."""
    WIPING = "wiping"
    DONE = "done"
    """Safe to take."""
    STUCK = "stuck"
    """What could be done is done; the rest waits for a person."""
    FAILING = "failing"
    """It can't be worked on right now, and is tried again."""
    REFUSED = "refused"
    """It matches a profile, but is not taken."""


@dataclass(frozen=True, kw_only=True)
class Trouble(View):
    """Something that keeps something else from going on."""

    event: str
    """The name of the log event that tells of it."""
    needs_person: bool
    """Whether it never ends by itself."""
    what: str
    """What happened, in a sentence."""
    hint: str
    """What a person can do."""
    since: Moment
    next_try: Moment | None = None
    """When dockd tries again by itself; None where it doesn't, or at the next look."""
    failures: int = 1
    count: int = 1
    """How many troubles it stands for: of very many alike, the last shown stands for the rest."""
    camera: str | None = None
    clip: int | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Work(View):
    """A clip that is being read or sent right now."""

    clip: int
    camera: str
    path: str
    stage: Literal["ingest", "upload"]
    done: int
    total: int
    """Bytes, as is ``done``."""
    rate: float
    """Bytes a second, of late."""


@dataclass(frozen=True, kw_only=True)
class LeftAloneView(View):
    """Files on a camera that no rule of its profile selects or ignores: nobody has read them."""

    files: int = 0
    size: int = 0
    """Bytes."""
    suspect: int = 0
    """How many may be recordings, and need a person."""


@dataclass(frozen=True, kw_only=True)
class CameraView(View):
    """A camera in the dock."""

    id: str
    profile: str
    serial: str
    place: str
    """Its bay, else its port or folder."""
    docking: int | None
    docked_at: Moment
    looked_at: Moment | None = None
    """When the last complete look at its files began."""
    looked_from: int | None = None
    """The journal's newest entry then; a resync is over once it is no older than the order."""
    stage: Stage
    safe_to_take: bool
    clips: dict[StateName, int]
    """Live clips of this camera by state."""
    bytes_total: int
    """Of the clips that this docking has to bring to the server."""
    bytes_done: int
    """Of these, how many are there, an upload under way counted by its offset."""
    seconds_left: float | None
    """Until it is safe to take, as far as can be told."""
    left_alone: LeftAloneView = LeftAloneView()
    troubles: list[Trouble]


@dataclass(frozen=True, kw_only=True)
class PauseView(View):
    """An order to hold uploads or wipes."""

    what: Literal["uploads", "wipes"]
    reason: str
    since: Moment
    until: Moment | None
    by: int
    """The uid of who ordered it."""


@dataclass(frozen=True, kw_only=True)
class SpoolView(View):
    """The spool and the disk that it is on."""

    used: int
    budget: int
    free: int
    """Free bytes of the disk."""
    reserve: int
    waiting: bool
    """Whether ingest waits for room."""


@dataclass(frozen=True, kw_only=True)
class TargetView(View):
    """The server."""

    url: str
    reachable: bool | None
    """None: nothing was sent to it yet."""
    last_success: Moment | None
    gives_receipts: bool


@dataclass(frozen=True, kw_only=True)
class LogView(View):
    """The log, which the work doesn't wait for."""

    lines_lost: int = 0
    """Since the daemon began."""
    failing: str | None = None
    """Why lines can't be written now; None where they can."""


@dataclass(frozen=True, kw_only=True)
class StationView(View):
    """Who answers."""

    id: str
    version: str
    since: Moment
    """When its work began: at its start, or with the configuration that it was reloaded with."""
    pid: int
    process_since: Moment | None = None
    """When the process began."""


@dataclass(frozen=True, kw_only=True)
class Status(View):
    """All of it: what ``dockd status --json`` prints."""

    v: Literal[1] = 1
    at: Moment
    verdict: Verdict
    station: StationView
    cameras: list[CameraView]
    """By place."""
    bays: list[str]
    """The configured bays, occupied or not, in the order of the configuration."""
    clips: dict[StateName, int]
    """All clips that the ledger knows, by state."""
    oldest_unacknowledged: Moment | None
    work: list[Work]
    troubles: list[Trouble]
    """Everything that is stuck, cameras' troubles among it; what needs a person first."""
    pauses: list[PauseView]
    spool: SpoolView
    target: TargetView
    rates: dict[Literal["ingest", "upload"], float]
    """Bytes a second over the whole station, of late."""
    log: LogView = LogView()


@dataclass(frozen=True, kw_only=True)
class ClipView(View):
    """One clip."""

    id: int
    clip_id: str | None
    camera: str
    path: str
    kind: Literal["video", "sidecar"]
    event: bool
    size: int
    state: StateName
    present: bool
    """Whether it still is on its camera, as far as is known."""
    found: Moment
    since: Moment
    """Since when it has been in this state."""
    trouble: Trouble | None = None


CLIPS_AT_ONCE = 1000
"""Clips in one answer, at most: what it costs the daemon is bounded, whoever asks for how many."""


@dataclass(frozen=True, kw_only=True)
class JournalLine(View):
    """An entry of the journal about a clip."""

    seq: int
    at: Moment
    event: str
    detail: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class ClipStory(View):
    """All that is known of one clip: what ``dockd show`` prints."""

    v: Literal[1] = 1
    clip: ClipView
    journal: list[JournalLine]
    manifest: dict[str, object] | None
    """The manifest's payload."""
    receipt: dict[str, object] | None
    """The receipt's payload."""


@dataclass(frozen=True, kw_only=True)
class ResyncAnswer(View):
    """What an order was applied to."""

    v: Literal[1] = 1
    order: int
    """The order's number: its entry in the journal."""
    cameras: list[str]
    clips: list[int]
    """The clips whose state it changed."""
    refused: list[Trouble]
    """What could not be done, and why."""


@dataclass(frozen=True, kw_only=True)
class BayTile(View):
    """A tile of the bay display: no clip names, no secrets."""

    bay: str
    camera: str | None
    """The camera's serial; None: the bay is empty."""
    stage: Stage | None
    safe_to_take: bool
    needs_person: bool
    done: int
    total: int
    """Bytes, as is ``done``."""
    seconds_left: float | None
    left_alone: int = 0
    """Files on the camera that nobody has read; with any, a tile is not green."""


@dataclass(frozen=True, kw_only=True)
class Display(View):
    """What the bay display shows."""

    v: Literal[1] = 1
    at: Moment
    version: str
    """Of dockd; a page of another version loads itself anew."""
    station: str
    verdict: Verdict
    tiles: list[BayTile]
    """The configured bays in their order, then other places with a camera in them."""
    paused: list[PauseView]
    target_reachable: bool | None
    columns: int = 0
    """Of the dock; 0: as they fit the screen."""


@dataclass(frozen=True, kw_only=True)
class Problem(View):
    """An answer that is an error."""

    error: str
    """A stable name."""
    detail: str
    hint: str
