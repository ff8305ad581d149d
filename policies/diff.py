"""What changes when one policy set replaces another: who gains and who loses what, each with a request that shows it.

Over every known node, action and resource, and every purpose, class and region that the node can claim. Protocol, method
and path are taken as free of each other and of the action: a change may be shown on a request that no client sends, but
none is missed. A pair that is too large to decide counts as a gain: whoever asks for no widening gets none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from policies import simplify, space
from policies.compile import compile_ingress
from policies.evaluate import Evaluator
from policies.mesh import Mesh
from policies.model import Decision, Effect, Expr, Principal, Request, ResourceKey, Rules
from policies.satisfy import UndecidedError, Value, Variable, witness
from policies.space import Place
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
    sides = (_Side(compile_ingress(old, mesh.resources)), _Side(compile_ingress(new, mesh.resources)))
    changes = [
        change
        for caller, names in mesh.alike([*old, *new])
        if caller.purposes  # else it can claim none, so nothing that it asks is allowed
        for change in _changes(caller, names, list(mesh.places(caller)), sides)
    ]
    return sorted(changes, key=lambda change: (change.what, change.nodes, change.resources, change.actions))


_Says = frozenset[tuple[Effect, Expr]]


class _Side:
    """One policy set, compiled once for all callers: what the callees enforce is never wider than what callers do."""

    def __init__(self, rules: Rules) -> None:
        self.engine = Evaluator(rules)
        self._rules = space.split(rules)

    def of(self, caller: Principal) -> Callable[[Place], _Says]:
        """What the rules of a place come to for one caller, whatever they are called."""
        known: dict[Expr, Expr] = {}

        def says(place: Place) -> _Says:
            found = set()
            for rule in self._rules.get(place, ()):
                if rule.when not in known:
                    known[rule.when] = space.of(rule.when, caller)
                if known[rule.when] != simplify.FALSE:
                    found.add((rule.effect, known[rule.when]))
            return frozenset(found)

        return says


def _changes(
    caller: Principal, names: tuple[str, ...], places: Sequence[Place], sides: tuple[_Side, _Side]
) -> Iterator[Change]:
    """Places that are ruled alike before and alike after are looked at once."""
    before, after = (side.of(caller) for side in sides)
    alike: dict[tuple[_Says, _Says], list[Place]] = {}
    for place in places:
        says = (before(place), after(place))
        if says[0] != says[1]:
            alike.setdefault(says, []).append(place)
    for (was, now), ruled in alike.items():
        for what, values in _witnesses(caller, space.allowed(was), space.allowed(now)):
            for actions, resources in _blocks(ruled):
                example = space.request(caller, actions[0], resources[0], values)
                yield _change(what, names, actions, resources, example, sides)


def _change(
    what: str,
    names: tuple[str, ...],
    actions: tuple[str, ...],
    resources: tuple[ResourceKey, ...],
    example: Request,
    sides: tuple[_Side, _Side],
) -> Change:
    was, now = (side.engine.decide(example) for side in sides)
    shown = (was.allowed, now.allowed) == (what == LOSES, what == GAINS)
    return Change(
        what=what if shown or what == LOSES else UNDECIDED,
        nodes=names,
        actions=actions,
        resources=resources,
        example=example,
        before=was,
        after=now,
    )


def _witnesses(caller: Principal, was_so: Expr, is_so: Expr) -> Iterator[tuple[str, dict[Variable, Value]]]:
    for what, more, less in ((GAINS, is_so, was_so), (LOSES, was_so, is_so)):
        try:
            values = witness(simplify.both(more, simplify.negate(less)), space.claims(caller))
        except UndecidedError:
            values = {}
        if values is not None:
            yield what, values


def _blocks(places: list[Place]) -> Iterator[tuple[tuple[str, ...], tuple[ResourceKey, ...]]]:
    """Places as few pairs (actions, resources)."""
    by_resource: dict[ResourceKey, list[str]] = {}
    for action, resource in places:
        by_resource.setdefault(resource, []).append(action)
    by_actions: dict[tuple[str, ...], list[ResourceKey]] = {}
    for resource, actions in by_resource.items():
        by_actions.setdefault(tuple(sorted(actions)), []).append(resource)
    for together, resources in by_actions.items():
        yield together, tuple(sorted(resources))
