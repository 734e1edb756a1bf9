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
    """The state of a station in one word; ``dockd status`` has an exit code for each."""

    WELL = "well"
    """Nothing in progress, and no trouble."""
    WORKING = "working"
    """Clips are in progress, or something is being retried."""
    NEEDS_PERSON = "needs-person"
    """Needs operator action."""


class Stage(StrEnum):
    """Camera stage."""

    LOOKING = "looking"
    READING = "reading"
    UPLOADING = "uploading"
    WAITING = "waiting"
    """Its clips wait for the server, for space in the spool, or for a pause to end."""
    WIPING = "wiping"
    DONE = "done"
    """Safe to take."""
    STUCK = "stuck"
    """Everything possible is done; the rest needs operator action."""
    FAILING = "failing"
    """It can't be processed now, and is retried."""
    REFUSED = "refused"
    """It matches a profile, but is refused."""


@dataclass(frozen=True, kw_only=True)
class Trouble(View):
    """Something that blocks a clip, a camera or the station."""

    event: str
    """The name of its log event."""
    needs_person: bool
    """Whether it needs operator action."""
    what: str
    """What happened, in one sentence."""
    hint: str
    """What a person can do."""
    since: Moment
    next_try: Moment | None = None
    """When dockd retries; None: never, or at the next scan."""
    failures: int = 1
    count: int = 1
    """The number of troubles it represents: among very many, the last one represents the rest."""
    camera: str | None = None
    clip: int | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Work(View):
    """A clip that is being read or sent now."""

    clip: int
    camera: str
    path: str
    stage: Literal["ingest", "upload"]
    done: int
    total: int
    """Bytes, as is ``done``."""
    rate: float
    """Recent throughput, in bytes per second."""


@dataclass(frozen=True, kw_only=True)
class LeftAloneView(View):
    """Files on a camera that match no rule of its profile, and were not read."""

    files: int = 0
    size: int = 0
    """Bytes."""
    suspect: int = 0
    """How many may be recordings, and need operator action."""


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
    """When the last complete scan of its files began."""
    looked_from: int | None = None
    """The journal's newest entry then; a resync is done once it is no older than the order."""
    stage: Stage
    safe_to_take: bool
    clips: dict[StateName, int]
    """Live clips of this camera by state."""
    bytes_total: int
    """Of the clips to upload in this docking."""
    bytes_done: int
    """Of these, how many are uploaded; an upload in progress counts by its offset."""
    seconds_left: float | None
    """Estimated time until it is safe to take."""
    left_alone: LeftAloneView = LeftAloneView()
    troubles: list[Trouble]


@dataclass(frozen=True, kw_only=True)
class PauseView(View):
    """A pause of uploads or wipes."""

    what: Literal["uploads", "wipes"]
    reason: str
    since: Moment
    until: Moment | None
    by: int
    """The uid of the user who requested it."""


@dataclass(frozen=True, kw_only=True)
class SpoolView(View):
    """The spool and its disk."""

    used: int
    budget: int
    free: int
    """Free bytes of the disk."""
    reserve: int
    waiting: bool
    """Whether ingest waits for space."""


@dataclass(frozen=True, kw_only=True)
class TargetView(View):
    """The server."""

    url: str
    reachable: bool | None
    """None: not contacted yet."""
    last_success: Moment | None
    gives_receipts: bool


@dataclass(frozen=True, kw_only=True)
class LogView(View):
    """The log, which does not delay the work."""

    lines_lost: int = 0
    """Since the daemon started."""
    failing: str | None = None
    """Why lines can't be written now; None: they can."""


@dataclass(frozen=True, kw_only=True)
class StationView(View):
    """The station that responds."""

    id: str
    version: str
    since: Moment
    """When its work began: at its start, or with a reloaded configuration."""
    pid: int
    process_since: Moment | None = None
    """When the process started."""


@dataclass(frozen=True, kw_only=True)
class Status(View):
    """The output of ``dockd status --json``."""

    v: Literal[1] = 1
    at: Moment
    verdict: Verdict
    station: StationView
    cameras: list[CameraView]
    """By place."""
    bays: list[str]
    """The configured bays, occupied or not, in the order of the configuration."""
    clips: dict[StateName, int]
    """All clips in the ledger, by state."""
    oldest_unacknowledged: Moment | None
    work: list[Work]
    troubles: list[Trouble]
    """All troubles, including those of cameras; those that need operator action first."""
    pauses: list[PauseView]
    spool: SpoolView
    target: TargetView
    rates: dict[Literal["ingest", "upload"], float]
    """Recent throughput of the whole station, in bytes per second."""
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
    """Whether it is still on its camera, as far as known."""
    found: Moment
    since: Moment
    """When it entered this state."""
    trouble: Trouble | None = None


CLIPS_AT_ONCE = 1000
"""The maximum of clips in one response, which bounds its cost to the daemon."""


@dataclass(frozen=True, kw_only=True)
class JournalLine(View):
    """An entry of the journal about a clip."""

    seq: int
    at: Moment
    event: str
    detail: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class ClipStory(View):
    """Everything known about one clip: the output of ``dockd show --json``."""

    v: Literal[1] = 1
    clip: ClipView
    journal: list[JournalLine]
    manifest: dict[str, object] | None
    """The manifest's payload."""
    receipt: dict[str, object] | None
    """The receipt's payload."""


@dataclass(frozen=True, kw_only=True)
class ResyncAnswer(View):
    """The result of a resync."""

    v: Literal[1] = 1
    order: int
    """The order's number: its entry in the journal."""
    cameras: list[str]
    clips: list[int]
    """The clips whose state it changed."""
    refused: list[Trouble]
    """What was refused, and why."""


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
    """Files on the camera that were not read; with any, a tile is not green."""


@dataclass(frozen=True, kw_only=True)
class Display(View):
    """The data of the bay display."""

    v: Literal[1] = 1
    at: Moment
    version: str
    """The version of dockd; a page of another version reloads itself."""
    station: str
    verdict: Verdict
    tiles: list[BayTile]
    """The configured bays in their order, then other places with a camera in them."""
    paused: list[PauseView]
    target_reachable: bool | None
    columns: int = 0
    """Columns of the dock; 0: as many as fit the screen."""


@dataclass(frozen=True, kw_only=True)
class Problem(View):
    """An error response."""

    error: str
    """A stable name."""
    detail: str
    hint: str
