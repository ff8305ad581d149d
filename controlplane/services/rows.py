"""Typed access to the store: which key holds what. The one place that knows how keys are built."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from controlplane import authority_rows, model
from controlplane.errors import CorruptError, NotFoundError
from controlplane.operator_rows import OperatorRow
from controlplane.store.base import Item, Store
from policies import hierarchy
from policies.errors import InputError
from policies.hierarchy import Hierarchy

R = TypeVar("R")
MESH = "mesh"
"""Written with every change of mesh content: the revision of its last write is the generation."""
POLICY = "policy/state"
DELEGATION = "delegation"
ROOT_CHANGES = "root-change/"
WITNESS_KEY = "witness-key"
JWT_AUTHORITIES = "authority/jwt/"
CA_AUTHORITIES = "authority/ca/"
REVOKED_CAS = "revoked-ca/"
ROOT_CRL = "root-crl"
WORKLOADS = "workload/"
FEDERATIONS = "federation/"
FOREIGN_BUNDLES = "foreign-bundle/"
FOREIGN_CHANGE = "foreign-change"
"""Written with every change of a bundle of another trust domain, their removal included: its revision is theirs."""
JWTS = "jwt/"
TOKENS = "token/"
FLOORS = "floor/"
OPERATORS = "operator/"
APPROVALS = "approval/"
APPROVAL_SETTING = "settings/approval"
RESTORED = "restored"
"""Present from the first row of a restore until a new epoch is opened: nothing is served from such a store."""
EPOCH = "epoch"
KINDS: dict[str, type] = {
    "site/": model.SiteRow,
    "node/": model.NodeRow,
    FLOORS: model.NodeRow,
    "resource/": model.ResourceRow,
    "replica/": authority_rows.ReplicaRow,
    POLICY: model.PolicyState,
    "policy/set/": model.PolicySetRow,
    DELEGATION: authority_rows.DelegationRow,
    ROOT_CHANGES: authority_rows.RootChangeRow,
    CA_AUTHORITIES: authority_rows.CaRow,
    JWT_AUTHORITIES: authority_rows.JwtKeyRow,
    REVOKED_CAS: authority_rows.RevokedCaRow,
    ROOT_CRL: authority_rows.RootCrlRow,
    WORKLOADS: model.WorkloadsRow,
    FOREIGN_BUNDLES: model.ForeignBundleRow,
    RESTORED: model.RestoredRow,
    EPOCH: model.EpochRow,
    OPERATORS: OperatorRow,
}
"""What the rows hold that every document is made of, by prefix."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """A row with the key and revision it was read at, for the compare of the next write."""

    key: str
    row: R
    revision: int


def site_key(name: str) -> str:
    return f"site/{name}"


def node_key(node: str, site: str) -> str:
    return f"node/{site}/{node}"


def root_change_key(version: int) -> str:
    return f"{ROOT_CHANGES}{version:04}"


def floor_key(node: str, site: str) -> str:
    """Present only while a node's floor is not 1, so that the trust document is made from few rows."""
    return f"{FLOORS}{site}/{node}"


def token_key(name: str) -> str:
    return f"{TOKENS}{name}"


def hour(at: int) -> int:
    return at // 3600


def certificates_of(ends: int) -> str:
    """Certificates by the hour in which they end: so that what is long dead is found without reading the rest."""
    return f"certificate/{ends:08d}/"


def certificate_key(serial: str, not_after: int) -> str:
    return f"{certificates_of(hour(not_after))}{serial}"


def idempotency_key(spiffe_id: str, key: str) -> str:
    return f"idempotent/{spiffe_id.removeprefix('spiffe://')}/{key}"


def issued_to(node: str) -> str:
    """Everything that was issued to a node, and to the workloads below it, until it is forgotten: what `IssuedRow` says."""
    return f"idempotent/{node.removeprefix('spiffe://')}/"


def revoked_key(spki: str) -> str:
    """Present: this public key (SHA-256 of it, hex) is certified never again."""
    return f"revoked-key/{spki}"


def key_owner(spki: str) -> str:
    """Whose a public key (SHA-256 of it, hex) is, while certificates for it are kept."""
    return f"key/{spki}"


def successor_key(serial: str) -> str:
    """What followed a certificate: a second, different follower means the key was copied."""
    return f"successor/{serial}"


def workloads_key(node: str, site: str) -> str:
    return f"{WORKLOADS}{site}/{node}"


def federation_key(trust_domain: str) -> str:
    return f"{FEDERATIONS}{trust_domain}"


def foreign_bundle_key(trust_domain: str) -> str:
    return f"{FOREIGN_BUNDLES}{trust_domain}"


def polled_key(trust_domain: str) -> str:
    return f"polled/{trust_domain}"


def used_key(spki: str) -> str:
    """Present: this key of a key management service was an authority's, and will not be another's."""
    return f"used-key/{spki}"


def jwt_authority_key(key_id: str) -> str:
    return f"{JWT_AUTHORITIES}{key_id}"


def ca_authority_key(key_id: str) -> str:
    return f"{CA_AUTHORITIES}{key_id}"


def revoked_ca_key(serial: str) -> str:
    return f"{REVOKED_CAS}{serial}"


def jwt_key(expires_at: int, token_id: str) -> str:
    """In the order in which tokens end, so that those that have are the first."""
    return f"{JWTS}{expires_at:012d}/{token_id}"


def resource_key(row: model.ResourceRow) -> str:
    return f"resource/{row.site}/{row.node}/{row.kind}/{row.name}"


def group_key(kind: str, name: str) -> str:
    return f"group/{kind}/{name}"


def policy_key(version: int) -> str:
    return f"policy/set/{version:012d}"


def witness_key(node: str, site: str) -> str:
    return f"witness/{site}/{node}"


def replica_key(name: str) -> str:
    return f"replica/{name}"


def duty_key(name: str) -> str:
    return f"duty/{name}"


def operator_key(name: str) -> str:
    return f"{OPERATORS}{name}"


def approval_key(id_: str) -> str:
    return f"{APPROVALS}{id_}"


async def find(store: Store, kind: type[R], key: str) -> Stored[R] | None:
    item = await store.get(key)
    return None if item is None else _stored(kind, item)


async def read(store: Store, kind: type[R], key: str, what: str) -> Stored[R]:
    """NotFoundError, said with `what`, when there is no such row."""
    found = await find(store, kind, key)
    if found is None:
        raise NotFoundError(f"there is no {what}")
    return found


async def every(store: Store, kind: type[R], prefix: str) -> list[Stored[R]]:
    items, _ = await store.list(prefix)
    return [_stored(kind, item) for item in items]


async def check(store: Store) -> None:
    """CorruptError names the first row that is not as we write it, of those that everything rests on."""
    lists, _ = await store.snapshot([*KINDS])
    for kind, items in zip(KINDS.values(), lists, strict=True):
        for item in items:
            _stored(kind, item)


def _stored(kind: type[R], item: Item) -> Stored[R]:
    try:
        return Stored(item.key, model.load(kind, item.value), item.revision)
    except CorruptError as exc:
        hint = "somebody else writes there, or the store is damaged: docs/backup.md"
        raise CorruptError(f"`{item.key}`: {exc}", hint=hint) from exc


async def read_node(store: Store, node: str, site: str) -> Stored[model.NodeRow]:
    return await read(store, model.NodeRow, node_key(node, site), f"node `{node}.{site}`")


async def policy_state(store: Store) -> Stored[model.PolicyState]:
    found = await find(store, model.PolicyState, POLICY)
    return found or Stored(POLICY, model.PolicyState(), 0)


def groups(state: model.PolicyState) -> Hierarchy:
    """Which groups are in which."""
    try:
        return hierarchy.read(nested(state))
    except (InputError, TypeError) as exc:
        raise CorruptError(f"`{POLICY}`: {exc}") from exc


def nested(state: model.PolicyState) -> dict[hierarchy.Group, list[str]]:
    """Group -> what it is directly in."""
    pairs = ((text.partition("/"), names) for text, names in state.nested.items())
    return {(kind, name): names for (kind, _, name), names in pairs}


class Parsed(Generic[R]):
    """Rows of one kind, parsed once per revision: a change of one node does not parse ten thousand."""

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self._known: dict[str, Stored[R]] = {}

    def __call__(self, items: Sequence[Item]) -> list[Stored[R]]:
        known, found = self._known, {}
        for item in items:
            before = known.get(item.key)
            same = before is not None and before.revision == item.revision
            found[item.key] = before if same and before else _stored(self._kind, item)
        self._known = found
        return list(found.values())
