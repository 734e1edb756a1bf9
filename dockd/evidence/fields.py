"""Types of configuration values: paths, addresses, names, times of day, recipients."""

import contextlib
import os
from collections.abc import Sequence
from datetime import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from dockd.base import settings
from dockd.base.errors import AgeKeyError
from dockd.evidence.age import parse_recipients

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\A[^\p{Cc}:/]+\z")]
"""A name that is valid in ids, logs and file names."""


def _resolve(value: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value


def _resolve_secret(value: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return settings.secret_path(str(value), folder)


FilePath = Annotated[Path, Field(strict=False), AfterValidator(_resolve)]
"""A path, relative to the configuration file."""
SecretPath = Annotated[Path, Field(strict=False), AfterValidator(_resolve_secret)]
"""A secret's file: a systemd credential's name, or a path as above."""


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("an address must start with https:// or http:// and have a host")
    if not {"@", "?", "#"}.isdisjoint(value):
        raise ValueError("an address has no user, query or fragment; credentials are in files")
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise ValueError("http:// is allowed for loopback only; use https://")
    return value if value.endswith("/") else value + "/"


Endpoint = Annotated[str, AfterValidator(_endpoint)]


_LONGEST_SOCKET_PATH = 107
"""Bytes, unix(7)."""


def _resolve_socket(value: object, info: ValidationInfo) -> object:
    if value == "":
        return None
    if not isinstance(value, str | Path):
        return value
    folder: Path = (info.context or {}).get("folder", Path())
    path = folder / value
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"a socket's path may have at most {_LONGEST_SOCKET_PATH} bytes: {path}")
    return path


SocketPath = Annotated[Path | None, Field(strict=False), BeforeValidator(_resolve_socket)]
"""A Unix socket, relative to the configuration file; "" is none."""


def _address(value: str) -> str:
    if value == "":
        return value
    parts = urlsplit(f"//{value}")
    if parts.hostname is None or parts.port is None or parts.netloc != value:
        raise ValueError('an address to listen on is written "127.0.0.1:8470" or "[::1]:8470"')
    return value


Address = Annotated[str, AfterValidator(_address)]
"""A host and a port; "" is none."""


def _time_of_day(value: object) -> time:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = time.fromisoformat(value)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise ValueError('a time of day is written "07:00"')
    return value


TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]
"""An hour of the day, local time."""


def _recipient(value: str) -> str:
    check_recipients([value])
    return value


def check_recipients(texts: Sequence[str]) -> None:
    """Check that recipients are valid, and can be combined in one file.

    Raises:
        ValueError: they aren't, or can't.
    """
    try:
        parse_recipients(texts)
    except AgeKeyError as error:
        raise ValueError(
            f"{error.detail} ({error.hint})" if error.hint else error.detail
        ) from error


Recipient = Annotated[str, AfterValidator(_recipient)]
"""An age recipient in its Bech32 form."""
