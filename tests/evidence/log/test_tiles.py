"""How a log lies in files, after C2SP tlog-tiles."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockd.base.errors import StatementLogError
from dockd.evidence.log.merkle import root_hash
from dockd.evidence.log.tiles import (
    MAX_ENTRY,
    RightEdge,
    Tile,
    TileHashes,
    bundle_of,
    pack_entries,
    split_entries,
    split_hashes,
    tile_of,
    tiles_between,
)
from tests.evidence.log.folder import FolderLog


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(1, 1234067, 256), "tile/1/x001/x234/067"),
        (Tile(None, 1000, 1), "tile/entries/x001/000.p/1"),
        (Tile(63, 0, 1), "tile/63/000.p/1"),
    ],
)
def test_a_tile_lies_where_the_specification_puts_it(tile: Tile, path: str) -> None:
    assert tile.path == path


def test_the_tiles_of_the_specifications_example_are_those_that_it_names() -> None:
    tiles = list(tiles_between(0, 70_000))
    hashes = [tile for tile in tiles if tile.level is not None]
    assert sum(tile.level == 0 and tile.width == 256 for tile in hashes) == 273
    assert [tile for tile in hashes if tile.width < 256] == [
        Tile(0, 273, 112),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    assert sum(tile.level == 1 and tile.width == 256 for tile in hashes) == 1
    assert sum(tile.level is None for tile in tiles) == 274
    assert list(tiles_between(0, 256)) == [Tile(None, 0, 256), Tile(0, 0, 256), Tile(1, 0, 1)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_a_log_is_the_same_however_its_entries_came(batches: list[int]) -> None:
    size = sum(batches)
    entries = [f"{number}".encode() for number in range(size)]
    stored: dict[Tile, bytes] = {}
    begin = 0
    for batch in batches:
        # Each time from what is stored, as after a restart.
        edge = RightEdge(begin, stored.__getitem__)
        new = edge.append(entries[begin : begin + batch])
        assert set(new) == set(tiles_between(begin, begin + batch))
        stored.update(new)
        begin += batch
    at_once: dict[Tile, bytes] = {}
    at_once.update(RightEdge(0, at_once.__getitem__).append(entries))
    assert at_once.items() <= stored.items()
    root = root_hash(size, TileHashes(size, stored.__getitem__))
    assert root == root_hash(size, TileHashes(size, at_once.__getitem__))


def test_a_full_tile_is_never_written_twice(tmp_path: Path) -> None:
    log = FolderLog(tmp_path)
    for _ in range(7):
        log.append(*[b"entry"] * 111)
    full = [tile for tile in log.written if tile.width == 256]
    assert len(full) == len(set(full)) == 2 * (7 * 111 // 256)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=600), min_size=1, max_size=256))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    bundle = Tile(None, 0, len(entries))
    assert split_entries(bundle, pack_entries(entries)) == entries


def test_an_entry_that_is_too_long_is_refused_and_nothing_appended() -> None:
    stored: dict[Tile, bytes] = {}
    edge = RightEdge(0, stored.__getitem__)
    with pytest.raises(StatementLogError, match="too long"):
        edge.append([b"good", bytes(MAX_ENTRY + 1)])
    assert edge.size == 0
    assert set(edge.append([bytes(MAX_ENTRY)])) == {Tile(None, 0, 1), Tile(0, 0, 1)}


@pytest.mark.parametrize("data", [b"", b"\0\1", b"\0\1ab", b"\0\1a\0\1b", b"\0\2a"])
def test_a_bundle_with_more_or_less_than_its_width_is_refused(data: bytes) -> None:
    with pytest.raises(StatementLogError):
        split_entries(Tile(None, 0, 1), data)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_tile_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(StatementLogError):
        split_hashes(Tile(0, 0, 1), bytes(size))


def test_a_log_has_no_tiles_beyond_its_end() -> None:
    assert bundle_of(1, 257) == Tile(None, 1, 1)
    for level, index in ((0, 2), (1, 1), (2, 0)):
        with pytest.raises(StatementLogError):
            tile_of(level, index, 257)
