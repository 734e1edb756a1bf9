"""Where ciphertext is uploaded to: the interface of a target, and its responses."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from dockd.base.randomness import Randomness
from dockd.station.model import Clip
from dockd.station.targets.health import TargetHealth

_NONCE_BYTES = 24


def fresh_nonce(randomness: Randomness) -> str:
    """Return a new nonce, which the response must repeat."""
    return randomness.token(_NONCE_BYTES)


@dataclass(frozen=True)
class Sealed:
    """A clip that is ready for upload: its ciphertext in the spool, and its manifest."""

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
        """Return it for a clip that was sealed."""
        return cls(
            clip_id=str(clip.clip_id),
            manifest=str(clip.manifest),
            path=path,
            size=int(clip.ciphertext_size or 0),
            sha256=str(clip.ciphertext_sha256),
        )


@dataclass(frozen=True)
class Received:
    """An unverified receipt."""

    receipt: str
    answer: str
    """The unverified signed answer to this request; empty if there is none."""


@dataclass(frozen=True)
class Verifying:
    """The server has all bytes and is reading them back."""

    retry_after: float
    """Seconds after which to retry."""


@dataclass(frozen=True)
class NotStored:
    """The server does not have the clip."""


ReceiptAnswer = Received | Verifying | NotStored


class Target(Protocol):
    """A server that stores ciphertext.

    Every call is one attempt: callers decide when to retry.
    """

    health: TargetHealth
    """Its health."""

    @property
    def gives_receipts(self) -> bool:
        """Whether the server issues receipts; otherwise nothing is ever wiped."""

    async def receipt(self, sealed: Sealed, nonce: str) -> ReceiptAnswer:
        """Request a clip's receipt with its manifest.

        Args:
            sealed: the clip.
            nonce: must be repeated by the answer, so that an older one is not accepted.

        Raises:
            TransientError: no response now.
            RejectedError: the manifest is permanently rejected.
        """

    async def anchor(self, kid: str, nonce: str) -> str:
        """Request the latest journal head that the server knows for a station's key; unverified.

        Raises:
            TransientError: no response now.
            RejectedError: the request is permanently rejected.
        """

    async def upload(
        self,
        sealed: Sealed,
        url: str | None,
        remember: Callable[[str], Awaitable[None]],
        progress: Callable[[int], None],
    ) -> None:
        """Upload a clip's ciphertext, resuming an earlier attempt.

        Returns when the server has every byte; that is no acknowledgement.

        Args:
            sealed: the clip.
            url: the upload's address from an earlier attempt, or None.
            remember: stores the upload's address, before the first byte is sent.
            progress: called with the number of bytes that the server has, as far as known. The
                first number of an attempt is reported by the server; later ones count bytes
                sent, and decrease when the server has fewer.

        Raises:
            TransientError: it was interrupted; another attempt resumes it.
            RejectedError: permanently rejected by the server.
            SpoolDamagedError: the ciphertext is missing, or not what was written.
            SpoolError: it can't be read now.
        """

    async def aclose(self) -> None:
        """Close the connections."""
