"""What each node is given: rules specialised for it, the peers it may reach, and the ticket that binds both to it.

A node gets its own resources' rules as callee, and as caller those of resources that some permit lets it reach; and the
addresses of exactly the nodes that serve them. Blobs are named by content: equal inputs give one blob.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from controlplane import model
from controlplane.model import NodeRow, ResourceRow
from policies import codec
from policies import compile as compiler
from policies.compile import ResourceFacts
from policies.documents import Peer, PeersBlob, RulesBlob, ServedResource
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


def facts(row: ResourceRow, jurisdiction: str) -> ResourceFacts:
    return ResourceFacts(
        key=ResourceKey(row.kind, row.name, f"{row.node}.{row.site}"),
        groups=frozenset(row.groups),
        owner=row.owner,
        max_class=row.max_class,
        site=row.site,
        jurisdiction=jurisdiction,
    )


def principal(row: NodeRow) -> Principal:
    """A node as policies see it."""
    return Principal(
        node=row.short,
        site=row.site,
        jurisdiction=row.jurisdiction,
        tier=row.tier,
        groups=frozenset(row.groups),
        purposes=frozenset(row.purposes),
        regions=frozenset(row.regions),
        class_floor=row.class_floor,
        class_ceiling=row.class_ceiling,
    )


class BundleMaker:
    """Makes bundles for one state of the mesh; compiled rules are kept as long as their inputs stay the same."""

    def __init__(self) -> None:
        self._ingress: dict[tuple[int, tuple[ResourceFacts, ...]], Rules] = {}
        self._egress: dict[tuple[int, Principal, tuple[ResourceFacts, ...]], Rules] = {}

    def make(
        self,
        version: int,
        policies: Sequence[Policy],
        nodes: Mapping[str, NodeRow],
        resources: Sequence[ResourceRow],
    ) -> dict[str, Bundle]:
        """SPIFFE ID -> bundle, for every enrolled node. `nodes` is by short name."""
        alive = {name: row for name, row in nodes.items() if row.state == model.ENROLLED}
        by_node: dict[str, list[ResourceRow]] = {}
        for row in resources:
            by_node.setdefault(f"{row.node}.{row.site}", []).append(row)
        described = {
            name: tuple(facts(row, nodes[name].jurisdiction) for row in rows)
            for name, rows in by_node.items()
            if name in alive
        }
        return {
            str(row.spiffe_id): self._bundle(version, policies, row, alive, described, by_node.get(name, []))
            for name, row in alive.items()
        }

    def _bundle(
        self,
        version: int,
        policies: Sequence[Policy],
        row: NodeRow,
        alive: Mapping[str, NodeRow],
        described: Mapping[str, tuple[ResourceFacts, ...]],
        own: Sequence[ResourceRow],
    ) -> Bundle:
        served = described.get(row.short, ())
        remote = tuple(fact for name in sorted(described) if name != row.short for fact in described[name])
        ingress = self._ingress_rules(version, policies, served)
        egress = self._egress_rules(version, policies, principal(row), remote)
        ports = tuple(
            ServedResource(key=fact.key, port=resource.port)
            for fact, resource in zip(served, own, strict=True)
        )
        reached = sorted({key.node for key in egress.resources})
        peers = tuple(
            Peer(node=name, spiffe_id=str(alive[name].spiffe_id), address=alive[name].address)
            for name in reached
            if alive[name].address
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

    def _egress_rules(
        self, version: int, policies: Sequence[Policy], caller: Principal, remote: tuple[ResourceFacts, ...]
    ) -> Rules:
        key = (version, caller, remote)
        if key not in self._egress:
            self._egress[key] = compiler.compile_egress(policies, caller, remote)
        return self._egress[key]

    def keep(self, versions: Collection[int]) -> None:
        """Drop what was compiled from policies that no longer count."""
        self._ingress = {key: rules for key, rules in self._ingress.items() if key[0] in versions}
        self._egress = {key: rules for key, rules in self._egress.items() if key[0] in versions}
