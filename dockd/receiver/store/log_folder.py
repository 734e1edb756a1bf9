"""The statement log's files: tiles, bundles of entries, and the newest checkpoint."""

import shutil
from dataclasses import replace
from pathlib import Path

from dockd.evidence.log.tiles import WIDTH, Tile, narrowed
from dockd.host.files import Files

_CHECKPOINT = "checkpoint"


class LogFolder:
    """A log laid out as C2SP ``tlog-tiles`` has it, below one folder."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self._files = files

    def checkpoint(self) -> bytes | None:
        """Return the newest signed checkpoint; None if the log has not begun."""
        try:
            return (self.folder / _CHECKPOINT).read_bytes()
        except FileNotFoundError:
            return None

    def fetch(self, tile: Tile) -> bytes:
        """Return what a tile holds."""
        try:
            return (self.folder / tile.path).read_bytes()
        except FileNotFoundError:
            full = replace(tile, width=WIDTH)
            if tile == full:
                raise
            # It has become full, and was removed, since the caller looked at the log's size.
            return narrowed(full, (self.folder / full.path).read_bytes(), tile.width)

    def write(self, tiles: dict[Tile, bytes]) -> None:
        """Write tiles durably; no checkpoint speaks of them yet."""
        for tile, data in tiles.items():
            path = self.folder / tile.path
            self._files.make_folder(path.parent)
            self._files.publish_bytes(data, path)

    def publish(self, checkpoint: bytes) -> None:
        """Replace the checkpoint durably; all tiles that it needs are written."""
        self._files.make_folder(self.folder)
        self._files.publish_bytes(checkpoint, self.folder / _CHECKPOINT)

    def tidy(self, tiles: dict[Tile, bytes]) -> None:
        """Remove the partial tiles that full ones have replaced."""
        for tile in tiles:
            if tile.width == WIDTH:
                path = self.folder / tile.path
                shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)
