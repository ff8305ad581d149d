"""Receipts as an auditor verifies them, years later, with nothing but the root in hand."""

import pytest
from pki import CLINICAL, NOW, TD, Pki

from certs import envelope, keys, spiffe
from policies import documents as d
from policies import payloads, receipts
from policies.errors import AudienceError, ContentError, DocumentError, RollbackError, SignatureError

PKI, OTHER = Pki(), Pki()
NODE = PKI.node("gpu-1")
CAS = (OTHER.node_ca, b"x", PKI.node_ca)  # whatever came with it
NAME = f"spiffe://{TD}/fr/paris/gpu-1"
AT_MS = NOW * 1000 + 250


def said(key=NODE.key, kind: str = d.TYPE_RECEIPT, domain: str = TD, **changes: object) -> bytes:
    fields = {"node": NAME, "generation": 9, "at_ms": AT_MS, **changes}
    signer = ("node", lambda data: keys.sign(key, data))
    return envelope.sign_envelope(kind, payloads.dump_statement(domain, **fields), [signer]).to_json()


def test_a_receipt_says_who_enforces_what_since_when() -> None:
    found = receipts.check(said(), NODE.der, CAS, PKI.root, 9)
    assert NODE.prepared is not None
    serial = NODE.prepared.serial
    assert found == receipts.Receipt(spiffe_id=NAME, generation=9, at_ms=AT_MS, serial=serial)
    assert receipts.check(said(), NODE.der, CAS, PKI.root, 8) == found  # later than what was asked for


LATER = (NOW + 7200) * 1000
REFUSED = {
    "of an older generation": (said(), (NODE.der, *CAS), PKI.root, 10, RollbackError),
    "by another key": (said(keys.generate_p256()), (NODE.der, *CAS), PKI.root, 9, SignatureError),
    "by another node": (said(PKI.node("gpu-2").key), (NODE.der, *CAS), PKI.root, 9, SignatureError),
    "for another node": (said(node=f"{NAME}2"), (NODE.der, *CAS), PKI.root, 9, AudienceError),
    "for another trust domain": (said(domain="other.example"), (NODE.der, *CAS), PKI.root, 9, AudienceError),
    "of another kind": (said(kind=d.TYPE_EVIDENCE_KEY), (NODE.der, *CAS), PKI.root, 9, SignatureError),
    "after its certificate ended": (said(at_ms=LATER), (NODE.der, *CAS), PKI.root, 9, SignatureError),
    "before its certificate began": (said(at_ms=1), (NODE.der, *CAS), PKI.root, 9, SignatureError),
    "below another root": (said(), (NODE.der, *CAS), OTHER.root, 9, SignatureError),
    "by a CA of another root": (said(), (NODE.der, OTHER.node_ca), PKI.root, 9, SignatureError),
    "by a CA of workloads": (said(), (NODE.der, PKI.workload_ca), PKI.root, 9, SignatureError),
    "of a workload": (
        said(),
        PKI.workload(spiffe.parse(f"{NAME}/web"), NODE.key, CLINICAL),
        PKI.root,
        9,
        SignatureError,
    ),
    "without its CA": (said(), (NODE.der,), PKI.root, 9, SignatureError),
    "by a CA that came twice": (said(), (NODE.der, PKI.node_ca, PKI.node_ca), PKI.root, 9, SignatureError),
    "with rubbish for a certificate": (said(), (b"x", PKI.node_ca), PKI.root, 9, SignatureError),
    "that is rubbish": (b"{}", (NODE.der, *CAS), PKI.root, 9, ContentError),
    "with a field too many": (said(more="x"), (NODE.der, *CAS), PKI.root, 9, ContentError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_proves_nothing(name: str) -> None:
    data, (leaf, *cas), root, generation, error = REFUSED[name]
    with pytest.raises(error):
        receipts.check(data, leaf, cas, root, generation)


def test_no_changed_byte_is_believed() -> None:
    data, whole = said(), receipts.check(said(), NODE.der, CAS, PKI.root, 9)
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            found = receipts.check(changed, NODE.der, CAS, PKI.root, 9)
        except DocumentError:
            continue
        assert found == whole  # the name of the key, which nobody believes
