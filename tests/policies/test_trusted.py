"""The verifier under the attacks that TUF names (specification 1.5.2): nothing unsigned, old, frozen or mixed gets in."""

import base64
import dataclasses
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pki import NOW, TD
from signed import NO_RULES, NODE, PEERS, RULES, Signed, blobs, ed25519_signer, raw

from certs import envelope
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
from policies.model import ResourceKey, Rules
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


def newer(signed: Signed, signers: list[envelope.Signer]) -> bytes:
    """A newer trust document under other signatures."""
    payload = payloads.dump_trust(signed.trust_document(generation=11))
    return payloads.seal(d.TYPE_TRUST, payload, *signers).to_json()


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


class TestArbitraryInstallation:
    def test_a_delegation_by_another_root(self, node: TrustedDocuments, signed: Signed) -> None:
        other = Signed(keys=signed.keys).delegation(version=2)
        refuses(node, SignatureError, lambda: node.update_delegation(other, NOW))

    def test_a_document_by_keys_that_nobody_delegated(self, node: TrustedDocuments) -> None:
        other = Signed()
        refuses(node, SignatureError, lambda: node.update_trust(other.trust(generation=11), NOW))
        refuses(node, SignatureError, lambda: node.update_heartbeat(other.heartbeat(), NOW))
        refuses(node, SignatureError, lambda: node.update_ticket(other.ticket(), BLOBS, NOW))

    def test_a_delegation_by_the_document_keys(self, node: TrustedDocuments, signed: Signed) -> None:
        document = payloads.load_delegation(
            base64.b64decode(json.loads(signed.delegation(version=2))["payload"])
        )
        forged = payloads.seal(
            d.TYPE_DELEGATION, payloads.dump_delegation(document), *signed.signers()
        ).to_json()
        refuses(node, SignatureError, lambda: node.update_delegation(forged, NOW))

    def test_a_document_of_another_type(self, node: TrustedDocuments, signed: Signed) -> None:
        refuses(node, SignatureError, lambda: node.update_trust(signed.heartbeat(), NOW))
        refuses(node, SignatureError, lambda: node.update_heartbeat(signed.trust(), NOW))
        relabelled = signed.trust(generation=11).replace(b"writ.trust", b"writ.hb")
        refuses(node, SignatureError, lambda: node.update_heartbeat(relabelled, NOW))

    def test_a_changed_payload(self, node: TrustedDocuments, signed: Signed) -> None:
        outer = json.loads(signed.trust(generation=11))
        payload = base64.b64decode(outer["payload"]).replace(b'"policy_now":2', b'"policy_now":9')
        outer["payload"] = base64.b64encode(payload).decode()
        refuses(node, SignatureError, lambda: node.update_trust(json.dumps(outer).encode(), NOW))


class TestThreshold:
    def test_one_signature_of_two(self, node: TrustedDocuments, signed: Signed) -> None:
        sealed = newer(signed, signed.signers(1))
        refuses(node, SignatureError, lambda: node.update_trust(sealed, NOW))

    def test_the_same_key_twice(self, node: TrustedDocuments, signed: Signed) -> None:
        sealed = newer(signed, signed.signers(1) * 2)
        refuses(node, DocumentError, lambda: node.update_trust(sealed, NOW))

    def test_the_same_key_under_two_names(self, node: TrustedDocuments, signed: Signed) -> None:
        signers = [ed25519_signer(signed.keys[0]), (ed25519_signer(signed.keys[1])[0], signed.keys[0].sign)]
        sealed = newer(signed, signers)
        refuses(node, SignatureError, lambda: node.update_trust(sealed, NOW))

    def test_the_same_key_delegated_twice(self, signed: Signed) -> None:
        key = signed.keys[0]
        doubled = signed.delegation(keys_=[raw(key), raw(key)])
        with pytest.raises(ContentError):
            signed.node().update_delegation(doubled, NOW)

    @pytest.mark.parametrize("threshold", [0, 4])
    def test_a_threshold_that_means_nothing(self, signed: Signed, threshold: int) -> None:
        with pytest.raises(ContentError):
            signed.node().update_delegation(signed.delegation(threshold=threshold), NOW)


class TestRollback:
    def test_an_older_delegation(self, node: TrustedDocuments, signed: Signed) -> None:
        node.update_delegation(signed.delegation(version=2), NOW)
        refuses(node, RollbackError, lambda: node.update_delegation(signed.delegation(version=1), NOW))

    def test_an_older_trust_document(self, node: TrustedDocuments, signed: Signed) -> None:
        error = refuses(node, RollbackError, lambda: node.update_trust(signed.trust(generation=9), NOW))
        assert isinstance(error, RollbackError)
        assert (error.offered, error.trusted) == (9, 10)

    def test_an_older_heartbeat(self, node: TrustedDocuments, signed: Signed) -> None:
        refuses(node, RollbackError, lambda: node.update_heartbeat(signed.heartbeat(at=NOW - 1), NOW))
        refuses(node, RollbackError, lambda: node.update_heartbeat(signed.heartbeat(generation=9), NOW))

    def test_a_heartbeat_older_than_the_trust_document(self, node: TrustedDocuments, signed: Signed) -> None:
        node.update_trust(signed.trust(generation=12), NOW)
        refuses(node, RollbackError, lambda: node.update_heartbeat(signed.heartbeat(generation=11), NOW))

    def test_an_older_ticket_of_the_same_policy_version(self, node: TrustedDocuments, signed: Signed) -> None:
        refuses(node, RollbackError, lambda: node.update_ticket(signed.ticket(generation=9), BLOBS, NOW))

    def test_another_policy_version_has_its_own_mark(self, node: TrustedDocuments, signed: Signed) -> None:
        node.update_ticket(signed.ticket(version=2, generation=9), BLOBS, NOW)
        assert node.highest.tickets == {"1": 10, "2": 9}

    def test_a_policy_version_that_counts_no_more(self, node: TrustedDocuments, signed: Signed) -> None:
        node.update_trust(signed.trust(generation=11, policy_min=2), NOW)
        assert node.highest.tickets == {}
        refuses(node, RollbackError, lambda: node.update_ticket(signed.ticket(generation=12), BLOBS, NOW))

    def test_marks_outlive_a_restart(self, node: TrustedDocuments, signed: Signed) -> None:
        kept = Highest(**json.loads(json.dumps(dataclasses.asdict(node.highest))))
        assert kept == node.highest
        again = TrustedDocuments(root=signed.pki.root, trust_domain=TD, node=NODE, highest=kept)
        again.update_delegation(signed.delegation(), NOW)
        refuses(again, RollbackError, lambda: again.update_trust(signed.trust(generation=9), NOW))
        again.update_trust(signed.trust(), NOW)
        refuses(again, RollbackError, lambda: again.update_heartbeat(signed.heartbeat(at=NOW - 1), NOW))
        refuses(again, RollbackError, lambda: again.update_ticket(signed.ticket(generation=9), BLOBS, NOW))


class TestFreeze:
    def test_an_expired_delegation(self, node: TrustedDocuments, signed: Signed) -> None:
        expired = signed.delegation(version=2, expires=NOW)
        refuses(node, ExpiredError, lambda: node.update_delegation(expired, NOW))

    def test_documents_after_the_delegation_expired(self, node: TrustedDocuments, signed: Signed) -> None:
        later = NOW + 86_400
        refuses(node, ExpiredError, lambda: node.update_trust(signed.trust(generation=11), later))
        refuses(node, ExpiredError, lambda: node.update_ticket(signed.ticket(), BLOBS, later))

    def test_an_expired_heartbeat(self, node: TrustedDocuments, signed: Signed) -> None:
        refuses(node, ExpiredError, lambda: node.update_heartbeat(signed.heartbeat(), NOW + 900))
        assert node.update_heartbeat(signed.heartbeat(), NOW + 899)

    def test_a_lease_longer_than_allowed(self, node: TrustedDocuments, signed: Signed) -> None:
        node.update_heartbeat(signed.heartbeat(until=NOW + MAX_LEASE_S), NOW)
        long = signed.heartbeat(until=NOW + MAX_LEASE_S + 1)
        refuses(node, ContentError, lambda: node.update_heartbeat(long, NOW))


class TestMixAndMatch:
    def test_a_heartbeat_for_a_trust_document_that_we_do_not_hold(
        self, node: TrustedDocuments, signed: Signed
    ) -> None:
        newer = signed.trust_document(generation=11)
        heartbeat = signed.heartbeat(names=newer, generation=11)
        error = refuses(node, MixError, lambda: node.update_heartbeat(heartbeat, NOW))
        assert isinstance(error, MixError)
        assert error.wanted == codec.digest(payloads.dump_trust(newer))
        node.update_trust(signed.trust(generation=11), NOW)
        node.update_heartbeat(heartbeat, NOW)

    def test_a_heartbeat_before_any_trust_document(self, signed: Signed) -> None:
        node = signed.node()
        node.update_delegation(signed.delegation(), NOW)
        error = refuses(node, MixError, lambda: node.update_heartbeat(signed.heartbeat(), NOW))
        assert isinstance(error, MixError)
        assert error.wanted == codec.digest(payloads.dump_trust(signed.trust_document()))

    def test_two_contents_of_one_version(self, node: TrustedDocuments, signed: Signed) -> None:
        longer = signed.delegation(expires=NOW + 999_999)
        refuses(node, MixError, lambda: node.update_delegation(longer, NOW))
        refuses(node, MixError, lambda: node.update_trust(signed.trust(policy_now=3), NOW))

    def test_blobs_that_are_missing_or_not_what_was_signed(
        self, node: TrustedDocuments, signed: Signed
    ) -> None:
        ticket = signed.ticket(generation=11)
        swapped = {codec.digest(RULES): PEERS, codec.digest(PEERS): RULES}
        for offered in (
            {},
            blobs(RULES),
            blobs(PEERS),
            swapped,
            {**BLOBS, codec.digest(RULES): RULES + b" "},
        ):
            error = refuses(node, MixError, lambda offered=offered: node.update_ticket(ticket, offered, NOW))
            assert isinstance(error, MixError)
            assert error.wanted in BLOBS


class TestWrongRecipient:
    def test_another_trust_domain(self, node: TrustedDocuments, signed: Signed) -> None:
        other = "evil.example"
        refuses(
            node,
            AudienceError,
            lambda: node.update_delegation(signed.delegation(version=2, domain=other), NOW),
        )
        refuses(
            node, AudienceError, lambda: node.update_trust(signed.trust(generation=11, domain=other), NOW)
        )
        refuses(node, AudienceError, lambda: node.update_heartbeat(signed.heartbeat(domain=other), NOW))
        refuses(node, AudienceError, lambda: node.update_ticket(signed.ticket(domain=other), BLOBS, NOW))

    def test_the_ticket_of_another_node(self, node: TrustedDocuments, signed: Signed) -> None:
        for other in ("spiffe://acme.example/de/berlin/gpu-2", NODE.upper(), NODE + "/x", "", "/"):
            ticket = signed.ticket(node=other, generation=11)
            refuses(node, AudienceError, lambda ticket=ticket: node.update_ticket(ticket, BLOBS, NOW))

    @pytest.mark.parametrize("served", [True, False])
    def test_rules_for_the_resources_of_another_node(
        self, node: TrustedDocuments, signed: Signed, served: bool
    ) -> None:
        key = ResourceKey(kind="Model", name="m", node="gpu-2.berlin")
        ingress = NO_RULES if served else Rules(rules=(), resources=frozenset({key}))
        ports = (d.ServedResource(key=key, port=1),) if served else ()
        rules = codec.dump_rules(d.RulesBlob(ingress=ingress, egress=NO_RULES, served=ports))
        ticket = signed.ticket(rules=rules, generation=11)
        refuses(node, AudienceError, lambda: node.update_ticket(ticket, blobs(rules, PEERS), NOW))


class TestFastForward:
    def test_a_document_from_the_future(self, node: TrustedDocuments, signed: Signed) -> None:
        late = NOW + MAX_AHEAD_S + 1
        refuses(
            node, ContentError, lambda: node.update_heartbeat(signed.heartbeat(at=late, until=late + 9), NOW)
        )
        ticket = signed.ticket(generation=11, issued_at=late)
        refuses(node, ContentError, lambda: node.update_ticket(ticket, BLOBS, NOW))

    def test_a_delegation_that_drops_the_stolen_key_heals(
        self, node: TrustedDocuments, signed: Signed
    ) -> None:
        node.update_trust(signed.trust(generation=2**53 - 1), NOW)
        refuses(node, RollbackError, lambda: node.update_trust(signed.trust(generation=11), NOW))
        fresh = Signed(
            pki=signed.pki, keys=[signed.keys[0], *(ed25519.Ed25519PrivateKey.generate() for _ in range(2))]
        )
        node.update_delegation(fresh.delegation(version=2), NOW)
        assert (node.trust, node.heartbeat, node.highest.generation) == (None, None, 0)
        refuses(node, SignatureError, lambda: node.update_trust(signed.trust(generation=2**53 - 1), NOW))
        node.update_trust(fresh.trust(generation=11), NOW)

    def test_adding_a_key_resets_nothing(self, node: TrustedDocuments, signed: Signed) -> None:
        more = [*signed.keys, ed25519.Ed25519PrivateKey.generate()]
        node.update_delegation(signed.delegation(version=2, keys_=[raw(key) for key in more]), NOW)
        assert (node.highest.generation, node.highest.delegation) == (10, 2)
        refuses(node, RollbackError, lambda: node.update_trust(signed.trust(generation=9), NOW))


class TestEndlessData:
    def test_too_much_of_anything(self, node: TrustedDocuments, signed: Signed) -> None:
        endless = b" " * payloads.MAX_DOCUMENT_BYTES[d.TYPE_TRUST]
        big = {**BLOBS, codec.digest(RULES): b"x" * (codec.MAX_RULES_BYTES + 1)}
        refuses(
            node, SignatureError, lambda: node.update_delegation(signed.delegation(version=2) + endless, NOW)
        )
        refuses(node, SignatureError, lambda: node.update_trust(signed.trust(generation=11) + endless, NOW))
        refuses(node, SignatureError, lambda: node.update_heartbeat(signed.heartbeat() + endless, NOW))
        refuses(node, SignatureError, lambda: node.update_ticket(signed.ticket() + endless, BLOBS, NOW))
        refuses(node, MixError, lambda: node.update_ticket(signed.ticket(generation=11), big, NOW))

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"payload":1}', b"[" * 100_000])
    def test_garbage(self, node: TrustedDocuments, data: bytes) -> None:
        refuses(node, SignatureError, lambda: node.update_trust(data, NOW))


class TestDuplicateKeys:
    def test_in_the_envelope(self, node: TrustedDocuments, signed: Signed) -> None:
        doubled = signed.trust(generation=11).replace(b"{", b'{"payload":"e30=",', 1)
        refuses(node, SignatureError, lambda: node.update_trust(doubled, NOW))

    def test_in_the_payload(self, node: TrustedDocuments, signed: Signed) -> None:
        good = payloads.dump_heartbeat(
            d.Heartbeat(trust_domain=TD, generation=11, trust="0" * 64, at=NOW, until=NOW + 9)
        )
        doubled = good.replace(b'"generation":11', b'"generation":11,"generation":99')
        sealed = envelope.sign_envelope(d.TYPE_HEARTBEAT, doubled, signed.signers()).to_json()
        refuses(node, ContentError, lambda: node.update_heartbeat(sealed, NOW))


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


def test_rules_that_need_more_than_we_know_are_refused_whole(node: TrustedDocuments, signed: Signed) -> None:
    ticket = signed.ticket(generation=11, features=("rules-v1", "rules-99"))
    error = refuses(node, FeatureError, lambda: node.update_ticket(ticket, BLOBS, NOW))
    assert "rules-99" in str(error)


def test_blobs_that_do_not_load_are_refused(node: TrustedDocuments, signed: Signed) -> None:
    ticket = signed.ticket(rules=b"{}", generation=11)
    refuses(node, ContentError, lambda: node.update_ticket(ticket, blobs(b"{}", PEERS), NOW))


def test_a_root_that_is_not_p256_is_our_own_mistake(signed: Signed) -> None:
    odd = dataclasses.replace(signed.pki, root_key=ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(RuntimeError):
        TrustedDocuments(root=odd.root, trust_domain=TD, node=NODE)
