"""A control plane's side of the documents: right ones, for tests to bend one thing at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ed25519
from pki import NOW, TD, Pki

from certs import envelope, keys
from policies import codec, payloads
from policies import documents as d
from policies.model import Rules
from policies.trusted import TrustedDocuments

NODE = f"spiffe://{TD}/de/berlin/gpu-1"
NO_RULES = Rules(rules=(), resources=frozenset())
RULES = codec.dump_rules(d.RulesBlob(ingress=NO_RULES, egress=NO_RULES, served=()))
PEERS = codec.dump_peers(d.PeersBlob(peers=()))


def ed25519_signer(key: ed25519.Ed25519PrivateKey) -> envelope.Signer:
    return envelope.key_id(raw(key)), key.sign


def raw(key: ed25519.Ed25519PrivateKey) -> bytes:
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

    def node(self) -> TrustedDocuments:
        return TrustedDocuments(root=self.pki.root, trust_domain=TD, node=NODE)

    def signers(self, count: int = 2) -> list[envelope.Signer]:
        return [ed25519_signer(key) for key in self.keys[:count]]

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
    ) -> bytes:
        document = d.Delegation(
            trust_domain=domain,
            version=version,
            expires=expires,
            threshold=threshold,
            keys=tuple(raw(key) for key in self.keys) if keys_ is None else tuple(keys_),
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
