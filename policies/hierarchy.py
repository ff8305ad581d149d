"""Groups in groups: what each is in, through any number of steps. Checked once, bounded, and flattened before rules are made.

A declaration names the groups of a resource, a certificate those of a node, never what these are in: a group is put into
another without a new certificate. So what is known is completed upwards (`above`), and a policy that asks a caller for a
group asks for those below it as well (`spelled_out`). Rules, agents and proxies know nothing of a hierarchy.
(1) Groups of one kind only, each named as declared.
(2) Nobody is in itself, through however many groups: a cycle would make all of its members one group.
(3) At most `MAX_PARENTS` named by a group, `MAX_DEPTH` steps upwards, `MAX_BELOW` groups below one, `MAX_NESTED` in others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from policies import entries, grammar, syntax
from policies.errors import InputError
from policies.model import RESOURCE_KINDS, Principal
from policies.operands import ResourceFacts

NODES = "Group"
KINDS = frozenset({NODES, *(f"{kind}Group" for kind in RESOURCE_KINDS)})
MAX_PARENTS, MAX_DEPTH, MAX_BELOW, MAX_NESTED = 32, 16, 64, 1024
Group = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Checked (`read`). `_above`, `_below`: a group to all that it is in, and to all that are in it; without itself."""

    _above: Mapping[Group, frozenset[str]] = field(default_factory=dict)
    _below: Mapping[Group, frozenset[str]] = field(default_factory=dict)

    def above(self, kind: str, names: Iterable[str]) -> frozenset[str]:
        """These groups and all that they are in."""
        given = frozenset(names)
        return given.union(*(self._above.get((kind, name), ()) for name in given))

    def below(self, kind: str, name: str) -> frozenset[str]:
        """All groups that are in this one."""
        return self._below.get((kind, name), frozenset())

    def caller(self, one: Principal) -> Principal:
        """With all groups that it is in."""
        return replace(one, groups=self.above(NODES, one.groups)) if self._above else one

    def resource(self, one: ResourceFacts) -> ResourceFacts:
        """With all groups that it, and the node that serves it, are in."""
        if not self._above:
            return one
        groups = self.above(f"{one.key.kind}Group", one.groups)
        return replace(one, groups=groups, node_groups=self.above(NODES, one.node_groups))

    def spelled_out(self, policies: Sequence[syntax.Policy]) -> Sequence[syntax.Policy]:
        """Policies with every group of nodes that they ask for beside the groups below it."""
        if not any(kind == NODES for kind, _ in self._below):
            return policies
        return tuple(map(self._spelled_out, policies))

    def _spelled_out(self, policy: syntax.Policy) -> syntax.Policy:
        scope = policy.principal
        return replace(
            policy,
            principal=None if scope is None else self._condition(scope),
            clauses=tuple(replace(clause, node=self._condition(clause.node)) for clause in policy.clauses),
        )

    def _condition(self, node: syntax.Node) -> syntax.Node:
        match node:
            case syntax.Call("in", (left, right)):
                return syntax.Call("in", (self._condition(left), self._groups(right)))
            case _:
                return syntax.rebuilt(node, self._condition)

    def _groups(self, node: syntax.Node) -> syntax.Node:
        """What stands behind `in`. A set in a set is what both hold."""
        match node:
            case syntax.Entity(kind, name) if kind == NODES and (below := self.below(kind, name)):
                return syntax.SetOf((node, *(syntax.Entity(kind, one) for one in sorted(below))))
            case syntax.SetOf(items):
                return syntax.SetOf(tuple(map(self._groups, items)))
            case syntax.If(cond, then, other):
                return syntax.If(self._condition(cond), self._groups(then), self._groups(other))
            case _:
                return node


FLAT = Hierarchy()


def read(parents: Mapping[Group, Iterable[str]], where: str = "groups") -> Hierarchy:
    """From what each group is directly in; raises InputError. That the groups exist is the caller's to know."""
    direct = {group: _parents(group, names, where) for group, names in parents.items()}
    direct = {group: names for group, names in direct.items() if names}
    if len(direct) > MAX_NESTED:
        raise InputError(where, f"at most {MAX_NESTED} groups can be in others")
    above: dict[Group, frozenset[str]] = {}
    for group in sorted(direct):
        above[group] = _climb(group, direct, where)
    below: dict[Group, set[str]] = {}
    for (kind, name), names in above.items():
        for parent in names:
            below.setdefault((kind, parent), set()).add(name)
    for group, found in below.items():
        if len(found) > MAX_BELOW:
            raise InputError(where, f"{shown(group)} has {len(found)} groups below it, at most {MAX_BELOW}")
    return Hierarchy(above, {group: frozenset(found) for group, found in below.items()})


def load(value: object, where: str = "groups") -> Hierarchy:
    """From decoded YAML: a list of groups with `kind`, `name` and the `groups` that it is in; raises InputError."""
    found = dict(entries.items(value, where, _entry))
    if len(found) != len(value if isinstance(value, list) else ()):
        raise InputError(where, "one group is there twice")
    for kind, name in ((kind, name) for (kind, _), names in found.items() for name in sorted(names)):
        if (kind, name) not in found:
            raise InputError(where, f"there is no {shown((kind, name))}", hint="add it to `groups`")
    return read(found, where)


def shown(group: Group) -> str:
    return f"{group[0]} `{group[1][:64]}`"


def _entry(value: object, where: str) -> tuple[Group, frozenset[str]]:
    fields = entries.mapping(value, where, required=("kind", "name"), optional=("groups",))
    kind = entries.text(fields["kind"], f"{where}.kind")
    if kind not in KINDS:
        raise InputError(
            f"{where}.kind", f"`{kind[:32]}` holds nothing", hint="kinds: " + ", ".join(sorted(KINDS))
        )
    name = entries.text(fields["name"], f"{where}.name", grammar.WORD)
    return (kind, name), entries.words(fields.get("groups"), f"{where}.groups", grammar.WORD)


def _parents(group: Group, names: Iterable[str], where: str) -> frozenset[str]:
    found = frozenset(names)
    if group[1] in found:
        raise InputError(where, f"{shown(group)} is in itself")
    if len(found) > MAX_PARENTS:
        raise InputError(where, f"{shown(group)} is in {len(found)} groups, at most {MAX_PARENTS}")
    return found


def _climb(group: Group, direct: Mapping[Group, frozenset[str]], where: str) -> frozenset[str]:
    """All that a group is in, step by step; (2), (3)."""
    kind, start = group
    found: set[str] = set()
    level, steps = direct[group], 0
    while level:
        steps += 1
        if start in level:
            raise InputError(where, f"a cycle: {shown(group)} is in itself through {_way(group, direct)}")
        if steps > MAX_DEPTH:
            raise InputError(where, f"{shown(group)} is more than {MAX_DEPTH} groups deep")
        found |= level
        level = frozenset(up for name in level for up in direct.get((kind, name), ())) - found
    return frozenset(found)


def _way(group: Group, direct: Mapping[Group, frozenset[str]]) -> str:
    """The groups of a shortest cycle, as an error names them."""
    kind, start = group
    ways: list[tuple[str, ...]] = [(name,) for name in sorted(direct[group])]
    seen: set[str] = set()
    for way in ways:
        if way[-1] == start:
            return ", ".join(f"`{name}`" for name in way[:-1])
        if way[-1] not in seen:
            seen.add(way[-1])
            ways += [(*way, up) for up in sorted(direct.get((kind, way[-1]), ()))]
    raise RuntimeError("there is no cycle")
