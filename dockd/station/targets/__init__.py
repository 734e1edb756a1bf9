"""Where ciphertext goes: what a target is asked for, and what it answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from dockd.base.randomness import Randomness
from dockd.station.model import Clip
from dockd.station.targets.health import TargetHealth

_NONCE_BYTES = 24


def fresh_nonce(randomness: Randomness) -> str:
    """Return what no question has had before, for its answer to repeat."""
    return randomness.token(_NONCE_BYTES)


@dataclass(frozen=True)
class Sealed:
    """A clip that is ready to leave: its ciphertext in the spool, and its manifest."""

    clip_id: str
    manifest: str
    """The compact JWS."""
    path: Path
    """The ciphertext's file."""
    size: int
    sha256: str
    """Of the whole ciphertext, in hex."""

    @classmethod
    def of(cls, clip: Clip, path: Path) -> Self:
        """Take it from a clip that was sealed."""
        return cls(
            clip_id=str(clip.clip_id),
            manifest=str(clip.manifest),
            path=path,
            size=int(clip.ciphertext_size or 0),
            sha256=str(clip.ciphertext_sha256),
        )


@dataclass(frozen=True)
class Received:
    """Something that claims to be a receipt; nobody has checked it yet."""

    receipt: str
    answer: str
    """Something that claims to be an answer to this question; empty where there is none."""


@dataclass(frozen=True)
class Verifying:
    """The server has all the bytes and is reading them back."""

    retry_after: float
    """Seconds after which it makes sense to ask again."""


@dataclass(frozen=True)
class NotStored:
    """The server does not have the clip."""


ReceiptAnswer = Received | Verifying | NotStored


class Target(Protocol):
    """A place that keeps ciphertext.

    Both requests are one attempt each: whoever calls them decides when to try again.
    """

    health: TargetHealth
    """How it answers."""

    @property
    def gives_receipts(self) -> bool:
        """Whether the place signs for what it keeps; otherwise nothing is ever wiped."""

    async def receipt(self, sealed: Sealed, nonce: str) -> ReceiptAnswer:
        """Ask for a clip's receipt, handing over its manifest; where none is given, none is there.

        Args:
            sealed: the clip.
            nonce: what the answer has to repeat, so that no older one does for it.

        Raises:
            TransientError: no answer now.
            RejectedError: the manifest will never be accepted.
        """

    async def anchor(self, kid: str, nonce: str) -> str:
        """Ask where the journal behind a station's key is known to stand; nobody has checked it.

        Raises:
            TransientError: no answer now.
            RejectedError: the question will never be answered.
        """

    async def upload(
        self,
        sealed: Sealed,
        url: str | None,
        remember: Callable[[str], Awaitable[None]],
        progress: Callable[[int], None],
    ) -> None:
        """Bring a clip's ciphertext, from where an earlier attempt ended.

        Returns when the server has every byte, which is no acknowledgement.

        Args:
            sealed: the clip.
            url: what an earlier attempt of this clip remembered, or None.
            remember: keeps the upload's address, before the first byte goes there.
            progress: is told how many bytes the server has, as far as is known. The first
                number of an attempt is the server's own word; later ones count bytes as
                they go out, and fall back when the server has fewer.

        Raises:
            TransientError: it broke; another attempt goes on where this one ended.
            RejectedError: the server never will store this.
            SpoolDamagedError: the ciphertext is gone, or not what was written.
            SpoolError: it can't be read now.
        """

    async def aclose(self) -> None:
        """Close the connections."""
