"""RFC 6962 Merkle trees: hashes, roots, proofs. No duplicated leaves, no padding, no surplus in a proof.

A tree is seen through a function that gives the hash of any complete, aligned subtree; who keeps them is not known here.
"""

import hashlib
from collections.abc import Callable, Sequence

from audit.errors import ProofError

EMPTY = hashlib.sha256(b"").digest()
MAX_PROOF = 63
Nodes = Callable[[int, int], bytes]
"""(level, index) -> hash of the 2^level leaves that begin at index * 2^level."""


def leaf_hash(entry: bytes) -> bytes:
    # RFC 6962 2.1: 0x00 and 0x01 keep a leaf from posing as a node, and a node as a leaf.
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes held in memory."""
    if not hashes:
        return EMPTY
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return node_hash(root_of(hashes[:split]), root_of(hashes[split:]))


def tree_root(size: int, nodes: Nodes) -> bytes:
    return _range(0, size, nodes) if size else EMPTY


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Siblings from the leaf up. RuntimeError unless 0 <= index < size."""
    if not 0 <= index < size:
        raise RuntimeError("index must be below size")
    return _path(index, 0, size, nodes)


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """RFC 6962 2.1.2. RuntimeError unless 0 <= old <= new."""
    if not 0 <= old <= new:
        raise RuntimeError("old must not be above new")
    return _subproof(old, 0, new, nodes, complete=True) if 0 < old < new else []


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """ProofError unless `proof` shows the leaf hash at `index` of the tree of `size` with `root` (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError(f"index `{index}` is not in a tree of `{size}`")
    number, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("proof is too long")
        if number & 1 or number == last:
            found = node_hash(sibling, found)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        number, last = number >> 1, last >> 1
    if last or found != root:
        raise ProofError("proof does not lead to the root")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """ProofError unless `proof` shows that the tree of `new` begins with the tree of `old` (RFC 9162 2.1.4.2)."""
    if not 0 <= old <= new or len(proof) > MAX_PROOF:
        raise ProofError(f"a tree of `{new}` cannot extend one of `{old}`")
    if old in {0, new}:
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != EMPTY):
            raise ProofError("equal or empty trees need no proof and one root")
        return
    path = (
        list(proof) if old & (old - 1) else [old_root, *proof]
    )  # an exact power of two is its own first node
    if not path:
        raise ProofError("proof is empty")
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = path[0]
    for node in path[1:]:
        if last == 0:
            raise ProofError("proof is too long")
        if number & 1 or number == last:
            first, second = node_hash(node, first), node_hash(node, second)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, node)
        number, last = number >> 1, last >> 1
    if last or first != old_root or second != new_root:
        raise ProofError("proof does not lead from the old root to the new")


def _split(size: int) -> int:
    """The largest power of two below `size`: never a padded or duplicated tree (CVE-2012-2459)."""
    return 1 << (size - 1).bit_length() - 1


def _range(start: int, end: int, nodes: Nodes) -> bytes:
    size = end - start
    if size & (size - 1) == 0 and start % size == 0:
        level = size.bit_length() - 1
        return nodes(level, start >> level)
    middle = start + _split(size)
    return node_hash(_range(start, middle, nodes), _range(middle, end, nodes))


def _path(index: int, start: int, end: int, nodes: Nodes) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + _split(end - start)
    if index < middle:
        return [*_path(index, start, middle, nodes), _range(middle, end, nodes)]
    return [*_path(index, middle, end, nodes), _range(start, middle, nodes)]


def _subproof(old: int, start: int, end: int, nodes: Nodes, *, complete: bool) -> list[bytes]:
    if old == end:
        return [] if complete else [_range(start, end, nodes)]
    middle = start + _split(end - start)
    if old <= middle:
        return [*_subproof(old, start, middle, nodes, complete=complete), _range(middle, end, nodes)]
    return [*_subproof(old, middle, end, nodes, complete=False), _range(start, middle, nodes)]
