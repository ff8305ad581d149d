"""What is stored, as values with one JSON form each. Rows are read back strictly: foreign bytes raise CorruptError."""

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, get_type_hints

from certs.attributes import Attributes
from certs.spiffe import SpiffeId, node_id
from controlplane.errors import CorruptError

R = TypeVar("R")
INVITED, ENROLLED, REVOKED, LOCKED = "invited", "enrolled", "revoked", "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """A data centre."""

    name: str
    jurisdiction: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A node: what it is, and which of its certificates still count."""

    trust_domain: str
    node: str
    site: str
    jurisdiction: str
    tier: int = 0
    groups: list[str] = dataclasses.field(default_factory=list)
    purposes: list[str] = dataclasses.field(default_factory=list)
    regions: list[str] = dataclasses.field(default_factory=list)
    class_floor: int = 0
    class_ceiling: int = 0
    state: str = INVITED
    reason: str = ""
    epoch: int = 0  # of the last certificate; 0: none yet
    floor: int = 1  # lowest epoch peers accept
    renew_floor: int = 1  # lowest epoch that may renew: narrowing raises `floor` only
    address: str = ""
    serial: str = ""  # hex
    not_after: int = 0
    evidence_key: str = ""  # verifier key of its log
    renew_serial: str = ""  # the certificate that is to be renewed before its time

    @property
    def spiffe_id(self) -> SpiffeId:
        return node_id(self.trust_domain, self.jurisdiction, self.site, self.node)

    @property
    def short(self) -> str:
        return f"{self.node}.{self.site}"

    @property
    def attributes(self) -> Attributes:
        return Attributes(
            tier=self.tier,
            groups=frozenset(self.groups),
            purposes=frozenset(self.purposes),
            regions=frozenset(self.regions),
            class_floor=self.class_floor,
            class_ceiling=self.class_ceiling,
        )

    def with_attributes(self, new: Attributes) -> "NodeRow":
        return dataclasses.replace(
            self,
            tier=new.tier,
            groups=sorted(new.groups),
            purposes=sorted(new.purposes),
            regions=sorted(new.regions),
            class_floor=new.class_floor,
            class_ceiling=new.class_ceiling,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A join token, found by the hash of its secret."""

    node: str
    site: str
    expires_at: int
    used_by: str = ""  # idempotency key of the one enrolment
    spki: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """A certificate that may have been signed: stored before it was."""

    serial: str
    spiffe_id: str
    epoch: int
    not_before: int
    not_after: int
    spki: str
    key_name: str
    tbs: str  # hex
    beside: list[str] = dataclasses.field(default_factory=list)  # keys that mean nothing without it


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedRow:
    """Which serial answered an idempotency key, or followed a certificate."""

    serial: str
    spki: str
    not_after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadsRow:
    """The registrations of one node, each as `policies.workloads.dump` gives it."""

    node: str
    site: str
    workloads: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtKeyRow:
    """A key that signs JWT-SVIDs, did, or will."""

    key_id: str
    replica: str  # whose signer holds it
    key_name: str  # there
    public: str  # hex: SubjectPublicKeyInfo
    state: str  # prepared, active, old
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtRow:
    """A token that may have been signed: stored before it was."""

    text: str  # header and claims, as signed
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRow:
    """A declared resource."""

    kind: str
    name: str
    node: str
    site: str
    groups: list[str]
    owner: str
    max_class: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySetRow:
    """One version of the policies, as written."""

    version: int
    files: dict[str, str]
    applied_at: int
    applied_by: str
    sites: list[str] = dataclasses.field(default_factory=list)  # where its files hold; empty: everywhere
    base: int = 0  # the version that holds at other sites
    shadow: bool = False  # evaluated beside the one in force, never enforced
    note: str = ""  # where it came from: a promotion, a rollback


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """Which versions count: agents enforce v iff minimum <= v <= now; `staged` is pushed but not yet to be enforced.

    `shadow` is evaluated and never enforced; `latest` is the highest number that was ever given.
    """

    minimum: int = 0
    now: int = 0
    staged: int = 0
    shadow: int = 0
    latest: int = 0

    @property
    def next(self) -> int:
        return max(self.now, self.staged, self.shadow, self.latest) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRow:
    """A control plane among its equals: its CAs and document key, as everybody must know them. Hex; certificates DER."""

    name: str
    root: str
    node_ca: str
    control_plane_ca: str
    workload_ca: str
    document_key: str
    address: str = ""  # host:port of its API
    issues: bool = False  # its CAs may be used: connected agents have acknowledged them
    since: int = 0  # Unix seconds: when it joined


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationRow:
    """The newest delegation: which document keys the root has delegated."""

    version: int
    envelope: str  # DSSE JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessKeyRow:
    """The key that cosigns logs, in a store that seals what it holds: all replicas are one witness."""

    private: str  # PKCS#8 PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyRow:
    """Who does what only one may do. Its revision is the epoch: a commit that compares it fails once another took over."""

    holder: str
    count: int
    done: int = 0  # up to which hour expired certificates are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessRow:
    """The last checkpoint of a node's log that was cosigned."""

    origin: str
    size: int
    root: str  # hex
    checkpoint: str  # note text, as the log signed it
    cosigned_at: int  # Unix seconds; stored before anything is signed
    tallies: str = ""  # DSSE JSON text
    evidence_key: str = ""  # verifier key of a control plane's own log; a node's is in its row


@lru_cache(maxsize=64)  # resolving hints costs more than the rest of `load`: ten thousand rows felt it
def _hints(kind: type) -> dict[str, Any]:
    return {name: getattr(hint, "__origin__", hint) for name, hint in get_type_hints(kind).items()}


def dump(row: Any) -> bytes:
    return json.dumps(dataclasses.asdict(row), sort_keys=True, separators=(",", ":")).encode()


def load(kind: type[R], data: bytes) -> R:
    """CorruptError unless `data` is a row of this kind. Fields added later have defaults, unknown ones are refused."""
    try:
        fields = json.loads(data)
        hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
        for name, value in fields.items():
            if type(value) is not hints[name]:
                raise TypeError(f"`{name}` is a {type(value).__name__}")
        return kind(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise CorruptError(f"stored {kind.__name__} is malformed: {exc}") from exc
