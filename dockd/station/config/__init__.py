"""The station's configuration file as types; ``config.example.toml`` is made from it.

Write the example with ``python -m dockd.station.config > config.example.toml``.
"""

from dockd.station.config.cameras import (
    BayConfig,
    FolderConfig,
    ProfileConfig,
    RuleConfig,
    UsbCameraConfig,
    UsbConfig,
)
from dockd.station.config.file import Config, load
from dockd.station.config.sections import (
    ControlConfig,
    EncryptionConfig,
    IngestConfig,
    SpoolConfig,
    StationConfig,
    WipeConfig,
)
from dockd.station.config.target import BandwidthRule, TargetConfig

__all__ = [
    "EXAMPLE_HEADING",
    "BandwidthRule",
    "BayConfig",
    "Config",
    "ControlConfig",
    "EncryptionConfig",
    "FolderConfig",
    "IngestConfig",
    "ProfileConfig",
    "RuleConfig",
    "SpoolConfig",
    "StationConfig",
    "TargetConfig",
    "UsbCameraConfig",
    "UsbConfig",
    "WipeConfig",
    "load",
]

EXAMPLE_HEADING = """dockd's station configuration: every key and its default.

Keys that are commented out have no default, or default to nothing. Sizes are numbers of
bytes or text such as "64 MiB". Relative paths are relative to this file; secrets are
looked for among systemd's credentials first."""
