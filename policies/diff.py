"""What changes when one policy set replaces another: who gains and who loses what, each with a request that shows it.

Over every known node, action and resource, and every purpose, class and region that the node can claim. Protocol, method
and path are taken as free of each other and of the action: a change may be shown on a request that no client sends, but
none is missed. A pair that is too large to decide counts as a gain: whoever asks for no widening gets none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies import simplify, space
from policies.compile import compile_egress
from policies.evaluate import Evaluator
from policies.mesh import Mesh
from policies.model import Decision, Effect, Expr, Principal, Request, ResourceKey, Rule
from policies.satisfy import UndecidedError, Value, Variable, witness
from policies.syntax import Policy

GAINS, LOSES, UNDECIDED = "gains", "loses", "may gain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`nodes` gain or lose `actions` on `resources`, at least where the first of each asks `example`."""

    what: str
    nodes: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[ResourceKey, ...]
    example: Request
    before: Decision
    after: Decision

    @property
    def widens(self) -> bool:
        return self.what != LOSES


def diff(old: Sequence[Policy], new: Sequence[Policy], mesh: Mesh) -> list[Change]:
    """All changes, what is gained first."""
    changes = [change for kind in mesh.alike([*old, *new]) for change in _Caller(*kind, mesh).diff(old, new)]
    return sorted(changes, key=lambda change: (change.what, change.nodes, change.resources, change.actions))


_Place = tuple[str, ResourceKey]
_Sides = tuple[frozenset[tuple[Effect, Expr]], frozenset[tuple[Effect, Expr]]]


class _Caller:
    """Nodes of one kind, all that is asked in the name of the first."""

    def __init__(self, caller: Principal, names: tuple[str, ...], mesh: Mesh) -> None:
        self._caller, self._names = caller, names
        self._remote = [facts for facts in mesh.resources if facts.key.node != caller.node]
        self._places = list(mesh.pairs(caller))

    def diff(self, old: Sequence[Policy], new: Sequence[Policy]) -> Iterator[Change]:
        if not self._caller.purposes:
            return  # it can claim no purpose, so nothing that it asks is allowed
        before, after = (compile_egress(policies, self._caller, self._remote) for policies in (old, new))
        rules, engines = (space.split(before), space.split(after)), (Evaluator(before), Evaluator(after))
        alike: dict[_Sides, list[_Place]] = {}
        for action, facts in self._places:
            place = (action, facts.key)
            sides = (_says(rules[0].get(place, ())), _says(rules[1].get(place, ())))
            if sides[0] != sides[1]:
                alike.setdefault(sides, []).append(place)
        for places in alike.values():
            is_so, was_so = (space.allowed(side.get(places[0], ())) for side in reversed(rules))
            for what, values in self._changes(was_so, is_so):
                for actions, resources in _blocks(places):
                    example = space.request(self._caller, actions[0], resources[0], values)
                    was, now = (engine.decide(example) for engine in engines)
                    shows = now.allowed is (what == GAINS) and was.allowed is not now.allowed
                    yield Change(
                        what=what if shows or what == LOSES else UNDECIDED,
                        nodes=self._names,
                        actions=actions,
                        resources=resources,
                        example=example,
                        before=was,
                        after=now,
                    )

    def _changes(self, was_so: Expr, is_so: Expr) -> Iterator[tuple[str, dict[Variable, Value]]]:
        domains = space.claims(self._caller)
        for what, more, less in ((GAINS, is_so, was_so), (LOSES, was_so, is_so)):
            try:
                values = witness(simplify.both(more, simplify.negate(less)), domains)
            except UndecidedError:
                values = {}
            if values is not None:
                yield what, values


def _says(rules: tuple[Rule, ...]) -> frozenset[tuple[Effect, Expr]]:
    """What rules come to, whatever they are called."""
    return frozenset((rule.effect, rule.when) for rule in rules)


def _blocks(places: list[_Place]) -> Iterator[tuple[tuple[str, ...], tuple[ResourceKey, ...]]]:
    """Places as few pairs (actions, resources)."""
    by_resource: dict[ResourceKey, list[str]] = {}
    for action, resource in places:
        by_resource.setdefault(resource, []).append(action)
    by_actions: dict[tuple[str, ...], list[ResourceKey]] = {}
    for resource, actions in by_resource.items():
        by_actions.setdefault(tuple(sorted(actions)), []).append(resource)
    for together, resources in by_actions.items():
        yield together, tuple(sorted(resources))
