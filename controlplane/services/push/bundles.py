"""What each node is given: rules specialised for it, the peers it may reach, and the ticket that binds both to it.

A node gets its own resources' rules as callee, and as caller those of resources that some permit lets it reach; and the
addresses of exactly the nodes that serve them. Blobs are named by content: equal inputs give one blob.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from controlplane import model
from controlplane.model import NodeRow, ResourceRow
from policies import codec
from policies import compile as compiler
from policies.compile import ResourceFacts
from policies.documents import Peer, PeersBlob, RulesBlob, ServedResource
from policies.hierarchy import FLAT, Hierarchy
from policies.model import Principal, ResourceKey, Rules
from policies.syntax import Policy


@dataclass(frozen=True, slots=True)
class Bundle:
    """Two blobs, encoded, and their digests."""

    rules: bytes
    peers: bytes

    @property
    def digests(self) -> tuple[str, str]:
        return codec.digest(self.rules), codec.digest(self.peers)


def facts(row: ResourceRow, jurisdiction: str, node_groups: Iterable[str]) -> ResourceFacts:
    return ResourceFacts(
        key=ResourceKey(row.kind, row.name, f"{row.node}.{row.site}"),
        groups=frozenset(row.groups),
        owner=row.owner,
        max_class=row.max_class,
        site=row.site,
        jurisdiction=jurisdiction,
        node_groups=frozenset(node_groups),
    )


def principal(row: NodeRow) -> Principal:
    """A node as policies see it."""
    return Principal(
        node=row.short,
        site=row.site,
        jurisdiction=row.jurisdiction,
        tier=row.effective_tier,
        groups=frozenset(row.groups),
        purposes=frozenset(row.purposes),
        regions=frozenset(row.regions),
        class_floor=row.class_floor,
        class_ceiling=row.class_ceiling,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """One state of the mesh, ready to make bundles from. `alive` is by short name."""

    version: int
    policies: Sequence[Policy]
    groups: Hierarchy
    alive: Mapping[str, NodeRow]
    own: Mapping[str, Sequence[ResourceRow]]
    described: Mapping[str, tuple[ResourceFacts, ...]]
    remote: tuple[ResourceFacts, ...]  # of all nodes, in order

    @property
    def shared(self) -> object:
        """All that any node's bundle may be made from, but for its own row; equal: equal bundles for equal rows."""
        served = {
            name: (self.own[name], str(self.alive[name].spiffe_id), self.alive[name].address)
            for name in self.described
        }
        return self.version, self.policies, self.groups, self.described, served


class BundleMaker:
    """Makes bundles for one state of the mesh; compiled rules are kept as long as their inputs stay the same."""

    def __init__(self) -> None:
        self._ingress: dict[tuple[int, tuple[ResourceFacts, ...]], Rules] = {}
        self._egress: dict[tuple[int, Principal, str], Rules] = {}
        self._remote: tuple[ResourceFacts, ...] = ()
        self._groups, self._spelled = FLAT, dict[int, Sequence[Policy]]()

    def plan(
        self,
        version: int,
        policies: Sequence[Policy],
        nodes: Mapping[str, NodeRow],
        resources: Sequence[ResourceRow],
        groups: Hierarchy = FLAT,
    ) -> Plan:
        """`nodes` is by short name. What rules are made from knows no groups in groups: `groups` is spelled out in it."""
        if groups != self._groups:
            self._groups, self._ingress, self._egress, self._spelled = groups, {}, {}, {}
        if version not in self._spelled:
            self._spelled[version] = groups.spelled_out(policies)
        alive = {name: row for name, row in nodes.items() if row.state == model.ENROLLED}
        by_node: dict[str, list[ResourceRow]] = {}
        for row in resources:
            by_node.setdefault(f"{row.node}.{row.site}", []).append(row)
        described = {
            name: tuple(
                groups.resource(facts(row, nodes[name].jurisdiction, nodes[name].groups)) for row in rows
            )
            for name, rows in by_node.items()
            if name in alive
        }
        remote = tuple(fact for name in sorted(described) for fact in described[name])
        if remote != self._remote:
            self._remote, self._egress = remote, {}
        return Plan(version, self._spelled[version], groups, alive, by_node, described, self._remote)

    def make(
        self,
        version: int,
        policies: Sequence[Policy],
        nodes: Mapping[str, NodeRow],
        resources: Sequence[ResourceRow],
    ) -> dict[str, Bundle]:
        """SPIFFE ID -> bundle, for every enrolled node. `nodes` is by short name."""
        plan = self.plan(version, policies, nodes, resources)
        return {str(row.spiffe_id): self.bundle(plan, row) for row in plan.alive.values()}

    def bundle(self, plan: Plan, row: NodeRow) -> Bundle:
        """What this node is given in that state."""
        served = plan.described.get(row.short, ())
        ingress = self._ingress_rules(plan.version, plan.policies, served)
        egress = self._egress_rules(plan, plan.groups.caller(principal(row)), row.short if served else "")
        ports = tuple(
            ServedResource(key=fact.key, port=resource.port)
            for fact, resource in zip(served, plan.own.get(row.short, ()), strict=True)
        )
        reached = sorted({key.node for key in egress.resources})
        peers = tuple(
            Peer(node=name, spiffe_id=str(plan.alive[name].spiffe_id), address=plan.alive[name].address)
            for name in reached
            if plan.alive[name].address
        )
        rules = codec.dump_rules(RulesBlob(ingress=ingress, egress=egress, served=ports))
        return Bundle(rules=rules, peers=codec.dump_peers(PeersBlob(peers=peers)))

    def _ingress_rules(
        self, version: int, policies: Sequence[Policy], served: tuple[ResourceFacts, ...]
    ) -> Rules:
        key = (version, served)
        if key not in self._ingress:
            self._ingress[key] = compiler.compile_ingress(policies, served)
        return self._ingress[key]

    def _egress_rules(self, plan: Plan, caller: Principal, itself: str) -> Rules:
        """`itself`: the node, if it serves something; all others that are alike share their rules."""
        key = (plan.version, caller, itself)
        if key not in self._egress:
            remote = tuple(fact for fact in plan.remote if fact.key.node != itself)
            self._egress[key] = compiler.compile_egress(plan.policies, caller, remote)
        return self._egress[key]

    def keep(self, versions: Collection[int]) -> None:
        """Drop what was compiled from policies that no longer count."""
        self._ingress = {key: rules for key, rules in self._ingress.items() if key[0] in versions}
        self._egress = {key: rules for key, rules in self._egress.items() if key[0] in versions}
        self._spelled = {
            version: spelled for version, spelled in self._spelled.items() if version in versions
        }
