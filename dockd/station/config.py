"""The station's configuration file as types; ``config.example.toml`` is made from it.

Write the example with ``python -m dockd.station.config > config.example.toml``.
"""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dockd.base import settings
from dockd.base.log_config import LogConfig
from dockd.base.settings import Section, Size
from dockd.evidence.fields import (
    Address,
    Endpoint,
    FilePath,
    Label,
    PositiveSeconds,
    Recipient,
    Seconds,
    SecretPath,
    SocketPath,
    TimeOfDay,
    check_recipients,
)
from dockd.station.cameras import ambiguity, globs
from dockd.station.cameras.timeformats import TimeFormat


class StationConfig(Section):
    """The station's identity."""

    id: Label = Field(
        description="The station's name, as the receiver has enrolled it.",
        examples=["camden-07"],
    )
    key_file: SecretPath = Field(
        default=Path("station.key"),
        validate_default=True,
        description="The key that signs manifests (dockd keygen station); a credential or a file.",
    )
    earlier_keys: tuple[FilePath, ...] = Field(
        default=(),
        strict=False,
        description="Former public keys: their manifests in the spool are still accepted.",
        examples=[["station-old.key.pub"]],
    )
    state: FilePath = Field(
        default=Path("/var/lib/dockd"),
        description="The folder of the ledger and, unless set below, the spool.",
    )


class EncryptionConfig(Section):
    """The keys to which clips are encrypted."""

    recipients: tuple[Recipient, ...] = Field(
        strict=False,
        min_length=1,
        description="age recipients (dockd keygen identity): age1... or age1pq1..., not both.",
        examples=[["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]],
    )

    @field_validator("recipients")
    @classmethod
    def _go_together(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_recipients(value)
        return value


class SpoolConfig(Section):
    """The folder of ciphertext without a receipt."""

    path: FilePath | None = Field(
        default=None,
        description="The spool's folder; default: `spool` in the state folder.",
        examples=["/var/lib/dockd/spool"],
    )
    budget: Size = Field(
        default=64 * 2**30,
        gt=0,
        description="The maximum size of the spool; when it is reached, ingest waits.",
    )
    reserve: Size = Field(
        default=2 * 2**30,
        ge=0,
        description="Disk space that the spool leaves free, regardless of its budget.",
    )


class IngestConfig(Section):
    """How clips are read and encrypted."""

    concurrency: int = Field(
        default=8, ge=1, le=64, description="Clips read concurrently, over all cameras."
    )
    threads_per_clip: Literal[1, 2] = Field(
        default=2,
        description="2: digest the plaintext in parallel if a core is idle; 1: never in parallel.",
    )


class BandwidthRule(Section):
    """An upload limit for a time of day."""

    since: TimeOfDay = Field(description="The start time, local time.", examples=["07:00"])
    until: TimeOfDay = Field(
        description="The end time; if earlier than `since`, it is on the next day.",
        examples=["19:00"],
    )
    limit: Size = Field(gt=0, description="Bytes per second over all uploads.", examples=["10 MiB"])


class TargetConfig(Section):
    """The server that receives ciphertext."""

    url: Endpoint = Field(
        description="The tus 1.0.0 endpoint for uploads.",
        examples=["https://evidence.example/files/"],
    )
    receipts_url: Endpoint | None = Field(
        default=None,
        description="The receipts endpoint of a dockd receiver; without it, nothing is ever wiped.",
        examples=["https://evidence.example/receipts/"],
    )
    receiver_keys: tuple[FilePath, ...] = Field(
        default=(),
        strict=False,
        description="Public keys whose receipts are accepted; list old and new during a rotation.",
        examples=[["receiver.pub"]],
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="The private CA that signs the server's certificate, as PEM.",
        examples=["ca.pem"],
    )
    client_certificate: FilePath | None = Field(
        default=None,
        description="The client certificate of this station, as PEM.",
        examples=["client.pem"],
    )
    client_key_file: SecretPath | None = Field(
        default=None,
        description="The key of that certificate; a credential or a file.",
        examples=["client.key"],
    )
    token_file: SecretPath | None = Field(
        default=None,
        description="A bearer token, re-read for every request; a credential or a file.",
        examples=["token"],
    )
    chunk_size: Size = Field(
        default=512 * 2**20,
        ge=2**20,
        description="The maximum size of one PATCH; a reverse proxy may require less.",
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="Clips uploaded concurrently.")
    timeout_seconds: PositiveSeconds = Field(
        default=60.0, description="How long the server may take to respond."
    )
    retry_first_seconds: PositiveSeconds = Field(
        default=1.0, description="The maximum delay before the first retry."
    )
    retry_cap_seconds: PositiveSeconds = Field(
        default=300.0,
        description="The maximum delay between retries, which continue indefinitely.",
    )
    bandwidth: Size = Field(
        default=0, ge=0, description="Bytes per second over all uploads; 0: no limit."
    )
    schedule: tuple[BandwidthRule, ...] = Field(
        default=(),
        strict=False,
        description="Limits by time of day; the first that matches applies.",
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> "TargetConfig":
        if (self.client_certificate is None) != (self.client_key_file is None):
            raise ValueError("client_certificate and client_key_file must be set together")
        if self.receipts_url is not None and not self.receiver_keys:
            raise ValueError("receipts_url requires receiver_keys: receipts must be verified")
        if self.receipts_url is not None and self.url.endswith("/receipts/"):
            swapped = self.receipts_url.endswith("/files/")
            raise ValueError(
                "url and receipts_url are swapped: uploads are at /files/, receipts at /receipts/"
                if swapped
                else "url is where receipts are given; clips go to another address, such as /files/"
            )
        if self.url == self.receipts_url:
            raise ValueError("url and receipts_url must be different addresses")
        return self


class WipeConfig(Section):
    """What to do with acknowledged clips on the camera."""

    policy: Literal["delete", "overwrite", "dry-run", "keep"] = Field(
        default="delete",
        description="delete, overwrite (then delete), dry-run (only check and log) or keep.",
    )


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


class ControlConfig(Section):
    """The control socket, the bay display and metrics."""

    socket: SocketPath = Field(
        default=Path("/run/dockd/control.sock"),
        description='The Unix socket for commands, for members of its group; "": none.',
    )
    listen: Address = Field(
        default="127.0.0.1:8470",
        description='The address of bay display and metrics, readable by anybody; "": none.',
    )
    columns: int = Field(
        default=0,
        ge=0,
        le=32,
        description="Columns of the bay display, as of the dock; 0: as many as fit the screen.",
    )

    @property
    def address(self) -> tuple[str, int] | None:
        """Where to listen: host and port."""
        parts = urlsplit(f"//{self.listen}")
        if parts.hostname is None or parts.port is None:
            return None
        return parts.hostname, parts.port


class Config(Section):
    """The whole file."""

    station: StationConfig = Field(description="The station's identity.")
    encryption: EncryptionConfig = Field(description="The keys to which clips are encrypted.")
    spool: SpoolConfig = Field(
        default=SpoolConfig(), description="The folder of ciphertext without a receipt."
    )
    ingest: IngestConfig = Field(
        default=IngestConfig(), description="How clips are read and encrypted."
    )
    target: TargetConfig = Field(description="The server that receives ciphertext.")
    wipe: WipeConfig = Field(
        default=WipeConfig(), description="What to do with acknowledged clips on the camera."
    )
    usb: UsbConfig = Field(default=UsbConfig(), description="USB cameras.")
    control: ControlConfig = Field(
        default=ControlConfig(),
        description="The control socket, the bay display and metrics.",
    )
    log: LogConfig = Field(default=LogConfig(), description="The log on standard error.")
    profiles: tuple[ProfileConfig, ...] = Field(
        strict=False, min_length=1, description="A model of camera; repeat the table for more."
    )
    folders: tuple[FolderConfig, ...] = Field(
        default=(),
        strict=False,
        description="A folder treated as a camera; repeat the table for more.",
    )
    bays: tuple[BayConfig, ...] = Field(
        default=(),
        strict=False,
        description="The name of a USB port of the dock; repeat the table for more.",
    )

    @property
    def spool_folder(self) -> Path:
        """The spool's folder."""
        return self.spool.path or self.station.state / "spool"

    @property
    def ledger_path(self) -> Path:
        """The ledger's path."""
        return self.station.state / "ledger.db"

    @field_validator("profiles")
    @classmethod
    def _profiles_differ(cls, value: tuple[ProfileConfig, ...]) -> tuple[ProfileConfig, ...]:
        names = [profile.name for profile in value]
        if len(set(names)) != len(names):
            raise ValueError("two profiles have the same name")
        return value

    @field_validator("bays")
    @classmethod
    def _bays_differ(cls, value: tuple[BayConfig, ...]) -> tuple[BayConfig, ...]:
        names: set[str] = set()
        ports: set[str] = set()
        mistakes = []
        for index, bay in enumerate(value):
            if bay.name in names:
                mistakes.append(((index, "name"), "another bay has this name"))
            if bay.port in ports:
                mistakes.append(((index, "port"), "another bay has this port"))
            names.add(bay.name)
            ports.add(bay.port)
        if mistakes:
            raise settings.misplaced(mistakes)
        return value

    @field_validator("folders")
    @classmethod
    def _folders_are_cameras(
        cls, value: tuple[FolderConfig, ...], info: ValidationInfo
    ) -> tuple[FolderConfig, ...]:
        # Without profiles, they are what is wrong.
        profiles = {profile.name for profile in info.data.get("profiles", ())}
        cameras: set[tuple[str, str]] = set()
        mistakes = []
        for index, folder in enumerate(value):
            if profiles and folder.profile not in profiles:
                problem = f"there is no such profile, only {', '.join(sorted(profiles))}"
                mistakes.append(((index, "profile"), problem))
            if (folder.profile, folder.serial) in cameras:
                problem = "another folder has this profile and serial: cameras would be mixed up"
                mistakes.append(((index, "serial"), problem))
            cameras.add((folder.profile, folder.serial))
        if mistakes:
            raise settings.misplaced(mistakes)
        return value


def load(path: Path) -> Config:
    """Read the station's configuration.

    Raises:
        ConfigError: it can't be read or is invalid, with all errors listed.
    """
    return settings.load(path, Config, example="config.example.toml")


EXAMPLE_HEADING = """dockd's station configuration: every key and its default.

Keys that are commented out have no default, or default to nothing. Sizes are numbers of
bytes or text such as "64 MiB". Relative paths are relative to this file; secrets are
looked for among systemd's credentials first."""

if __name__ == "__main__":
    sys.stdout.write(settings.write_example(Config, EXAMPLE_HEADING))
