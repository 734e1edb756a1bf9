"""The receiver's configuration file as types; ``receiver.example.toml`` is made from it.

Write the example with ``python -m dockd.receiver.config > receiver.example.toml``.
"""

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from dockd.base import settings
from dockd.base.log_config import LogConfig
from dockd.base.settings import Section, Size
from dockd.evidence.fields import FilePath, Label, PositiveSeconds, SecretPath

TokenDigest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]


class ReceiverConfig(Section):
    """The receiver's identity."""

    id: Label = Field(
        description="The receiver's name, as in its receipts.", examples=["evidence-1"]
    )
    key_file: SecretPath = Field(
        default=Path("receiver.key"),
        validate_default=True,
        description="The key that signs receipts (dockd keygen receiver); a credential or a file.",
    )
    earlier_keys: tuple[FilePath, ...] = Field(
        default=(),
        strict=False,
        description="Public keys that this receiver signed with before; its log goes on from them.",
        examples=[["receiver-2025.pub"]],
    )


class ListenConfig(Section):
    """The address for stations."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="The address or host name to listen on."
    )
    port: int = Field(
        default=8443, ge=0, le=65535, description="The TCP port; 0 lets the system choose one."
    )
    certificate: FilePath | None = Field(
        default=None,
        description="The server's certificate chain, as PEM; without it, plain HTTP.",
        examples=["server.pem"],
    )
    certificate_key_file: SecretPath | None = Field(
        default=None,
        description="The key of that certificate; a credential or a file.",
        examples=["server.key"],
    )
    client_ca_file: FilePath | None = Field(
        default=None,
        description="The CA of the stations' certificates; with it, each station must have one.",
        examples=["stations-ca.pem"],
    )
    max_connections: int = Field(
        default=128,
        ge=1,
        le=10_000,
        description="Concurrent connections; more are closed. Each may use 3 MiB (see MemoryMax=).",
    )

    max_connections_per_address: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Concurrent connections from one address; default: half of max_connections."
        " Behind a reverse proxy, all come from its address.",
        examples=[64],
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> "ListenConfig":
        if (self.certificate is None) != (self.certificate_key_file is None):
            raise ValueError("certificate and certificate_key_file must be set together")
        if self.client_ca_file is not None and self.certificate is None:
            raise ValueError("client_ca_file requires certificate: client certificates need TLS")
        return self


class StoreConfig(Section):
    """Where clips are stored."""

    path: FilePath = Field(
        default=Path("/var/lib/dockd-receiver"), description="The folder of the store."
    )
    reserve: Size = Field(
        default=2 * 2**30,
        ge=0,
        description="Disk space to leave free; uploads that would need it are refused with 507.",
    )
    max_clip_size: Size = Field(default=2**40, gt=0, description="The largest ciphertext accepted.")
    upload_expiry_seconds: PositiveSeconds = Field(
        default=7 * 86400.0,
        description="How long an unfinished upload is kept after its last byte.",
    )
    verify_concurrency: int = Field(
        default=2, ge=1, le=64, description="Clips read back and hashed concurrently."
    )


class StatementLogConfig(Section):
    """The log of everything that is signed."""

    origin: Annotated[str, Field(pattern=r"\A[^\s+]{1,200}\z")] | None = Field(
        default=None,
        description="The log's name, best an address without scheme; counts when the log begins."
        " Without it, the receiver's id and /log.",
        examples=["evidence.example/log"],
    )
    public: bool = Field(
        default=False,
        description="Whether anybody may read the log; otherwise, whoever has a station's token.",
    )


class StationEntry(Section):
    """An enrolled station."""

    id: Label = Field(
        description="The station's name, as in its manifests.", examples=["camden-07"]
    )
    public_keys: tuple[FilePath, ...] = Field(
        strict=False,
        min_length=1,
        description="The keys that may sign its manifests; old and new during a rotation.",
        examples=[["camden-07.pub"]],
    )
    tokens_sha256: tuple[TokenDigest, ...] = Field(
        default=(),
        strict=False,
        description="SHA-256 of each of its bearer tokens; if any is set, a token is required.",
        examples=[["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]],
    )


class Config(Section):
    """The whole file."""

    receiver: ReceiverConfig = Field(description="The receiver's identity.")
    listen: ListenConfig = Field(default=ListenConfig(), description="The address for stations.")
    store: StoreConfig = Field(default=StoreConfig(), description="Where clips are stored.")
    statement_log: StatementLogConfig = Field(
        default=StatementLogConfig(), description="The log of all signed statements."
    )
    log: LogConfig = Field(default=LogConfig(), description="The log on standard error.")
    stations: tuple[StationEntry, ...] = Field(
        strict=False,
        min_length=1,
        description="An enrolled station; repeat the table for more.",
    )

    @field_validator("stations")
    @classmethod
    def _stations_differ(cls, value: tuple[StationEntry, ...]) -> tuple[StationEntry, ...]:
        names = [station.id for station in value]
        if len(set(names)) != len(names):
            raise ValueError("two stations have the same id")
        tokens = [token for station in value for token in station.tokens_sha256]
        if len(set(tokens)) != len(tokens):
            raise ValueError("duplicate token; each belongs to one station")
        return value


def load(path: Path) -> Config:
    """Read the receiver's configuration.

    Raises:
        ConfigError: it can't be read or has mistakes, all of them named.
    """
    return settings.load(path, Config, example="receiver.example.toml")


EXAMPLE_HEADING = """dockd's receiver configuration: every key and its default.

Keys that are commented out have no default, or default to nothing. Sizes are numbers of
bytes or text such as "64 MiB". Relative paths are relative to this file; secrets are
looked for among systemd's credentials first.

Compute a token's digest with: printf %s TOKEN | sha256sum"""

if __name__ == "__main__":
    sys.stdout.write(settings.write_example(Config, EXAMPLE_HEADING))
