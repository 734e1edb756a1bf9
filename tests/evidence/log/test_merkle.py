"""RFC 6962's tree over tiles, held against its definition and against other people's code."""

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockd.base.errors import StatementLogError
from dockd.evidence.log.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from dockd.evidence.log.tiles import RightEdge, Tile, TileHashes
from tests.evidence.log.folder import ORIGIN, FolderLog
from tests.fetching import CACHE, alone

PEER = Path(__file__).with_name("peer")
ENTRIES = [f"entry {number}".encode() for number in range(70_000)]


def mth(entries: Sequence[bytes]) -> bytes:
    """Section 2.1, to the letter."""
    if not entries:
        return EMPTY_ROOT
    if len(entries) == 1:
        return leaf_hash(entries[0])
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return node_hash(mth(entries[:k]), mth(entries[k:]))


def hashes_of(size: int) -> TileHashes:
    stored: dict[Tile, bytes] = {}
    edge = RightEdge(0, stored.__getitem__)
    stored.update(edge.append(ENTRIES[:size]))
    return TileHashes(size, stored.__getitem__)


@pytest.mark.parametrize("size", [*range(18), 255, 256, 257, 511, 512, 600])
def test_the_root_is_the_definitions(size: int) -> None:
    assert root_hash(size, hashes_of(size)) == mth(ENTRIES[:size])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33])
def test_every_entry_of_a_tree_can_be_shown_to_be_in_it(size: int) -> None:
    hashes = hashes_of(size)
    root = root_hash(size, hashes)
    for index in range(size):
        proof = inclusion_proof(index, size, hashes)
        verify_inclusion(leaf_hash(ENTRIES[index]), index, size, root, proof)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33])
def test_a_tree_can_be_shown_to_continue_every_smaller_one(size: int) -> None:
    hashes = hashes_of(size)
    root = root_hash(size, hashes)
    for old in range(size + 1):
        proof = consistency_proof(old, size, hashes)
        verify_consistency(old, mth(ENTRIES[:old]), size, root, proof)


@settings(deadline=None)
@given(st.data())
def test_no_other_inclusion_proof_passes(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    hashes = hashes_of(size)
    root = root_hash(size, hashes)
    proof = inclusion_proof(index, size, hashes)
    at = data.draw(st.integers(0, len(proof) - 1))
    leaf = leaf_hash(ENTRIES[index])
    other = [*proof[:at], bytes(32), *proof[at + 1 :]]
    for changed in (other, proof[:at] + proof[at + 1 :], [*proof, bytes(32)], proof[::-1]):
        if changed != proof:
            with pytest.raises(StatementLogError):
                verify_inclusion(leaf, index, size, root, changed)
    with pytest.raises(StatementLogError):
        verify_inclusion(leaf_hash(b"another"), index, size, root, proof)
    with pytest.raises(StatementLogError):
        verify_inclusion(leaf, size, size, root, proof)


@settings(deadline=None)
@given(st.data())
def test_no_other_consistency_proof_passes(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 300))
    old = data.draw(st.integers(1, size - 1))
    hashes = hashes_of(size)
    old_root, root = mth(ENTRIES[:old]), root_hash(size, hashes)
    proof = consistency_proof(old, size, hashes)
    at = data.draw(st.integers(0, len(proof) - 1))
    other = [*proof[:at], bytes(32), *proof[at + 1 :]]
    for changed in (other, proof[:at] + proof[at + 1 :], [*proof, bytes(32)], []):
        with pytest.raises(StatementLogError):
            verify_consistency(old, old_root, size, root, changed)
    with pytest.raises(StatementLogError):
        verify_consistency(old, bytes(32), size, root, proof)
    with pytest.raises(StatementLogError):
        verify_consistency(old, old_root, size, bytes(32), proof)
    with pytest.raises(StatementLogError):
        verify_consistency(size, root, old, old_root, proof)


def test_trees_of_one_size_with_two_roots_are_two_histories() -> None:
    with pytest.raises(StatementLogError):
        verify_consistency(5, mth(ENTRIES[:5]), 5, mth(ENTRIES[1:6]), [])


@pytest.fixture(scope="module")
def peer() -> Path:
    """A program made of golang.org/x/mod and Tessera's client."""
    program = CACHE / "log-peer"
    with alone("log-peer"):
        command = ["go", "build", "-buildvcs=false", "-o", str(program), "."]
        subprocess.run(command, cwd=PEER, check=True)
    return program


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "old"),
    [(1, 0), (2, 1), (255, 254), (256, 255), (257, 256), (600, 3), (70_000, 65_537)],
)
def test_others_read_the_log_and_make_the_same_proofs_of_it(
    peer: Path, tmp_path: Path, size: int, old: int
) -> None:
    log = FolderLog(tmp_path)
    log.append(*ENTRIES[: max(old, 1)])
    if size > old:
        log.append(*ENTRIES[max(old, 1) : size])
    indexes = sorted({0, size // 3, size // 2, max(size - 2, 0), size - 1})
    asked = {
        "folder": str(tmp_path),
        "key": str(log.signer.verifier),
        "origin": ORIGIN,
        "old": old,
        "indexes": indexes,
    }
    ended = subprocess.run(
        [peer], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    hashes = log.hashes
    assert told["Size"] == size
    assert base64.b64decode(told["Root"]) == root_hash(size, hashes)
    assert [base64.b64decode(entry) for entry in told["Entries"]] == [ENTRIES[n] for n in indexes]
    for index in indexes:
        theirs = [base64.b64decode(one) for one in told["Inclusion"][str(index)] or []]
        assert theirs == inclusion_proof(index, size, hashes)
    theirs = [base64.b64decode(one) for one in told["Consistency"] or []]
    assert theirs == consistency_proof(old, size, hashes)
