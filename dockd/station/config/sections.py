"""Sections of the station's configuration that are neither of the server nor of cameras."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from dockd.base.settings import Section, Size
from dockd.evidence.fields import (
    Address,
    FilePath,
    Label,
    Recipient,
    SecretPath,
    SocketPath,
    check_recipients,
)


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


class WipeConfig(Section):
    """What to do with acknowledged clips on the camera."""

    policy: Literal["delete", "overwrite", "dry-run", "keep"] = Field(
        default="delete",
        description="delete, overwrite (then delete), dry-run (only check and log) or keep.",
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
