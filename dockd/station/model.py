"""The domain's types: cameras, clips, and what a camera's bay shows."""

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from dockd.station.events import ClipFields
from dockd.station.lifecycle import State

Kind = Literal["video", "sidecar"]


class Standing(StrEnum):
    """Camera status for the officer."""

    WORKING = "working"
    """Work is pending: leave it docked."""
    SAFE = "safe"
    """Nothing is pending: safe to take."""
    STUCK = "stuck"
    """Done as far as possible; the rest needs operator action."""


class Doing(StrEnum):
    """What dockd is doing with a docked camera."""

    NOTHING = "nothing"
    """It waits: for its clips' receipts, for the next scan, or to be taken."""
    LOOKING = "looking"
    READING = "reading"
    WIPING = "wiping"


@dataclass(frozen=True)
class Camera:
    """A body-worn camera, known by its profile and its serial."""

    profile: str
    serial: str

    @property
    def id(self) -> str:
        """Its name in ledger, logs and clip ids."""
        return f"{self.profile}:{self.serial}"


Pausable = Literal["uploads", "wipes"]


@dataclass(frozen=True)
class Pause:
    """An operator's order to pause something."""

    what: Pausable
    reason: str
    since: str
    """RFC 3339 in UTC with milliseconds, so that times compare as text."""
    until: str | None
    """In the same form; None: until it is resumed."""
    uid: int
    """The user who ordered it."""


@dataclass(frozen=True)
class FileStat:
    """What shows whether a file is still the file that was read."""

    size: int
    modified_ns: int
    """Nanoseconds since the epoch, clamped to 64 bits: from 1677 to 2262."""
    changed_ns: int
    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileStat":
        """Make it from a stat result."""
        return cls(
            status.st_size,
            within_64_bits(status.st_mtime_ns),
            within_64_bits(status.st_ctime_ns),
            status.st_dev,
            status.st_ino,
        )


def within_64_bits(nanoseconds: int) -> int:
    """Return a time, clamped to the range that the ledger can hold."""
    return min(max(nanoseconds, -(1 << 63)), (1 << 63) - 1)


@dataclass(frozen=True)
class Match:
    """What a profile states about a file that it selects."""

    kind: Kind
    event: bool = False
    recorded_at: float | None = None
    """Seconds since the epoch, from the file's name."""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundFile:
    """A complete file on a camera that the profile selects."""

    path: bytes
    """Relative to the camera's root."""
    size: int
    modified_ns: int
    match: Match
    stat: FileStat | None = None
    """What shows whether it was replaced, as its root reports it; None if unknown."""


@dataclass(frozen=True)
class Clip:
    """One file on a camera, and the ledger's record of it."""

    id: int
    camera: Camera
    docking: int
    """The docking in which it was found, or last read."""
    path: bytes
    size: int
    modified_ns: int
    match: Match
    state: State
    present: bool
    """Whether its file is on the camera, as of the newest scan."""
    stat: FileStat | None
    """The file as it was when it was read."""
    clip_id: str | None
    plaintext_sha256: str | None
    ciphertext_sha256: str | None
    ciphertext_size: int | None
    manifest: str | None
    receipt: str | None
    answer: str | None
    """The receiver's answer that came with the receipt."""
    upload_url: str | None
    wipe_number: int
    """Part of the names of files that its wipe sets aside; 0 until one begins."""
    error: str | None
    """The event name of the error that keeps it from continuing, if there is one."""
    problem: str | None
    """That error's message."""

    @property
    def name(self) -> str:
        """Its path, as text to be shown."""
        return display_path(self.path)

    @property
    def about(self) -> ClipFields:
        """The fields that identify it in the log."""
        return {"camera": self.camera.id, "clip": self.id, "path": self.name}


def shorten(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters: its beginning, an ellipsis and its end."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + "…" + text[len(text) - tail :]


def display_path(path: bytes) -> str:
    """Return a path as :func:`whole_path` does, cut in its middle if it is very long."""
    return shorten(whole_path(path), _LONGEST_SHOWN)


_LONGEST_SHOWN = 1000
"""Characters of a path that are shown, at most: nested folders can make it fill screens."""


def whole_path(path: bytes) -> str:
    r"""Return a path as one line of text, other bytes than printable UTF-8 as ``\xNN``."""
    return "".join(
        character if character.isprintable() and character != "\\" else _escape(character)
        for character in path.decode("utf-8", "surrogateescape")
    )


def raw_path(shown: str) -> bytes:
    """Return the path for a text made by :func:`whole_path`."""
    return re.sub(
        rb"\\x([0-9a-f]{2})",
        lambda match: bytes.fromhex(match[1].decode()),
        shown.encode("utf-8", "surrogateescape"),
    )


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
