"""RFC 6962: known answers, every proof of small trees, and every way to bend one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import merkle
from audit.errors import ProofError

# Certificate Transparency's reference leaves and roots.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def hashes(count: int) -> list[bytes]:
    return [merkle.leaf_hash(str(n).encode()) for n in range(count)]


def nodes(leaves: list[bytes]) -> merkle.Nodes:
    return lambda level, index: merkle.root_of(leaves[index << level : (index + 1) << level])


def test_known_answers() -> None:
    leaves = [merkle.leaf_hash(leaf) for leaf in LEAVES]
    assert {size: merkle.root_of(leaves[:size]).hex() for size in ROOTS} == ROOTS
    assert merkle.tree_root(0, nodes([])).hex().startswith("e3b0c442")


@pytest.mark.parametrize("size", range(1, 20))
def test_every_leaf_of_every_small_tree_is_proven(size: int) -> None:
    leaves = hashes(size)
    root = merkle.tree_root(size, nodes(leaves))
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, nodes(leaves))
        merkle.verify_inclusion(leaves[index], index, size, proof, root)
        for bent in (proof[:-1] if proof else [b"x" * 32], [*proof, leaves[0]], [leaves[0], *proof]):
            with pytest.raises(ProofError):
                merkle.verify_inclusion(leaves[index], index, size, bent, root)
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaves[index], size, size, proof, root)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_tree_extends_what_it_grew_from_and_nothing_else(a: int, b: int) -> None:
    old, new = sorted((a, b))
    leaves = hashes(new)
    roots = merkle.tree_root(old, nodes(leaves)), merkle.tree_root(new, nodes(leaves))
    proof = merkle.consistency_proof(old, new, nodes(leaves))
    merkle.verify_consistency(old, roots[0], new, roots[1], proof)
    if old and old != new:
        other = merkle.root_of([merkle.leaf_hash(b"forked"), *leaves[1:old]])
        for forged in ((other, proof), (roots[0], proof[:-1]), (roots[0], [*proof, leaves[0]])):
            with pytest.raises(ProofError):
                merkle.verify_consistency(old, forged[0], new, roots[1], forged[1])


def test_an_entry_that_looks_like_a_node_is_none() -> None:
    left, right = hashes(2)
    assert merkle.leaf_hash(b"\x01" + left + right) != merkle.node_hash(left, right)
    assert merkle.root_of(hashes(3)) != merkle.root_of([*hashes(3), hashes(3)[-1]])
