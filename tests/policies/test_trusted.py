"""The verifier of documents: what it accepts and remembers, and how it says no. Attacks on it: `tests/e2e/attacks/documents.py`."""

import base64
import dataclasses
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pki import NOW, TD, Pki
from signed import NODE, PEERS, RULES, Signed, blobs, raw

from certs import envelope
from certs.profile import CaKind
from policies import codec, payloads
from policies import documents as d
from policies.errors import (
    AudienceError,
    ContentError,
    DocumentError,
    ExpiredError,
    FeatureError,
    MixError,
    RollbackError,
    SignatureError,
)
from policies.trusted import MAX_AHEAD_S, MAX_LEASE_S, Highest, TrustedDocuments

BLOBS = blobs(RULES, PEERS)


@pytest.fixture(scope="module")
def signed() -> Signed:
    return Signed()


@pytest.fixture
def node(signed: Signed) -> TrustedDocuments:
    """A node that has heard everything once."""
    node = signed.node()
    node.update_delegation(signed.delegation(), NOW)
    node.update_trust(signed.trust(), NOW)
    node.update_heartbeat(signed.heartbeat(), NOW)
    node.update_ticket(signed.ticket(), BLOBS, NOW)
    return node


def refuses(node: TrustedDocuments, error: type[DocumentError], offer: Callable[[], object]) -> DocumentError:
    """The offer raises and leaves nothing behind."""
    before = (node.highest, node.delegation, node.trust, node.heartbeat)
    with pytest.raises(error) as caught:
        offer()
    assert (node.highest, node.delegation, node.trust, node.heartbeat) == before
    return caught.value


def resigned(
    data: bytes, change: Callable[[dict[str, object]], None], signed: Signed, payload_type: str
) -> bytes:
    """The payload changed and signed anew by the right keys: what only the format check can stop."""
    payload = json.loads(base64.b64decode(json.loads(data)["payload"]))
    change(payload)
    text = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    return envelope.sign_envelope(payload_type, text, signed.signers()).to_json()


def test_documents_in_order_are_accepted_and_remembered(signed: Signed, node: TrustedDocuments) -> None:
    assert node.trust == signed.trust_document()
    assert node.heartbeat is not None
    assert node.heartbeat.until == NOW + 900
    assert node.highest.generation == node.highest.heartbeat_generation == 10
    assert node.highest.tickets == {"1": 10}


def test_the_same_documents_again_are_accepted(signed: Signed, node: TrustedDocuments) -> None:
    before = node.highest
    node.update_delegation(signed.delegation(), NOW)
    node.update_trust(signed.trust(), NOW)
    node.update_heartbeat(signed.heartbeat(), NOW)
    node.update_ticket(signed.ticket(), BLOBS, NOW)
    assert node.highest == before


def test_misuse_is_our_own_mistake(signed: Signed) -> None:
    node = signed.node()
    with pytest.raises(RuntimeError):
        node.update_trust(signed.trust(), NOW)
    with pytest.raises(RuntimeError):
        node.update_heartbeat(signed.heartbeat(), NOW)


@pytest.mark.parametrize(
    ("error", "offer"),
    [
        (SignatureError, lambda node, by: node.update_trust(Signed().trust(generation=11), NOW)),
        (AudienceError, lambda node, by: node.update_ticket(by.ticket(node=NODE + "2"), BLOBS, NOW)),
        (RollbackError, lambda node, by: node.update_trust(by.trust(generation=9), NOW)),
        (ExpiredError, lambda node, by: node.update_heartbeat(by.heartbeat(), NOW + 900)),
        (MixError, lambda node, by: node.update_trust(by.trust(policy_now=3), NOW)),
        (FeatureError, lambda node, by: node.update_ticket(by.ticket(features=("x",)), BLOBS, NOW)),
        (ContentError, lambda node, by: node.update_heartbeat(by.heartbeat(until=NOW), NOW)),
    ],
)
def test_each_refusal_says_what_it_is(node: TrustedDocuments, signed: Signed, error, offer) -> None:
    refuses(node, error, lambda: offer(node, signed))


def test_a_rollback_names_both_versions(node: TrustedDocuments, signed: Signed) -> None:
    error = refuses(node, RollbackError, lambda: node.update_trust(signed.trust(generation=9), NOW))
    assert isinstance(error, RollbackError)
    assert (error.offered, error.trusted) == (9, 10)


def test_what_is_missing_is_named_and_then_accepted(node: TrustedDocuments, signed: Signed) -> None:
    newer = signed.trust_document(generation=11)
    heartbeat = signed.heartbeat(names=newer, generation=11)
    error = refuses(node, MixError, lambda: node.update_heartbeat(heartbeat, NOW))
    assert isinstance(error, MixError)
    assert error.wanted == codec.digest(payloads.dump_trust(newer))
    node.update_trust(signed.trust(generation=11), NOW)
    node.update_heartbeat(heartbeat, NOW)


@pytest.mark.parametrize("offered", [{}, blobs(RULES), blobs(PEERS)])
def test_a_missing_blob_is_named(node: TrustedDocuments, signed: Signed, offered) -> None:
    ticket = signed.ticket(generation=11)
    error = refuses(node, MixError, lambda: node.update_ticket(ticket, offered, NOW))
    assert isinstance(error, MixError)
    assert error.wanted in BLOBS
    assert error.wanted not in offered


def test_bounds_are_the_last_that_is_accepted(node: TrustedDocuments, signed: Signed) -> None:
    assert node.update_heartbeat(signed.heartbeat(), NOW + 899)
    assert node.update_heartbeat(signed.heartbeat(until=NOW + MAX_LEASE_S), NOW)
    ahead = NOW + MAX_AHEAD_S
    assert node.update_heartbeat(signed.heartbeat(at=ahead, until=ahead + 9), NOW)


def test_another_policy_version_has_its_own_mark(node: TrustedDocuments, signed: Signed) -> None:
    node.update_ticket(signed.ticket(version=2, generation=9), BLOBS, NOW)
    assert node.highest.tickets == {"1": 10, "2": 9}
    node.update_trust(signed.trust(generation=11, policy_min=2), NOW)
    assert node.highest.tickets == {"2": 9}


def test_marks_outlive_a_restart(node: TrustedDocuments, signed: Signed) -> None:
    kept = Highest(**json.loads(json.dumps(dataclasses.asdict(node.highest))))
    assert kept == node.highest
    again = TrustedDocuments(root=signed.pki.root, trust_domain=TD, node=NODE, highest=kept)
    again.update_delegation(signed.delegation(), NOW)
    refuses(again, RollbackError, lambda: again.update_trust(signed.trust(generation=9), NOW))
    again.update_trust(signed.trust(), NOW)
    refuses(again, RollbackError, lambda: again.update_heartbeat(signed.heartbeat(at=NOW - 1), NOW))
    refuses(again, RollbackError, lambda: again.update_ticket(signed.ticket(generation=9), BLOBS, NOW))


def test_a_delegation_that_drops_the_stolen_key_heals(node: TrustedDocuments, signed: Signed) -> None:
    node.update_trust(signed.trust(generation=2**53 - 1), NOW)
    refuses(node, RollbackError, lambda: node.update_trust(signed.trust(generation=11), NOW))
    fresh = Signed(
        pki=signed.pki, keys=[signed.keys[0], *(ed25519.Ed25519PrivateKey.generate() for _ in range(2))]
    )
    node.update_delegation(fresh.delegation(version=2), NOW)
    assert (node.trust, node.heartbeat, node.highest.generation) == (None, None, 0)
    refuses(node, SignatureError, lambda: node.update_trust(signed.trust(generation=2**53 - 1), NOW))
    node.update_trust(fresh.trust(generation=11), NOW)


def test_adding_a_key_resets_nothing(node: TrustedDocuments, signed: Signed) -> None:
    more = [*signed.keys, ed25519.Ed25519PrivateKey.generate()]
    node.update_delegation(signed.delegation(version=2, keys_=[raw(key) for key in more]), NOW)
    assert (node.highest.generation, node.highest.delegation) == (10, 2)
    refuses(node, RollbackError, lambda: node.update_trust(signed.trust(generation=9), NOW))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"payload":1}', b"[" * 100_000])
def test_garbage(node: TrustedDocuments, data: bytes) -> None:
    refuses(node, SignatureError, lambda: node.update_trust(data, NOW))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("extra", 1),
        ("at", -1),
        ("at", "1"),
        ("at", True),
        ("at", 1.5),
        ("at", 2**53),
        ("trust", "00"),
        ("trust", "G" * 64),
        ("td", None),
        ("generation", None),
    ],
)
def test_signed_nonsense_is_refused_all_the_same(
    node: TrustedDocuments, signed: Signed, key: str, value: object
) -> None:
    bent = resigned(
        signed.heartbeat(), lambda payload: payload.update({key: value}), signed, d.TYPE_HEARTBEAT
    )
    refuses(node, ContentError, lambda: node.update_heartbeat(bent, NOW))


def test_blobs_that_do_not_load_are_refused(node: TrustedDocuments, signed: Signed) -> None:
    ticket = signed.ticket(rules=b"{}", generation=11)
    refuses(node, ContentError, lambda: node.update_ticket(ticket, blobs(b"{}", PEERS), NOW))


def test_a_root_that_is_not_p256_is_our_own_mistake(signed: Signed) -> None:
    odd = dataclasses.replace(signed.pki, root_key=ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(RuntimeError):
        TrustedDocuments(root=odd.root, trust_domain=TD, node=NODE)


def test_a_ca_that_has_ended_is_left_out_and_the_rest_counts(node: TrustedDocuments, signed: Signed) -> None:
    """A replica that is gone rotates nothing: its ended CA must not keep revocations from being heard."""
    late = NOW + 40 * 86_400
    young = Pki(now=late, root_key=signed.pki.root_key)
    young.root = signed.pki.root
    young.node_ca = young._ca(CaKind.NODE, young.node_ca_key, 77)
    node.update_delegation(signed.delegation(version=2, expires=late + 86_400), late)
    offered = signed.trust(generation=11, node_cas=(signed.pki.node_ca, young.node_ca), floors={NODE: None})
    made = node.update_trust(offered, late)
    assert (made.node_cas, made.control_plane_cas, made.floors) == ((young.node_ca,), (), {NODE: None})


def test_a_ca_that_is_wrong_refuses_the_document_also_when_it_has_ended(
    node: TrustedDocuments, signed: Signed
) -> None:
    late = NOW + 40 * 86_400
    node.update_delegation(signed.delegation(version=2, expires=late + 86_400), late)
    for wrong in (signed.pki.cp_ca, Pki().node_ca, b"nothing"):
        offered = signed.trust(generation=11, node_cas=(wrong,))
        refuses(node, ContentError, lambda offered=offered: node.update_trust(offered, late))
