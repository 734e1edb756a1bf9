"""The station's configuration file as a whole."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from dockd.base import settings
from dockd.base.log_config import LogConfig
from dockd.base.settings import Section
from dockd.station.config.cameras import BayConfig, FolderConfig, ProfileConfig, UsbConfig
from dockd.station.config.sections import (
    ControlConfig,
    EncryptionConfig,
    IngestConfig,
    SpoolConfig,
    StationConfig,
    WipeConfig,
)
from dockd.station.config.target import TargetConfig


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
