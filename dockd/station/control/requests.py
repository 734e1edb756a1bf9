"""What a client sends to the control API: validated by the server."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dockd.station.control.views import MOMENT_PATTERN, MomentFormat
from dockd.station.lifecycle import StateName

_Moment = Annotated[str, Field(pattern=MOMENT_PATTERN), AfterValidator(MomentFormat.check)]


class Request(BaseModel):
    """A client's request; unknown members are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ClipQuery(Request):
    """A query for clips; without members, the newest of all."""

    camera: str | None = None
    """A serial or a camera's id."""
    state: StateName | None = None
    since: _Moment | None = None
    """Found at or after this moment."""
    before: int | None = Field(default=None, ge=1, le=2**63 - 1)
    """Only clips with smaller numbers: for the next page."""
    limit: int = Field(default=1000, ge=1, le=1_000_000)
    """A response has at most 1000, and Dockd-More says whether there are more: pass the smallest
    number of this one as ``before``."""


class ResyncOrder(Request):
    """A resync; without members, of all docked cameras."""

    camera: str | None = None
    """A serial, a camera's id, or a bay."""
    clip: int | None = Field(default=None, ge=1, le=2**63 - 1)
    failed: bool = False
    """Retry rejected and unreadable clips."""
    reupload: bool = False
    """The server lost data: upload it again."""


class PauseOrder(Request):
    """Pause uploads, wipes, or both."""

    what: list[Literal["uploads", "wipes"]] = Field(min_length=1)
    reason: str = Field(min_length=1, max_length=200)
    until: _Moment | None = None


class ResumeOrder(Request):
    """Resume uploads, wipes, or both."""

    what: list[Literal["uploads", "wipes"]] = Field(min_length=1)
