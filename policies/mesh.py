"""What is known of a mesh when policies are questioned away from it: its nodes and its resources.

The control plane's own state in a file (`writ policy context`), or the small world that a test file makes up.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from policies import entries, grammar, hierarchy, syntax
from policies.compile import KINDS_OF
from policies.errors import InputError
from policies.hierarchy import Hierarchy
from policies.model import CLASS_MAX, RESOURCE_KINDS, Principal, ResourceKey
from policies.operands import ResourceFacts

RESOURCE = re.compile(rf"({'|'.join(RESOURCE_KINDS)})/([A-Za-z0-9._:/-]{{1,128}})@([a-z0-9.-]{{1,127}})")
_NODE = ("tier", "groups", "purposes", "regions", "class_floor", "class_ceiling")
_RESOURCE = ("groups", "owner", "max_class")


@dataclass(frozen=True, slots=True)
class Mesh:
    """Nodes as their certificates say, and what they serve."""

    nodes: tuple[Principal, ...]
    resources: tuple[ResourceFacts, ...]

    def node(self, name: str) -> Principal | None:
        return next((node for node in self.nodes if node.node == name), None)

    def alike(self, policies: Iterable[syntax.Policy]) -> Iterator[tuple[Principal, tuple[str, ...]]]:
        """Nodes that `policies` cannot tell apart: one of each kind, and the names of all of its kind."""
        named = {resource.key.node for resource in self.resources} | set(_named_nodes(policies))
        found: dict[Principal, list[Principal]] = {}
        for node in self.nodes:
            key = node if node.node in named else replace(node, node="")
            found.setdefault(key, []).append(node)
        for kind in found.values():
            yield kind[0], tuple(node.node for node in kind)

    def places(self, caller: Principal) -> Iterator[tuple[str, ResourceKey]]:
        """Every action on every resource that is not the caller's own: what stays on a node passes no sidecar."""
        for resource in self.resources:
            if resource.key.node != caller.node:
                yield from (
                    (action, resource.key) for action, kinds in KINDS_OF.items() if resource.key.kind in kinds
                )


def key(text: str, where: str = "") -> ResourceKey:
    """`Model/ngram@gpu-1.berlin`; InputError for anything else."""
    found = RESOURCE.fullmatch(text)
    if found is None or not grammar.NODE_NAME.fullmatch(found[3]):
        hint = "write `Model/<name>@<node>.<site>`; kinds: " + ", ".join(RESOURCE_KINDS)
        raise InputError(where, f"`{text[:80]}` is no resource", hint=hint)
    return ResourceKey(found[1], found[2], found[3])


def shown(resource: ResourceKey) -> str:
    """The inverse of `key`."""
    return f"{resource.kind}/{resource.uid}"


def load(document: object, where: str = "") -> Mesh:
    """From decoded YAML or JSON with `nodes`, `resources` and perhaps `groups`; raises InputError."""
    fields = entries.mapping(document, where, required=("nodes", "resources"), optional=("groups",))
    return read(fields["nodes"], fields["resources"], fields.get("groups"))


def read(nodes: object, resources: object, groups: object = None) -> Mesh:
    """`groups` says which are in which; those that it does not speak of are in none."""
    known = {node.node: node for node in entries.items(nodes, "nodes", _node)}
    if len(known) != len(nodes if isinstance(nodes, list) else ()):
        raise InputError("nodes", "one node is there twice")
    _check_sites(known.values())
    found = entries.items(resources, "resources", lambda item, place: _resource(item, place, known))
    if len({facts.key for facts in found}) != len(found):
        raise InputError("resources", "one resource is there twice")
    return completed(Mesh(nodes=tuple(known.values()), resources=found), hierarchy.load(groups))


def completed(mesh: Mesh, groups: Hierarchy) -> Mesh:
    """With every node and resource in all groups that its own are in."""
    return Mesh(
        nodes=tuple(map(groups.caller, mesh.nodes)), resources=tuple(map(groups.resource, mesh.resources))
    )


def dump(mesh: Mesh) -> dict[str, object]:
    """What `load` reads, sorted, without what is as by default."""
    nodes = [_dump_node(node) for node in sorted(mesh.nodes, key=lambda node: node.node)]
    resources = [_dump_resource(facts) for facts in sorted(mesh.resources, key=lambda facts: facts.key)]
    return {"nodes": nodes, "resources": resources}


def _dump_node(node: Principal) -> dict[str, object]:
    return {
        "node": node.node,
        "jurisdiction": node.jurisdiction,
        "tier": node.tier,
        **{name: sorted(getattr(node, name)) for name in ("groups", "purposes", "regions")},
        "class_floor": node.class_floor,
        "class_ceiling": node.class_ceiling,
    }


def _dump_resource(facts: ResourceFacts) -> dict[str, object]:
    return {
        "resource": shown(facts.key),
        "groups": sorted(facts.groups),
        "owner": facts.owner,
        "max_class": facts.max_class,
    }


def _node(value: object, where: str) -> Principal:
    fields = entries.mapping(value, where, required=("node", "jurisdiction"), optional=_NODE)
    name = entries.text(fields["node"], f"{where}.node", grammar.NODE_NAME)
    floor = entries.digit(fields.get("class_floor", 0), f"{where}.class_floor", CLASS_MAX)
    ceiling = entries.digit(fields.get("class_ceiling", 0), f"{where}.class_ceiling", CLASS_MAX)
    if floor > ceiling:
        raise InputError(where, "`class_floor` is above `class_ceiling`")
    return Principal(
        node=name,
        site=name.partition(".")[2],
        jurisdiction=entries.text(fields["jurisdiction"], f"{where}.jurisdiction", grammar.COUNTRY),
        tier=entries.digit(fields.get("tier", 0), f"{where}.tier", CLASS_MAX),
        groups=entries.words(fields.get("groups"), f"{where}.groups", grammar.WORD),
        purposes=entries.words(fields.get("purposes"), f"{where}.purposes", grammar.WORD),
        regions=entries.words(fields.get("regions"), f"{where}.regions", grammar.WORD),
        class_floor=floor,
        class_ceiling=ceiling,
    )


def _resource(value: object, where: str, nodes: Mapping[str, Principal]) -> ResourceFacts:
    fields = entries.mapping(value, where, required=("resource",), optional=_RESOURCE)
    found = key(entries.text(fields["resource"], f"{where}.resource"), f"{where}.resource")
    owner = nodes.get(found.node)
    if owner is None:
        raise InputError(f"{where}.resource", f"there is no node `{found.node}`", hint="add it to `nodes`")
    return ResourceFacts(
        key=found,
        groups=entries.words(fields.get("groups"), f"{where}.groups"),
        owner=entries.text(fields.get("owner", ""), f"{where}.owner"),
        max_class=entries.digit(fields.get("max_class", 0), f"{where}.max_class", CLASS_MAX),
        site=owner.site,
        jurisdiction=owner.jurisdiction,
        node_groups=owner.groups,
    )


def _check_sites(nodes: Iterable[Principal]) -> None:
    places: dict[str, str] = {}
    for node in nodes:
        if places.setdefault(node.site, node.jurisdiction) != node.jurisdiction:
            raise InputError("nodes", f"site `{node.site}` is in two jurisdictions")


def _named_nodes(policies: Iterable[syntax.Policy]) -> Iterator[str]:
    """Every node that a policy spells out."""
    for policy in policies:
        pending = [policy.principal, policy.resource, *(clause.node for clause in policy.clauses)]
        while pending:
            node = pending.pop()
            if isinstance(node, syntax.Entity) and node.kind == "Node":
                yield node.id
            if node is not None:
                pending += syntax.children(node)
