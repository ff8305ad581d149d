"""Document keys: Ed25519 alone, or with ML-DSA-65 beside it. A key of two is one key: a document is signed by it if both have
signed.

Public keys are byte strings, one after the other in the order of `ALGORITHMS`; the length says which they are, and none can be
taken for another. Which of the two must be is the root's to say, in the delegation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from certs.errors import KeyFormatError

ED25519, ML_DSA_65 = "ed25519", "ml-dsa-65"
ALGORITHMS = (ED25519, ML_DSA_65)
SIZES = {ED25519: 32, ML_DSA_65: 1952}
READ: Mapping[str, Callable[[bytes], ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey]] = {
    ED25519: ed25519.Ed25519PublicKey.from_public_bytes,
    ML_DSA_65: mldsa.MLDSA65PublicKey.from_public_bytes,
}
KINDS = (ALGORITHMS[:1], ALGORITHMS)
"""What a document may be signed with."""


@dataclass(frozen=True, slots=True)
class Part:
    """One public key of one algorithm, raw."""

    algorithm: str
    public: bytes

    def holds(self, signature: bytes, signed: bytes) -> bool:
        try:
            READ[self.algorithm](self.public).verify(signature, signed)
        except (InvalidSignature, ValueError):
            return False
        return True


def parts(key: bytes) -> tuple[Part, ...]:
    """What a document key is made of; KeyFormatError when it is none."""
    for kind in KINDS:
        if len(key) == sum(SIZES[name] for name in kind):
            found, start = [], 0
            for name in kind:
                found.append(Part(name, key[start : start + SIZES[name]]))
                start += SIZES[name]
            return tuple(found)
    raise KeyFormatError(f"`{len(key)}` bytes are no document key")


def algorithms(key: bytes) -> tuple[str, ...]:
    return tuple(part.algorithm for part in parts(key))


def check(keys: Sequence[bytes], demanded: tuple[str, ...]) -> None:
    """KeyFormatError unless all keys are of these algorithms, no key with less, and none shares a part with another."""
    found = {algorithms(key) for key in keys}
    distinct = {part for key in keys for part in parts(key)}
    if found != {demanded} or len(distinct) != len(keys) * len(demanded):
        raise KeyFormatError(f"document keys are not distinct keys of {' and '.join(demanded)}")


def holding(signatures: Iterable[tuple[Part, bytes]], signed: bytes) -> frozenset[Part]:
    """The parts of keys whose signature holds; one that does not counts for nothing."""
    return frozenset(part for part, signature in signatures if part.holds(signature, signed))


def signed_by(key: bytes, held: frozenset[Part]) -> bool:
    """Have all parts of the key signed?"""
    return held.issuperset(parts(key))
