"""What the receiver needs of a store: unfinished uploads, and copies of clips.

``disk`` is one. Every method blocks, may be called from any thread, and raises OSError where
the store's medium fails.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dockd.evidence.log.tiles import Tile
from dockd.evidence.statements import Manifest, Signer

Sign = Callable[[Manifest, str], str]
"""Makes the compact receipt for a manifest and its compact form."""


@dataclass(frozen=True)
class Record:
    """What is known of an upload for as long as it lasts."""

    id: str
    manifest_token: str
    """The compact manifest that it was created with."""


@dataclass(frozen=True)
class Copy:
    """A stored ciphertext of a clip, with its receipt."""

    name: str
    """What the store calls it."""
    manifest: Manifest
    manifest_token: str
    manifest_sha256: str
    receipt: str | None
    """None if no station accepts the stored one: it is damaged, or a clock was wrong."""
    file: str
    """Where an operator finds the ciphertext."""
    receipt_file: str
    """Where an operator finds the receipt."""


class Outcome(enum.Enum):
    """The result of verifying a complete upload."""

    STORED = "stored"
    KNOWN = "known"
    """The same upload was stored before, and is intact."""
    STOPPED = "stopped"
    """The receiver is shutting down; the next start continues."""


class OpenPart(Protocol):
    """The bytes of an unfinished upload, open for writing."""

    def size(self) -> int:
        """Return how many bytes there are."""

    def write(self, pieces: Sequence[bytes], offset: int) -> int:
        """Write all pieces at an offset and return how many bytes that was."""

    def truncate(self, size: int) -> None:
        """Cut the bytes off at a size."""

    def close(self) -> None:
        """Close it; a medium may report an earlier write's failure only now."""


class Incoming(Protocol):
    """Unfinished uploads."""

    def create(self, manifest_token: str, metadata: str) -> Record:
        """Begin an upload, durably, under an id that can't be guessed."""

    def load(self) -> tuple[list[Record], int]:
        """Return the uploads of earlier runs, and how many leftovers were removed."""

    def metadata(self, upload_id: str) -> str:
        """Return the ``Upload-Metadata`` that an upload was created with."""

    def offset(self, upload_id: str) -> int | None:
        """Return how many bytes have arrived; None if there are none of this upload."""

    def touched(self, upload_id: str) -> datetime:
        """Return when the last byte arrived."""

    def open(self, upload_id: str) -> OpenPart:
        """Open an upload's bytes for writing."""

    def beginning(self, upload_id: str, size: int) -> bytes:
        """Return the first bytes of an upload, at most ``size``."""

    def file(self, upload_id: str) -> str:
        """Return where an operator finds an upload's bytes."""

    def discard(self, upload_id: str) -> None:
        """Remove an upload, bytes and all."""

    def try_write(self) -> None:
        """Write something small and remove it again."""


class StoredManifests(Protocol):
    """A walk through all stored manifests."""

    read: int
    """How many have been read."""
    failed: int
    """How many could not be read now, with whatever lies below unreadable folders."""

    def __iter__(self) -> Iterator[tuple[Manifest, str]]:
        """Yield each manifest and its SHA-256; those that can't be read are logged."""


class LogFiles(Protocol):
    """Where the statement log lies."""

    def checkpoint(self) -> bytes | None:
        """Return the newest signed checkpoint; None if the log has not begun."""

    def fetch(self, tile: Tile) -> bytes:
        """Return what a tile holds."""

    def write(self, tiles: dict[Tile, bytes]) -> None:
        """Write tiles durably; no checkpoint speaks of them yet."""

    def publish(self, checkpoint: bytes) -> None:
        """Replace the checkpoint durably; all tiles that it needs are written."""

    def tidy(self, tiles: dict[Tile, bytes]) -> None:
        """Remove the partial tiles that full ones have replaced."""


class Store(Protocol):
    """Where one receiver keeps what it has received."""

    @property
    def incoming(self) -> Incoming:
        """The unfinished uploads."""

    @property
    def log(self) -> LogFiles:
        """The statement log's files."""

    def opened(self) -> AbstractContextManager[None]:
        """Hold the store against other receivers.

        Raises:
            StoreBusyError: another one has it.
        """

    def stop(self) -> None:
        """Interrupt verifications."""

    def free_bytes(self) -> int:
        """Return how many more bytes the store can take."""

    def find(self, manifest: Manifest, token: str) -> Copy | None:
        """Return the copy that a manifest brought, if it is stored; nothing is read back."""

    def receipts(self, clip_id: str) -> Iterator[tuple[Signer, str]]:
        """Yield the receipts of a clip, newest first, each with the station that has it."""

    def manifests(self, alive: Callable[[], None]) -> StoredManifests:
        """Return a walk through all manifests; ``alive`` is called as it proceeds."""

    def read_back(self, copy: Copy) -> bool:
        """Read a copy from the medium and compare it with its manifest; false if stopped.

        Raises:
            UploadDamagedError: it differs, or is missing.
        """

    def renew(self, copy: Copy, sign: Sign) -> None:
        """Give a copy that was read back a new receipt; the old one is kept beside it.

        Raises:
            ClocksDifferError: the clock is wrong.
        """

    def finish(self, record: Record, manifest: Manifest, sign: Sign) -> Outcome:
        """Verify a complete upload and make it a stored copy.

        Raises:
            UploadDamagedError: it differs from what the manifest says.
            UploadUnreadableError: the medium can't return the bytes.
            ClocksDifferError: a clock is wrong; the upload stays.
        """

    def give_up(self, record: Record, manifest: Manifest) -> str:
        """Set an unreadable upload aside, and return where an operator finds its bytes."""

    def take_back(self, record: Record, manifest: Manifest) -> bool:
        """Undo what a crash interrupted; return whether the upload was stored after all."""

    def aside(self) -> list[str]:
        """Return the names of the copies that were set aside."""

    def restore(self, name: str) -> None:
        """Check a copy that was set aside, and put it back if it is intact after all."""
