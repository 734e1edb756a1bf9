"""Verifies a whole log offline, from its checkpoint and tiles alone, one bundle at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dockd.base.errors import StatementError, StatementLogError
from dockd.evidence import jws
from dockd.evidence.keys import VerifyKey
from dockd.evidence.log.checkpoint import Checkpoint, SignedCheckpoint
from dockd.evidence.log.merkle import root_hash
from dockd.evidence.log.note import Note, NoteKey
from dockd.evidence.log.tiles import (
    WIDTH,
    Fetch,
    RightEdge,
    Tile,
    TileHashes,
    bundle_of,
    split_entries,
    tile_of,
)
from dockd.evidence.statements import Receipt, verify_receipt_alone
from dockd.evidence.verify import Verification

_RECEIPT = Receipt.model_fields["typ"].default


def verify_checkpoint(data: bytes, keys: Iterable[VerifyKey]) -> SignedCheckpoint:
    """Check a checkpoint by its receiver's keys, whatever the log's name is.

    Raises:
        StatementLogError: it isn't one, or none of the keys has signed it.
    """
    origin = Checkpoint.parse(Note.parse(data).text).origin
    known = [NoteKey(origin, key.public.public_bytes_raw()) for key in keys]
    return SignedCheckpoint.verify(data, known)


def verify_log(
    checkpoint: bytes, fetch: Fetch, keys: Iterable[VerifyKey], since: bytes | None = None
) -> Iterator[Verification]:
    """Check a log from its first entry to its last; a failed check ends it.

    Args:
        checkpoint: the signed checkpoint.
        fetch: returns tiles and bundles of entries.
        keys: the receiver's, by which checkpoints and entries are signed.
        since: an earlier signed checkpoint, which the log has to continue.
    """
    keys = list(keys)
    what = "checkpoint"
    try:
        newest = verify_checkpoint(checkpoint, keys).checkpoint
        yield Verification(what, True, f"{newest.origin}, {newest.size} entries")
        earlier = None
        if since is not None:
            what = "earlier checkpoint"
            earlier = _earlier(since, keys, newest)
        what = "tiles"
        reading = _Reading(newest.size, fetch, {key.kid: key for key in keys})
        if earlier is not None:
            reading.stop_at(earlier.size)
        reading.run()
        detail = f"all hashes of {newest.size} entries are those of the tiles"
        yield Verification(what, True, detail)
        what = "root"
        _compare(reading, newest)
        yield Verification(what, True, "it is the checkpoint's")
        if earlier is not None:
            what = "earlier checkpoint"
            _compare(reading, earlier)
            detail = f"the log continues it: its first {earlier.size} entries are those of then"
            yield Verification(what, True, detail)
    except (StatementLogError, OSError) as error:
        detail = error.detail if isinstance(error, StatementLogError) else str(error)
        yield Verification(what, False, detail)
        return
    yield reading.statements.finding


def _earlier(since: bytes, keys: Iterable[VerifyKey], newest: Checkpoint) -> Checkpoint:
    earlier = verify_checkpoint(since, keys).checkpoint
    if earlier.origin != newest.origin:
        raise StatementLogError(f"it is of another log, {earlier.origin}")
    if earlier.size > newest.size:
        raise StatementLogError(
            f"it has {earlier.size} entries, more than there are now: the log was rolled back"
        )
    return earlier


def _compare(reading: "_Reading", checkpoint: Checkpoint) -> None:
    if reading.root(checkpoint.size) != checkpoint.root:
        raise StatementLogError(
            f"the first {checkpoint.size} entries lead to another root than it says"
        )


@dataclass
class _Statements:
    """What the entries are."""

    keys: Mapping[str, VerifyKey]
    receipts: int = 0
    unknown: int = 0
    invalid: int = 0
    first: str = ""
    """The first invalid one, and why."""

    def look_at(self, entry: bytes, index: int) -> None:
        token = entry.decode("ascii", "replace")
        try:
            if jws.read(token, StatementError).header.get("typ") == _RECEIPT:
                verify_receipt_alone(token, self.keys.values())
                self.receipts += 1
            else:
                jws.verify(token, self.keys, StatementError)
                self.unknown += 1
        except StatementError as error:
            self.invalid += 1
            self.first = self.first or f"entry {index}: {error.detail}"

    @property
    def finding(self) -> Verification:
        counts = f"{self.receipts} receipts"
        if self.unknown:
            counts += f", {self.unknown} signed statements of unknown kinds"
        if self.invalid:
            counts += f", {self.invalid} invalid; the first is {self.first}"
        return Verification("entries", not self.invalid, counts)


@dataclass
class _Reading:
    """Reads a log from left to right, and holds no more than its right edge."""

    size: int
    fetch: Fetch
    keys: Mapping[str, VerifyKey]
    statements: _Statements = field(init=False)
    _edges: dict[int, dict[Tile, bytes]] = field(default_factory=dict)
    """By size, the recomputed partial tiles of the log of that size."""

    def __post_init__(self) -> None:
        self.statements = _Statements(self.keys)
        self._edge = RightEdge(0, self.fetch)
        self.stop_at(self.size)

    def stop_at(self, size: int) -> None:
        """Keep what the root of the log of a size needs."""
        self._edges[size] = {}

    def root(self, size: int) -> bytes:
        """Return the root of the log of a size at which it was to stop."""
        return root_hash(size, TileHashes(size, self._edges[size].__getitem__))

    def run(self) -> None:
        """Hash every entry into every tile, and compare.

        Raises:
            StatementLogError: a tile is not what its entries lead to.
            OSError: one can't be read.
        """
        for index in range(-(-self.size // WIDTH)):
            bundle = bundle_of(index, self.size)
            entries = split_entries(bundle, self.fetch(bundle))
            for number, entry in enumerate(entries, index * WIDTH):
                self.statements.look_at(entry, number)
            while entries:
                here = self._edge.size
                ends = [size - here for size in self._edges if here < size < here + len(entries)]
                count = min(ends, default=len(entries))
                self._append(entries[:count])
                entries = entries[count:]

    def _append(self, entries: list[bytes]) -> None:
        for tile, data in self._edge.append(entries).items():
            if tile.level is None:
                continue
            for size, edge in self._edges.items():
                if tile.width < WIDTH and _has(size, tile):
                    edge[tile] = data
            if _has(self.size, tile) and self.fetch(tile) != data:
                raise StatementLogError(f"{tile.path} has other hashes than its entries lead to")


def _has(size: int, tile: Tile) -> bool:
    """Return whether a tile is, in this width, one of the log of a size."""
    try:
        return tile_of(tile.level or 0, tile.index, size) == tile
    except StatementLogError:
        return False
