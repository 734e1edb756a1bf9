"""Configuration of cameras: profiles, folders, USB and bays."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from dockd.base import settings
from dockd.base.settings import Section
from dockd.evidence.fields import FilePath, Label, PositiveSeconds, Seconds
from dockd.station.cameras import ambiguity, globs
from dockd.station.cameras.timeformats import TimeFormat


def _pattern(value: str) -> str:
    globs.parse(value)
    return value


def _time_format(value: str) -> str:
    TimeFormat(value)
    return value


class RuleConfig(Section):
    """Which files of a camera are clips, and what their names contain."""

    pattern: Annotated[str, AfterValidator(_pattern)] = Field(
        min_length=1,
        description="A glob below the camera's root; {name}, {name:glob} and {name!characters} are"
        " kept as metadata.",
        examples=["DCIM/{officer}/{time:*}_{event:E}.mp4"],
    )
    kind: Literal["video", "sidecar", "ignore"] = Field(
        description="video, sidecar (GPS, logs), or ignore (left on the camera).",
        examples=["video"],
    )
    event: bool = Field(
        default=False, description="Clips of this rule are event-flagged: they are uploaded first."
    )
    time_format: Annotated[str, AfterValidator(_time_format)] | None = Field(
        default=None,
        description="The format of {time}, as in strptime(3); uploads are ordered by it.",
        examples=["%Y%m%d%H%M%S"],
    )

    @model_validator(mode="after")
    def _time_is_named(self) -> "RuleConfig":
        if self.time_format is not None and "time" not in globs.parse(self.pattern).names:
            raise ValueError("time_format requires {time} in the pattern")
        return self


_USB_ID = re.compile(r"[0-9A-Fa-f]{4}|(?=.*[*?[])[0-9A-Fa-f*?[\]!-]+")
"""Four digits, or a pattern of them."""


def _usb_id(value: str) -> str:
    if not _USB_ID.fullmatch(value):
        raise ValueError("a USB id is four hexadecimal digits, as shown by lsusb, or a pattern")
    return value.lower()


UsbId = Annotated[str, AfterValidator(_usb_id)]


class UsbCameraConfig(Section):
    """Which USB devices are cameras of a profile.

    Each text is exact or a pattern as in fnmatch(3): ``*``, ``?`` and ``[abc]``. A device
    is a camera if all of them fit.
    """

    vendor: UsbId = Field(
        default="*", description="USB vendor id, exact or a pattern.", examples=["1234"]
    )
    product: UsbId = Field(
        default="*", description="USB product id, exact or a pattern.", examples=["5678"]
    )
    serial: str = Field(default="*", description="USB serial number, exact or a pattern.")
    model: str = Field(default="*", description="The device's product name, exact or a pattern.")
    label: str = Field(
        default="*", description="The label of one of its file systems, exact or a pattern."
    )
    serials: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="The only serial numbers accepted, as shown in the log; empty: any.",
        examples=[["CAM-0001", "CAM-0002"]],
    )
    identity: Literal["serial", "volume"] = Field(
        default="serial",
        description="What identifies a camera: its USB serial, or that and the file system's UUID.",
    )
    when_done: Literal["leave-powered", "power-off"] = Field(
        default="leave-powered",
        description="leave-powered lets a finished camera charge; power-off switches it off.",
    )

    @model_validator(mode="after")
    def _is_no_stick(self) -> "UsbCameraConfig":
        patterns = (self.vendor, self.product, self.serial, self.model, self.label)
        if not self.serials and not any(pattern.strip("*?") for pattern in patterns):
            raise ValueError(
                "this matches every USB stick; restrict vendor, product, serial, model,"
                " label or serials"
            )
        return self


class ProfileConfig(Section):
    """A model of camera."""

    name: Label = Field(description="The profile's name.", examples=["generic"])
    case_sensitive: bool = Field(
        default=False, description="Whether patterns are case-sensitive; FAT is not."
    )
    rules: tuple[RuleConfig, ...] = Field(
        strict=False,
        min_length=1,
        description="The first rule that matches a file applies; a file without one is left alone.",
    )
    usb: UsbCameraConfig | None = Field(
        default=None,
        description="Which USB devices are such cameras; without it, only folders.",
    )

    @field_validator("rules")
    @classmethod
    def _rules_are_unambiguous(
        cls, value: tuple[RuleConfig, ...], info: ValidationInfo
    ) -> tuple[RuleConfig, ...]:
        mistakes = []
        for index, rule in enumerate(value):
            if rule.kind == "ignore":
                continue
            glob = globs.parse(rule.pattern, ignore_case=not info.data.get("case_sensitive"))
            try:
                example = ambiguity.find(glob)
            except ValueError as error:
                mistakes.append(((index, "pattern"), str(error)))
                continue
            if example is not None:
                mistakes.append(((index, "pattern"), ambiguity.explain(glob, example)))
        if mistakes:
            raise settings.misplaced(mistakes)
        return value


class FolderConfig(Section):
    """A folder treated as a camera."""

    path: FilePath = Field(
        description="The folder; while it does not exist, the camera is not docked.",
        examples=["/srv/cameras/CAM-0001"],
    )
    serial: Label = Field(description="The camera's serial number.", examples=["CAM-0001"])
    profile: Label = Field(description="The name of its profile.", examples=["generic"])
    bay: Label | None = Field(
        default=None,
        description="The name of its place; default: the folder's path.",
        examples=["3"],
    )
    settle_seconds: Seconds = Field(
        default=2.0,
        description="How long a file must stay unchanged before it counts as complete.",
    )
    quiet_seconds: Seconds = Field(
        default=600.0,
        description="The same where open files can't be detected: files of other users"
        " or on network file systems.",
    )
    watch: Literal["auto", "inotify", "polling"] = Field(
        default="auto",
        description="auto polls network file systems and watches others with inotify.",
    )
    rescan_seconds: PositiveSeconds = Field(
        default=60.0,
        description="How often the folder is scanned in addition.",
    )


class BayConfig(Section):
    """The name of a USB port of the dock."""

    name: Label = Field(description="The bay's name.", examples=["3"])
    port: str = Field(
        min_length=1,
        description="The port, as shown in the log and by dockd profile suggest, or a pattern.",
        examples=["pci-0000:00:14.0-usb-0:1.3"],
    )


class UsbConfig(Section):
    """USB cameras."""

    rescan_seconds: PositiveSeconds = Field(
        default=10.0,
        description="How often USB devices are listed in addition to udev events.",
    )
