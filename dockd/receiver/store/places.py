"""Where a store on disk has its copies; see ``disk`` for the picture."""

from dataclasses import dataclass
from pathlib import Path

from dockd.evidence.statements import Manifest, statement_sha256

RECEIPT = ".receipt.jws"


@dataclass(frozen=True)
class Place:
    """The three files of one copy."""

    folder: Path
    stem: str

    @property
    def clip_id(self) -> str:
        """Whose copy it is, by its name."""
        return self.stem[:64]

    @property
    def age(self) -> Path:
        """The ciphertext."""
        return self.folder / f"{self.stem}.age"

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.folder / f"{self.stem}.manifest.jws"

    @property
    def receipt(self) -> Path:
        """The receipt."""
        return self.folder / f"{self.stem}{RECEIPT}"

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All three, the receipt last."""
        return self.age, self.manifest, self.receipt

    @property
    def vacant(self) -> bool:
        """Whether none of the three exists."""
        # Without a receipt, it may be an upload that a failing disk kept from its own place.
        return not any(path.exists() for path in self.files)


def folder_of(clips: Path, clip_id: str) -> Path:
    """Return the folder of a clip's copies."""
    return clips / clip_id[:2] / clip_id[2:4]


def places_of(clips: Path, manifest: Manifest, token: str) -> tuple[Place, Place, Place]:
    """Return where the copy that a manifest brought can be.

    It is the clip's first, or is named after the manifest; copies for other recipients that
    version 0.1 stored are named after their ciphertext.
    """
    clip_id, folder = manifest.clip_id, folder_of(clips, manifest.clip_id)
    own = f"{clip_id}.{statement_sha256(token)[:16]}"
    old = f"{clip_id}.{manifest.ciphertext.sha256[:16]}"
    return Place(folder, clip_id), Place(folder, own), Place(folder, old)


def read_statement(path: Path) -> str | None:
    """Return a statement; None if there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
