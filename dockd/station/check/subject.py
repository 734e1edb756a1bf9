"""The subject of the checks: a configuration and its machine."""

from dataclasses import dataclass, field
from pathlib import Path

from dockd.base.clock import Clock
from dockd.host.files import Files
from dockd.station.cameras.devices import Udev
from dockd.station.cameras.udev import SystemUdev
from dockd.station.config import Config


@dataclass(frozen=True)
class Machine:
    """The machine of the station; a test replaces its parts."""

    clock: Clock = field(default_factory=Clock)
    files: Files = field(default_factory=Files)
    udev: Udev = field(default_factory=SystemUdev)
    bus_address: str | None = None
    """The D-Bus to use instead of the system's."""
    root: Path = Path("/")
    """The root for rules and for what systemd keeps of the service."""


@dataclass(frozen=True)
class Subject:
    """What is checked."""

    config: Config
    machine: Machine
    uid: int
    """The user that the service runs as."""

    @property
    def uses_usb(self) -> bool:
        """Whether any of its cameras may be plugged in."""
        return any(profile.usb for profile in self.config.profiles)
