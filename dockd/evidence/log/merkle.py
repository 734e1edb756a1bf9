"""The Merkle tree of RFC 6962, section 2.1: hashes, and proofs of inclusion and consistency.

A proof is computed from stored subtree hashes, and verified from nothing but itself; both follow
the recursive definitions of the RFC.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from dockd.base.errors import StatementLogError

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without entries."""

Subtree = Callable[[int, int], bytes]
"""Returns the hash of the subtree of ``2 ** level`` entries, all there, by level and index."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two neighbouring subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_hash(size: int, subtree: Subtree) -> bytes:
    """Return the root of the first ``size`` entries."""
    return _range_hash(0, size, subtree) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the audit path of an entry in the tree of the first ``size`` entries.

    Hashes are those of siblings, from the leaf's to the root's child: RFC 6962, section 2.1.1.

    Raises:
        StatementLogError: the tree has no such entry.
    """
    if not 0 <= index < size:
        raise StatementLogError(f"a tree of {size} entries has no entry {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(middle, end, subtree))
            end = middle
        else:
            path.append(_range_hash(start, middle, subtree))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the first ``old`` entries are those of an earlier tree.

    RFC 6962, section 2.1.2; of equal trees, and of the empty one, there is nothing to prove.

    Raises:
        StatementLogError: the new tree is smaller.
    """
    if not 0 <= old <= new:
        raise StatementLogError(f"a tree of {new} entries holds none of {old}")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    start, end, is_known = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_hash(middle, end, subtree))
            end = middle
        else:
            path.append(_range_hash(start, middle, subtree))
            start, is_known = middle, False
    if not is_known:
        path.append(_range_hash(start, end, subtree))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the entry with a leaf hash is at an index of the tree with a root.

    Raises:
        StatementLogError: the proof doesn't show it.
    """
    if not 0 <= index < size:
        raise StatementLogError(f"a tree of {size} entries has no entry {index}")
    path = list(proof)
    if _root_from_leaf(leaf, index, size, path) != root or path:
        raise StatementLogError("the inclusion proof leads to another root")


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree with a new root continues the one with an old root.

    Raises:
        StatementLogError: the proof doesn't show it.
    """
    if not 0 <= old <= new:
        raise StatementLogError(f"a tree of {new} entries continues none of {old}")
    path = list(proof)
    if old == 0:
        roots = EMPTY_ROOT, new_root
    else:
        roots = _roots_from_old(old, new, old_root, path, is_known=True)
    if roots != (old_root, new_root) or path:
        raise StatementLogError("the consistency proof leads to other roots")


def _root_from_leaf(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """Undo PATH of section 2.1.1, which appends a tree's own sibling last."""
    if size == 1:
        return leaf
    split = _split(size)
    sibling = _pop(path)
    if index < split:
        return node_hash(_root_from_leaf(leaf, index, split, path), sibling)
    return node_hash(sibling, _root_from_leaf(leaf, index - split, size - split, path))


def _roots_from_old(
    old: int, new: int, old_root: bytes, path: list[bytes], *, is_known: bool
) -> tuple[bytes, bytes]:
    """Undo SUBPROOF of section 2.1.2: the roots of the first ``old`` entries, and of all.

    Args:
        old: entries of the smaller tree.
        new: entries of the larger one.
        old_root: the smaller tree's root, as it is known.
        path: the proof; what is used of it is taken off its end.
        is_known: whether the subtree begins where the trees do, so that the smaller tree is it.
    """
    if old == new:
        root = old_root if is_known else _pop(path)
        return root, root
    split = _split(new)
    sibling = _pop(path)
    if old <= split:
        left_old, left = _roots_from_old(old, split, old_root, path, is_known=is_known)
        return left_old, node_hash(left, sibling)
    right_old, right = _roots_from_old(old - split, new - split, old_root, path, is_known=False)
    return node_hash(sibling, right_old), node_hash(sibling, right)


def _pop(path: list[bytes]) -> bytes:
    if not path:
        raise StatementLogError("the proof is too short")
    return path.pop()


def subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the largest whole subtrees that make up a range, by level and index, from the left.

    The range is one that a tree splits into: its start is a multiple of the largest subtree.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _range_hash(start: int, end: int, subtree: Subtree) -> bytes:
    found: bytes | None = None
    for level, index in reversed(list(subtrees(start, end))):
        left = subtree(level, index)
        found = left if found is None else node_hash(left, found)
    assert found is not None, "a range of a tree is not empty"
    return found


def _split(size: int) -> int:
    """Return the largest power of two that is smaller than a size."""
    return 1 << ((size - 1).bit_length() - 1)
