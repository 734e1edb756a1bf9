"""How a service logs: a table of its configuration file."""

from typing import Literal

from pydantic import Field

from dockd.base.settings import Section


class LogConfig(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least serious events that are written."
    )
    style: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto writes text on a terminal and JSON elsewhere."
    )
