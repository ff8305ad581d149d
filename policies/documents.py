"""The documents a control plane signs, as values; their canonical JSON payloads; nothing about trust.

Whether a document may be believed is decided in `trusted`. Payloads are RFC 8785 canonical JSON in a DSSE
envelope (`certs.envelope`). Times are Unix seconds, digests SHA-256 in lower-case hex, certificates DER.
"""

from dataclasses import dataclass

from certs.bundle import TrustBundle
from certs.document_keys import ED25519
from policies.model import ResourceKey, Rules
from policies.workloads import Workload

TYPE_DELEGATION = "application/vnd.writ.delegation+json"
TYPE_ROOT_CHANGE = "application/vnd.writ.root-change+json"
TYPE_TRUST = "application/vnd.writ.trust+json"
TYPE_TICKET = "application/vnd.writ.ticket+json"
TYPE_HEARTBEAT = "application/vnd.writ.hb+json"
TYPE_WORKLOADS = "application/vnd.writ.workloads+json"
TYPE_RECEIPT = "application/vnd.writ.receipt+json"
TYPE_TALLIES = "application/vnd.writ.tallies+json"
TYPE_EVIDENCE_KEY = "application/vnd.writ.evidence-key+json"
ROOT_CHANGES = "root-changes-v1"
"""The feature of an agent that follows changes of the root: one that enforces a generation believes the roots that it lists."""
SHADOW = "shadow-v1"
"""The feature that the ticket of a shadow policy needs: its rules are evaluated beside those in force, never enforced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Signed by the root: which keys sign documents until `expires`, how many must, and by which algorithms each."""

    trust_domain: str
    version: int
    expires: int
    threshold: int
    keys: tuple[bytes, ...]  # public document keys, as `certs.document_keys` has them
    algorithms: tuple[str, ...] = (ED25519,)
    """Of every key, all of them: a document that lacks one of these signatures is not signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChange:
    """Signed by the root before and by the next: who believes the one may believe the other. What follows from it: `roots`."""

    trust_domain: str
    version: int  # of the next root; the first root of a mesh is 1
    old: bytes
    new: bytes
    cross: bytes  # `new`, certified by `old`; empty where `old` has no room for it


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustDocument:
    """Mesh-wide: whom to believe, who is dead, which policy versions count.

    No time in it: one generation has one content, whoever signs it and however often.
    """

    trust_domain: str
    generation: int
    roots: tuple[bytes, ...]
    """Oldest first: one, or two while the root is being changed."""
    node_cas: tuple[bytes, ...]
    control_plane_cas: tuple[bytes, ...]
    floors: dict[str, int | None]
    """SPIFFE ID -> lowest accepted epoch; None: revoked. A node that is not named has floor 1."""
    policy_min: int
    policy_now: int
    workload_cas: tuple[bytes, ...] = ()
    """What signs certificates of workloads. No sidecar and no API accepts them."""
    jwt_keys: tuple[bytes, ...] = ()
    """Keys that sign JWT-SVIDs: SubjectPublicKeyInfo, P-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    """Who is who on one node: the registrations its agent serves, all of them, and whom they may believe elsewhere."""

    trust_domain: str
    node: str  # SPIFFE ID
    generation: int  # the store revision of their last change, or of that of the bundles
    workloads: tuple[Workload, ...]
    federated: tuple[TrustBundle, ...] = ()
    """Of other trust domains that these federate with, sorted by name; one that is not here is believed in nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Binds content-addressed rules and peers to one node. `features` it lacks make an agent refuse."""

    trust_domain: str
    node: str  # SPIFFE ID
    generation: int
    policy_version: int
    issued_at: int
    rules: str  # digest of a RulesBlob
    peers: str  # digest of a PeersBlob
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The newest word: every agent may act on `trust` until `until`, and no longer."""

    trust_domain: str
    generation: int
    trust: str  # digest of the trust document's payload
    at: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedResource:
    """A resource of this node and the loopback port that serves it."""

    key: ResourceKey
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesBlob:
    """What a node enforces: as callee on its own resources, as caller on those of its peers."""

    ingress: Rules
    egress: Rules
    served: tuple[ServedResource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A node that may be called: its name, identity and where its sidecar listens."""

    node: str  # `<node>.<site>`
    spiffe_id: str
    address: str  # host:port


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersBlob:
    """The peers that some permit lets the node reach, and no others."""

    peers: tuple[Peer, ...]
