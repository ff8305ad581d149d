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
INVITED, ENROLLED, REVOKED, LOCKED, QUARANTINED = "invited", "enrolled", "revoked", "locked", "quarantined"
HEARD = frozenset({ENROLLED, QUARANTINED})
"""These may talk to us: documents, evidence, health, renewal."""
ENDED = frozenset({REVOKED, LOCKED})
"""Nothing is heard from these, and nothing told to them."""
SHUT_OUT = ENDED | {QUARANTINED}
"""No peer accepts these, and they accept no peer. The quarantined are still heard: evidence, health, renewal."""


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
    tier: int = 0  # at most this, an operator says; what counts is `effective_tier`
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
    attested_by: str = ""  # how it last proved who it is; empty: by a join token, before this was kept
    attested_at: int = 0
    attested_tier: int = 1  # how strongly
    floor_at: int = 0  # Unix seconds: when certificates of it last died before their time
    issuer: str = ""  # name of the CA key that signed its certificate

    @property
    def spiffe_id(self) -> SpiffeId:
        return node_id(self.trust_domain, self.jurisdiction, self.site, self.node)

    @property
    def short(self) -> str:
        return f"{self.node}.{self.site}"

    @property
    def effective_tier(self) -> int:
        """How strongly it was attested, unless an operator trusts it less."""
        return min(self.tier, self.attested_tier)

    @property
    def attributes(self) -> Attributes:
        """What its next certificate says."""
        return self._attributes(self.effective_tier)

    @property
    def declared(self) -> Attributes:
        """What operators said it is."""
        return self._attributes(self.tier)

    def _attributes(self, tier: int) -> Attributes:
        return Attributes(
            tier=tier,
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
    """Evidence that enrols one key: a join token, found by the hash of its secret, or a token that somebody else made."""

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
class RevokedKeyRow:
    """A public key that is certified never again, under any name."""

    spki: str  # hex
    reason: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """The one node that a public key was certified for, its workloads included."""

    node: str  # "<node>.<site>"
    not_after: int  # end of the last certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadsRow:
    """The registrations of one node, each as `policies.workloads.dump` gives it."""

    node: str
    site: str
    workloads: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationRow:
    """A relationship with another trust domain."""

    trust_domain: str
    url: str
    profile: str
    endpoint_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignBundleRow:
    """The newest bundle of another trust domain, as it was fetched or given by an operator."""

    trust_domain: str
    document: str  # JSON
    since: int  # Unix seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledRow:
    """How the last attempts to fetch a bundle went."""

    answered_at: int = 0  # Unix seconds of the last that succeeded; 0: none yet
    error: str = ""  # of the last, if it failed
    failed_at: int = 0


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

    `shadow` is evaluated and never enforced; `latest` is the highest number that was ever given. `nested` says which groups
    are in which: `<kind>/<name>` to names of the same kind. It stands here, so that an older version, which would take every
    group for itself and so lose a forbid, refuses to go on.
    """

    minimum: int = 0
    now: int = 0
    staged: int = 0
    shadow: int = 0
    latest: int = 0
    nested: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    @property
    def next(self) -> int:
        return max(self.now, self.staged, self.shadow, self.latest) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyRow:
    """Who does what only one may do. Its revision is the epoch: a commit that compares it fails once another took over."""

    holder: str
    count: int
    done: int = 0  # up to which hour expired certificates are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredRow:
    """Where a store comes from that was restored; `whole` once all of it is there."""

    taken_at: int  # Unix seconds
    revision: int  # of the backup
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """The newest epoch: since when nothing that was lost before is missed."""

    number: int
    opened_at: int  # Unix seconds


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


@lru_cache(maxsize=64)
def _defaults(kind: type) -> dict[str, Any]:
    """Field -> its default, to compare with; `MISSING` where it has none."""
    return {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(kind)
    }


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=dataclasses.asdict).encode


def dump(row: Any) -> bytes:
    """What differs from its default: the version before this one reads every row that uses nothing new. No default ever changes.

    Not by `asdict`: it copies every value, and rows hold little but what JSON has. It was a quarter of issuing a certificate.
    """
    told = {}
    for name, default in _defaults(type(row)).items():  # type: ignore[arg-type]  # classes are hashable
        value = getattr(row, name)
        if value != default:
            told[name] = value
    return _encode(told).encode()


def load(kind: type[R], data: bytes) -> R:
    """CorruptError unless `data` is a row of this kind. Fields added later have defaults; a field that is not known may say
    anything (that this node is shut out), and is refused.
    """
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    try:
        fields = json.loads(data)
        if unknown := fields.keys() - hints.keys():
            raise CorruptError(
                f"stored {kind.__name__} holds `{min(unknown)[:64]}`, which this version does not know",
                hint="another replica is newer: upgrade this control plane",
            )
        for name, value in fields.items():
            if type(value) is not hints[name]:
                raise TypeError(f"`{name}` is a {type(value).__name__}")
        return kind(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise CorruptError(f"stored {kind.__name__} is malformed: {exc}") from exc
