"""Documents of a mesh whose root demands two algorithms: what is signed by one of them is signed by nobody. Invariant 7."""

import json
from collections.abc import Callable

from attacks import mutants
from attacks.control import Attack, Control
from attacks.documents import accepted
from pki import NOW
from signed import Twice, raw, signer_of

from certs import document_keys, envelope
from certs.document_keys import ALGORITHMS, ED25519
from policies import documents as d
from policies import payloads

MESH = Twice()
ONE, TWO = MESH.keys, MESH.second


def told(make: Callable[[], bytes]) -> Attack:
    """A trust document, to an agent that has the root's word."""

    def attack(_: object) -> bool:
        node = MESH.node()
        node.update_delegation(MESH.delegation(), NOW)
        node.update_trust(MESH.trust(), NOW)
        return accepted(node, lambda: node.update_trust(make(), NOW))

    return attack


def delegated(**changes: object) -> Attack:
    """A delegation by the root's own key: an operator's mistake, or one algorithm of an attacker's."""

    def attack(_: object) -> bool:
        node = MESH.node()
        node.update_delegation(MESH.delegation(), NOW)
        return accepted(node, lambda: node.update_delegation(MESH.delegation(version=2, **changes), NOW))

    return attack


def sealed_by(*signers: envelope.Signer) -> bytes:
    payload = payloads.dump_trust(MESH.trust_document(generation=11))
    return payloads.seal(d.TYPE_TRUST, payload, *signers).to_json()


def stripped(keep: int) -> bytes:
    """A right document, of which every second signature was taken out."""
    outer = json.loads(MESH.trust(generation=11))
    return json.dumps({**outer, "signatures": outer["signatures"][keep::2]}).encode()


def renamed() -> bytes:
    """Signatures of Ed25519 in the place of those of ML-DSA."""
    lent = [(signer_of(two)[0], one.sign) for one, two in zip(ONE, TWO, strict=True)]
    return sealed_by(*map(signer_of, ONE), *lent)


PAIRS = MESH.document_keys()
CONTROLS = (
    Control(
        7,
        "documents: by every algorithm that the root demands",
        [
            ("stripped of ML-DSA", told(lambda: stripped(0))),
            ("stripped of Ed25519", told(lambda: stripped(1))),
            ("all keys, but Ed25519 alone", told(lambda: sealed_by(*map(signer_of, ONE)))),
            ("all keys, but ML-DSA alone", told(lambda: sealed_by(*map(signer_of, TWO)))),
            (
                "halves of different keys",
                told(lambda: sealed_by(signer_of(ONE[0]), signer_of(TWO[1]), signer_of(ONE[2]))),
            ),
            ("one algorithm under the name of the other", told(renamed)),
        ],
        mutants.code(
            document_keys, "signed_by", "held.issuperset(parts(key))", "bool(held.intersection(parts(key)))"
        ),
    ),
    Control(
        7,
        "delegation: no key signs with less than is demanded of all",
        [
            ("a key of Ed25519 alone among pairs", delegated(keys_=[*PAIRS[:2], raw(ONE[2])])),
            ("keys of Ed25519 alone, said to be pairs", delegated(keys_=[raw(key) for key in ONE])),
            ("pairs, said to need Ed25519 alone", delegated(algorithms=(ED25519,))),
            ("two pairs that share a half", delegated(keys_=[*PAIRS[:2], raw(ONE[0]) + raw(TWO[2])])),
        ],
        mutants.code(
            document_keys,
            "check",
            "if found !=",
            "if False and found !=",
            "or len(distinct)",
            "and len(distinct)",
        ),
    ),
    Control(
        7,
        "delegation: only algorithms that we know",
        [
            ("another", delegated(algorithms=(*ALGORITHMS, "slh-dsa"))),
            ("ML-DSA alone", delegated(algorithms=ALGORITHMS[1:])),
            ("in another order", delegated(algorithms=ALGORITHMS[::-1])),
        ],
        mutants.both(
            mutants.code(
                payloads, "load_delegation", "if algorithms not in document_keys.KINDS:", "if False:"
            ),
            mutants.code(
                document_keys,
                "check",
                "if found !=",
                "if False and found !=",
                "or len(distinct)",
                "and len(distinct)",
            ),
        ),
    ),
)
