"""Documents that nobody signed, that others signed, or that are for others. Invariant 7; features are 1, bounds 12."""

import base64
import json

from attacks import mutants
from attacks.control import Control
from attacks.documents import OTHER, SIGNED, delegation, heartbeat, ticket, trust
from pki import NOW
from signed import NO_RULES, NODE, PEERS, Signed, blobs, raw, signer_of

from certs import canonical, document_keys, envelope
from policies import codec, payloads, trusted
from policies import documents as d
from policies.model import ResourceKey, Rules
from policies.trusted import TrustedDocuments


def sealed_by(*signers: envelope.Signer) -> bytes:
    """A newer trust document under other signatures."""
    payload = payloads.dump_trust(SIGNED.trust_document(generation=11))
    return payloads.seal(d.TYPE_TRUST, payload, *signers).to_json()


def under_two_names() -> bytes:
    first, second = SIGNED.keys[:2]
    return sealed_by(signer_of(first), (signer_of(second)[0], first.sign))


def by_document_keys() -> bytes:
    """A delegation that the keys it would delegate have signed."""
    payload = base64.b64decode(json.loads(SIGNED.delegation(version=2))["payload"])
    return payloads.seal(d.TYPE_DELEGATION, payload, *SIGNED.signers()).to_json()


def changed_payload() -> bytes:
    outer = json.loads(SIGNED.trust(generation=11))
    payload = base64.b64decode(outer["payload"]).replace(b'"policy_now":2', b'"policy_now":9')
    return json.dumps({**outer, "payload": base64.b64encode(payload).decode()}).encode()


def relabelled() -> bytes:
    """A trust document under the type of a heartbeat."""
    return SIGNED.trust(generation=11).replace(b"writ.trust", b"writ.hb")


def doubled_key() -> bytes:
    good = payloads.dump_heartbeat(
        d.Heartbeat(
            trust_domain="acme.example",
            generation=10,
            trust=codec.digest(payloads.dump_trust(SIGNED.trust_document())),
            at=NOW,
            until=NOW + 9,
        )
    )
    text = good.replace(b'"until":', b'"until":1,"until":')
    return envelope.sign_envelope(d.TYPE_HEARTBEAT, text, SIGNED.signers()).to_json()


def foreign_rules(*, served: bool) -> tuple[bytes, dict[str, bytes]]:
    """A ticket for this node with rules about the resources of another, and its blobs."""
    key = ResourceKey(kind="Model", name="m", node="gpu-2.berlin")
    ingress = NO_RULES if served else Rules(rules=(), resources=frozenset({key}))
    ports = (d.ServedResource(key=key, port=1),) if served else ()
    rules = codec.dump_rules(d.RulesBlob(ingress=ingress, egress=NO_RULES, served=ports))
    return SIGNED.ticket(rules=rules, generation=11), blobs(rules, PEERS)


SERVED, ASKED = foreign_rules(served=True), foreign_rules(served=False)
ENDLESS = b" " * payloads.MAX_DOCUMENT_BYTES[d.TYPE_TRUST]
EVIL = "evil.example"
T = TrustedDocuments
VERIFY = "payload = envelope.verify_documents(_parse(data, kind), kind, keys, threshold)"

CONTROLS = (
    Control(
        7,
        "documents: delegated by the root",
        [
            (
                "a delegation by another root",
                delegation(lambda: Signed(keys=SIGNED.keys).delegation(version=2)),
            ),
            ("a delegation by the document keys", delegation(by_document_keys)),
        ],
        mutants.code(
            T,
            "update_delegation",
            "self.roots.signed(_parse(data, d.TYPE_DELEGATION), d.TYPE_DELEGATION)",
            "(self.roots.newest, _parse(data, d.TYPE_DELEGATION).payload)",
        ),
    ),
    Control(
        7,
        "documents: signed by delegated keys",
        [
            ("a trust document by keys that nobody delegated", trust(lambda: OTHER.trust(generation=11))),
            ("a heartbeat by keys that nobody delegated", heartbeat(OTHER.heartbeat)),
            ("a ticket by keys that nobody delegated", ticket(OTHER.ticket)),
            ("a changed payload", trust(changed_payload)),
            ("a document under another type", heartbeat(relabelled)),
            ("a heartbeat for a trust document", trust(SIGNED.heartbeat)),
            ("a ticket for a heartbeat", heartbeat(SIGNED.ticket)),
        ],
        mutants.code(T, "_open", VERIFY, "payload = _parse(data, kind).payload"),
    ),
    Control(
        7,
        "documents: by as many keys as the root wants",
        [
            ("one signature of two", trust(lambda: sealed_by(*SIGNED.signers(1)))),
            ("the same key twice", trust(lambda: sealed_by(*SIGNED.signers(1) * 2))),
            ("the same key under two names", trust(under_two_names)),
        ],
        mutants.code(
            T, "_open", "self.delegation.keys, self.delegation.threshold", "self.delegation.keys, 1"
        ),
    ),
    Control(
        7,
        "delegation: distinct keys, and a threshold",
        [
            (
                "one key delegated twice",
                delegation(lambda: SIGNED.delegation(version=2, keys_=[raw(SIGNED.keys[0])] * 2)),
            ),
            ("a threshold of none", delegation(lambda: SIGNED.delegation(version=2, threshold=0))),
            ("a threshold that cannot be met", delegation(lambda: SIGNED.delegation(version=2, threshold=4))),
        ],
        mutants.both(
            mutants.code(T, "update_delegation", "if not 1 <=", "if False and not 1 <="),
            mutants.code(document_keys, "check", "or len(distinct) !=", "and len(distinct) !="),
        ),
    ),
    Control(
        7,
        "audience: our trust domain",
        [
            ("a delegation", delegation(lambda: SIGNED.delegation(version=2, domain=EVIL))),
            ("a trust document", trust(lambda: SIGNED.trust(generation=11, domain=EVIL))),
            ("a heartbeat", heartbeat(lambda: SIGNED.heartbeat(domain=EVIL))),
            ("a ticket", ticket(lambda: SIGNED.ticket(domain=EVIL))),
        ],
        mutants.code(T, "_check_domain", "if trust_domain != self.trust_domain:", "if False:"),
    ),
    Control(
        7,
        "audience: our node",
        [
            (f"the ticket of `{other}`", ticket(lambda other=other: SIGNED.ticket(node=other, generation=11)))
            for other in ("spiffe://acme.example/de/berlin/gpu-2", NODE.upper(), NODE + "/x", "/")
        ],
        mutants.code(T, "update_ticket", "if offered.node != self.node:", "if False:"),
    ),
    Control(
        7,
        "audience: our own resources",
        [
            ("rules for the models of another node", ticket(lambda: ASKED[0], given=ASKED[1])),
            ("ports for the models of another node", ticket(lambda: SERVED[0], given=SERVED[1])),
        ],
        mutants.code(T, "_check_own", "if key.node != ours:", "if False:"),
    ),
    Control(
        1,
        "features: enforced whole or not at all",
        [
            (
                "a rule that needs more than we know",
                ticket(lambda: SIGNED.ticket(generation=11, features=("rules-v1", "rules-99"))),
            )
        ],
        mutants.code(T, "update_ticket", "set(offered.features) - FEATURES", "set()"),
    ),
    Control(
        12,
        "documents: within their bounds",
        [
            ("an endless delegation", delegation(lambda: SIGNED.delegation(version=2) + ENDLESS)),
            ("an endless trust document", trust(lambda: SIGNED.trust(generation=11) + ENDLESS)),
            ("an endless heartbeat", heartbeat(lambda: SIGNED.heartbeat() + ENDLESS)),
            ("an endless ticket", ticket(lambda: SIGNED.ticket() + ENDLESS)),
        ],
        mutants.code(trusted, "_parse", "payloads.MAX_DOCUMENT_BYTES[kind]", "1 << 30"),
    ),
    Control(
        7,
        "documents: one reading",
        [("a key that occurs twice", heartbeat(doubled_key))],
        mutants.both(
            mutants.code(canonical, "_unique", "if len(found) != len(pairs):", "if False:"),
            mutants.code(canonical, "loads", "if not same:", "if False:"),
        ),
    ),
)
