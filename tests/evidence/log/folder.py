"""A log in a folder, as a store lays it out."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dockd.evidence.log.checkpoint import Checkpoint
from dockd.evidence.log.merkle import root_hash
from dockd.evidence.log.note import Note, NoteSigner
from dockd.evidence.log.tiles import RightEdge, Tile, TileHashes

ORIGIN = "evidence.example/log"


class FolderLog:
    """Grows by entries, with a signed checkpoint after each batch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
        self.edge = RightEdge(0, self.fetch)
        self.written: list[Tile] = []

    @property
    def hashes(self) -> TileHashes:
        return TileHashes(self.edge.size, self.fetch)

    @property
    def checkpoint(self) -> Checkpoint:
        size = self.edge.size
        return Checkpoint(ORIGIN, size, root_hash(size, self.hashes))

    def fetch(self, tile: Tile) -> bytes:
        return (self.folder / tile.path).read_bytes()

    def append(self, *entries: bytes) -> Checkpoint:
        for tile, data in self.edge.append(entries).items():
            path = self.folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self.written.append(tile)
        checkpoint = self.checkpoint
        note = Note(checkpoint.text, (self.signer.sign(checkpoint.text),))
        (self.folder / "checkpoint").write_text(str(note))
        return checkpoint
