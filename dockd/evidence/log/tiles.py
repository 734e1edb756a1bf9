"""The tiles of a log: how its hashes and entries lie in files, after C2SP ``tlog-tiles``.

A tile is up to 256 hashes of one level, each the root of a full tile below; a bundle is up to
256 entries. Full ones never change; the last of each level is written anew under its width
whenever it grows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dockd.base.errors import StatementLogError
from dockd.evidence.log.merkle import HASH_SIZE, leaf_hash, node_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes of a full tile, and entries of a full bundle."""
MAX_ENTRY = (1 << 16) - 1
"""Bytes of an entry, at most."""
_LENGTH = 2


@dataclass(frozen=True)
class Tile:
    """A tile of hashes, or (level None) a bundle of entries, by its place and width."""

    level: int | None
    index: int
    width: int

    @property
    def path(self) -> str:
        """Where it is, below the log's prefix."""
        kind = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{_index_path(self.index)}{partial}"


Fetch = Callable[[Tile], bytes]
"""Returns what a tile holds."""


def tile_of(level: int, index: int, size: int) -> Tile:
    """Return a tile of a level as the tree of ``size`` entries has it.

    Raises:
        StatementLogError: that tree has no such tile.
    """
    width = min((size >> (HEIGHT * level)) - index * WIDTH, WIDTH)
    if width < 1:
        raise StatementLogError(f"a log of {size} entries has no tile {index} at level {level}")
    return Tile(level, index, width)


def bundle_of(index: int, size: int) -> Tile:
    """Return a bundle of entries as the log of ``size`` entries has it.

    Raises:
        StatementLogError: that log has no such bundle.
    """
    return Tile(None, index, tile_of(0, index, size).width)


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """Yield the tiles and bundles that a log gains or sees grow between two sizes."""
    level = 0
    while (end := new >> (HEIGHT * level)) > 0:
        begin = old >> (HEIGHT * level)
        if end > begin:
            for index in range(begin // WIDTH, (end - 1) // WIDTH + 1):
                if level == 0:
                    yield bundle_of(index, new)
                yield tile_of(level, index, new)
        level += 1


class TileHashes:
    """The hashes of whole subtrees, out of the tiles of a log of one size."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self._size = size
        self._fetch = fetch

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of the subtree of ``2 ** level`` entries with an index.

        Raises:
            StatementLogError: a tile has another length than its width says.
        """
        tile_level, height = divmod(level, HEIGHT)
        first = index << height
        tile = tile_of(tile_level, first // WIDTH, self._size)
        hashes = split_hashes(tile, self._fetch(tile))
        offset = first % WIDTH
        return tree_hash(hashes[offset : offset + (1 << height)])


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [
            node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def split_hashes(tile: Tile, data: bytes) -> list[bytes]:
    """Return the hashes of a tile.

    Raises:
        StatementLogError: there are more or fewer than its width says.
    """
    if len(data) != tile.width * HASH_SIZE:
        raise StatementLogError(f"{tile.path} has {len(data)} bytes")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Return a bundle: each entry after its length, two bytes in network order.

    Raises:
        StatementLogError: an entry is too long.
    """
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise StatementLogError(f"an entry of {len(entry)} bytes is too long for a log")
    return b"".join(len(entry).to_bytes(_LENGTH, "big") + entry for entry in entries)


def split_entries(bundle: Tile, data: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        StatementLogError: there are more or fewer than its width says, or one is cut short.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        begin = at + _LENGTH
        at = begin + int.from_bytes(data[at:begin], "big")
        entries.append(data[begin:at])
    if at != len(data) or len(entries) != bundle.width:
        raise StatementLogError(f"{bundle.path} doesn't hold {bundle.width} whole entries")
    return entries


def narrowed(tile: Tile, data: bytes, width: int) -> bytes:
    """Return what a tile held when it was as narrow as a width.

    Raises:
        StatementLogError: it holds less, or something else.
    """
    if tile.level is None:
        return pack_entries(split_entries(tile, data)[:width])
    return b"".join(split_hashes(tile, data)[:width])


class RightEdge:
    """What a log needs to grow: the hashes of its last tile of each level."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        """Read the edge of a log of some size.

        Raises:
            StatementLogError: a tile has another length than its width says, or the last entries
                other hashes.
        """
        self.size = size
        self._hashes: list[list[bytes]] = []
        self._entries: list[bytes] = []
        if size % WIDTH:
            bundle = bundle_of(size // WIDTH, size)
            self._entries = split_entries(bundle, fetch(bundle))
            tile = tile_of(0, size // WIDTH, size)
            if [leaf_hash(entry) for entry in self._entries] != split_hashes(tile, fetch(tile)):
                raise StatementLogError(f"{bundle.path} holds other entries than {tile.path}")
        level = 0
        while size >> (HEIGHT * level):
            count = size >> (HEIGHT * level)
            hashes: list[bytes] = []
            if count % WIDTH:
                tile = tile_of(level, count // WIDTH, size)
                hashes = split_hashes(tile, fetch(tile))
            self._hashes.append(hashes)
            level += 1

    def append(self, entries: Sequence[bytes]) -> dict[Tile, bytes]:
        """Append entries; returns the tiles and bundles that are new or have grown.

        Raises:
            StatementLogError: an entry is too long; nothing was appended.
        """
        pack_entries(entries)
        before = self.size
        full: dict[Tile, bytes] = {}
        for entry in entries:
            self._entries.append(entry)
            self._push(0, leaf_hash(entry), full)
            self.size += 1
            if len(self._entries) == WIDTH:
                bundle = Tile(None, self.size // WIDTH - 1, WIDTH)
                full[bundle] = pack_entries(self._entries)
                self._entries = []
        grown = set(tiles_between(before, self.size))
        return full | {tile: data for tile, data in self._partial().items() if tile in grown}

    def _push(self, level: int, digest: bytes, full: dict[Tile, bytes]) -> None:
        if level == len(self._hashes):
            self._hashes.append([])
        hashes = self._hashes[level]
        hashes.append(digest)
        if len(hashes) == WIDTH:
            index = ((self.size + 1) >> (HEIGHT * level)) // WIDTH - 1
            full[Tile(level, index, WIDTH)] = b"".join(hashes)
            self._hashes[level] = []
            self._push(level + 1, tree_hash(hashes), full)

    def _partial(self) -> dict[Tile, bytes]:
        partial: dict[Tile, bytes] = {}
        if self._entries:
            bundle = Tile(None, self.size // WIDTH, len(self._entries))
            partial[bundle] = pack_entries(self._entries)
        for level, hashes in enumerate(self._hashes):
            if hashes:
                index = (self.size >> (HEIGHT * level)) // WIDTH
                partial[Tile(level, index, len(hashes))] = b"".join(hashes)
        return partial


def _index_path(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    return "/".join(groups)
