"""A control plane's side of the documents: right ones, for tests to bend one thing at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from pki import NOW, TD, Pki

from certs import envelope, keys
from certs.document_keys import ALGORITHMS, ED25519
from policies import codec, payloads
from policies import documents as d
from policies.model import Rules
from policies.trusted import TrustedDocuments

NODE = f"spiffe://{TD}/de/berlin/gpu-1"
NO_RULES = Rules(rules=(), resources=frozenset())
RULES = codec.dump_rules(d.RulesBlob(ingress=NO_RULES, egress=NO_RULES, served=()))
PEERS = codec.dump_peers(d.PeersBlob(peers=()))


Key = ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey


def signer_of(key: Key) -> envelope.Signer:
    return envelope.key_id(raw(key)), key.sign


def raw(key: Key) -> bytes:
    return key.public_key().public_bytes_raw()


def blobs(*data: bytes) -> dict[str, bytes]:
    return {codec.digest(item): item for item in data}


@dataclass
class Signed:
    """Every method returns bytes as they go over the wire."""

    pki: Pki = field(default_factory=Pki)
    keys: list[ed25519.Ed25519PrivateKey] = field(
        default_factory=lambda: [ed25519.Ed25519PrivateKey.generate() for _ in range(3)]
    )

    algorithms = (ED25519,)

    def document_keys(self) -> tuple[bytes, ...]:
        return tuple(raw(key) for key in self.keys)

    def node(self) -> TrustedDocuments:
        return TrustedDocuments(root=self.pki.root, trust_domain=TD, node=NODE)

    def signers(self, count: int = 2) -> list[envelope.Signer]:
        return [signer_of(key) for key in self.keys[:count]]

    def seal(self, kind: str, payload: bytes) -> bytes:
        return payloads.seal(kind, payload, *self.signers()).to_json()

    def delegation(
        self,
        *,
        version: int = 1,
        expires: int = NOW + 86_400,
        domain: str = TD,
        keys_: Sequence[bytes] | None = None,
        threshold: int = 2,
        algorithms: tuple[str, ...] = (),
    ) -> bytes:
        document = d.Delegation(
            trust_domain=domain,
            version=version,
            expires=expires,
            threshold=threshold,
            keys=self.document_keys() if keys_ is None else tuple(keys_),
            algorithms=algorithms or self.algorithms,
        )
        by_root = ("root", lambda data: keys.sign(self.pki.root_key, data))
        return payloads.seal(d.TYPE_DELEGATION, payloads.dump_delegation(document), by_root).to_json()

    def trust_document(self, *, generation: int = 10, domain: str = TD, **changes: object) -> d.TrustDocument:
        fields: dict[str, object] = {
            "roots": (self.pki.root,),
            "node_cas": (self.pki.node_ca,),
            "control_plane_cas": (self.pki.cp_ca,),
            "floors": {},
            "policy_min": 1,
            "policy_now": 2,
            **changes,
        }
        return d.TrustDocument(trust_domain=domain, generation=generation, **fields)  # type: ignore[arg-type]

    def trust(self, **changes: object) -> bytes:
        return self.seal(d.TYPE_TRUST, payloads.dump_trust(self.trust_document(**changes)))  # type: ignore[arg-type]

    def heartbeat(
        self,
        *,
        names: d.TrustDocument | None = None,
        generation: int = 10,
        at: int = NOW,
        until: int = NOW + 900,
        domain: str = TD,
    ) -> bytes:
        named = codec.digest(payloads.dump_trust(names or self.trust_document()))
        document = d.Heartbeat(trust_domain=domain, generation=generation, trust=named, at=at, until=until)
        return self.seal(d.TYPE_HEARTBEAT, payloads.dump_heartbeat(document))

    def ticket(
        self,
        *,
        node: str = NODE,
        generation: int = 10,
        version: int = 1,
        rules: bytes = RULES,
        features: tuple[str, ...] = ("rules-v1",),
        domain: str = TD,
        issued_at: int = NOW,
    ) -> bytes:
        document = d.Ticket(
            trust_domain=domain,
            node=node,
            generation=generation,
            policy_version=version,
            issued_at=issued_at,
            rules=codec.digest(rules),
            peers=codec.digest(PEERS),
            features=features,
        )
        return self.seal(d.TYPE_TICKET, payloads.dump_ticket(document))


@dataclass
class Twice(Signed):
    """As `Signed`, where the root demands that every key signs with ML-DSA-65 too."""

    second: list[mldsa.MLDSA65PrivateKey] = field(
        default_factory=lambda: [mldsa.MLDSA65PrivateKey.generate() for _ in range(3)]
    )
    algorithms = ALGORITHMS

    def document_keys(self) -> tuple[bytes, ...]:
        return tuple(raw(one) + raw(two) for one, two in zip(self.keys, self.second, strict=True))

    def signers(self, count: int = 2) -> list[envelope.Signer]:
        pairs = zip(self.keys[:count], self.second[:count], strict=True)
        return [signer_of(key) for pair in pairs for key in pair]
