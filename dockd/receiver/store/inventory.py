"""A walk through the manifests of a store on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

from dockd.base.errors import ManifestRefusedError
from dockd.evidence.statements import Manifest, read_unverified_manifest, statement_sha256
from dockd.receiver import events

_MOST_NAMED = 20
"""Unreadable files that are logged."""


class StoredManifests:
    """All manifests below a folder, read one after the other."""

    def __init__(self, clips: Path, alive: Callable[[], None]) -> None:
        self._clips = clips
        self._alive = alive
        self._named = 0
        self.read = 0
        """How many have been read."""
        self.failed = 0
        """How many files and folders the disk could not return."""

    def __iter__(self) -> Iterator[tuple[Manifest, str]]:
        """Yield each manifest and its SHA-256; those that can't be read are logged."""
        for folder in self._names(self._clips):
            for subfolder in self._names(folder):
                self._alive()
                for path in self._names(subfolder):
                    # Version 0.1 kept further ones as <clip_id>.manifest.<16 digits>.jws.
                    if path.match("*.manifest*.jws"):
                        yield from self._manifest(path)

    def _names(self, folder: Path) -> list[Path]:
        try:
            return list(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._fails(folder, error)
            return []

    def _manifest(self, path: Path) -> Iterator[tuple[Manifest, str]]:
        try:
            token = path.read_text(encoding="ascii", errors="replace")
            manifest = read_unverified_manifest(token)
        except OSError as error:
            self._fails(path, error)
        except ManifestRefusedError as error:
            self._name(path, error)
        else:
            self.read += 1
            yield manifest, statement_sha256(token)

    def _fails(self, path: Path, error: OSError) -> None:
        self.failed += 1
        self._name(path, error)

    def _name(self, path: Path, error: Exception) -> None:
        if self._named < _MOST_NAMED:
            self._named += 1
            events.receiver_leftover(file=str(path), detail=str(error))
