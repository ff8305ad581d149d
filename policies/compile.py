"""Policies to rules: everything known before a request is folded away, the rest becomes a small exact condition.

Known at the callee: the action and its own resource. Known at the caller: itself too. What remains are tests on the
peer's certificate and on the claims, in the closed vocabulary of `model`. Exact or refused (NotEnforceableError),
never approximated. Nothing here can error at decision time, because the validator has ruled out what could.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from policies import fold
from policies.model import (
    ACTION_GROUPS,
    ACTIONS,
    RESOURCE_KINDS,
    Bool,
    Effect,
    Expr,
    Principal,
    ResourceKey,
    Rule,
    Rules,
)
from policies.syntax import Attr, HasAttr, If, IsType, LikePattern, Negate, Node, Op, Policy, SetOf, Var

KINDS_OF: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        ("chat", "completion", "respond", "tensor", "media", "embed", "train"), frozenset({"Model"})
    ),
    **dict.fromkeys(("join", "fl-push", "fl-pull", "admin"), frozenset({"Service", "Model"})),
    **dict.fromkeys(("push", "pull"), frozenset({"Dataset", "Model"})),
    "tool": frozenset({"Tool"}),
    "message": frozenset({"Service"}),
    "discover": frozenset(RESOURCE_KINDS),
    "connect": frozenset({"Service"}),
}
"""Which kinds of resource an action applies to, as the schema says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFacts:
    """A declared resource with what the control plane knows of it."""

    key: ResourceKey
    groups: frozenset[str]
    owner: str
    max_class: int
    site: str
    jurisdiction: str


def compile_ingress(policies: Sequence[Policy], served: Sequence[ResourceFacts]) -> Rules:
    """What a callee enforces on its own resources; the principal is whoever comes."""
    return Rules(rules=_rules(policies, served, None), resources=frozenset(facts.key for facts in served))


def compile_egress(
    policies: Sequence[Policy], principal: Principal, remote: Sequence[ResourceFacts]
) -> Rules:
    """What `principal` enforces on itself as caller. Resources that no permit lets it reach are dropped."""
    rules = _rules(policies, remote, principal)
    reach = frozenset(key for rule in rules if rule.effect is Effect.PERMIT for key in rule.resources)
    kept = (
        Rule(
            id=r.id,
            effect=r.effect,
            actions=r.actions,
            resources=r.resources & reach,
            when=r.when,
            reason=r.reason,
        )
        for r in rules
        if r.resources & reach
    )
    return Rules(rules=tuple(kept), resources=reach)


def check(policy: Policy) -> None:
    """Raise NotEnforceableError if any request could need what cannot be enforced: nothing known but the kinds."""
    for kind in RESOURCE_KINDS:
        facts = ResourceFacts(
            key=ResourceKey(kind, "any", "any.any"),
            groups=frozenset(),
            owner="",
            max_class=0,
            site="any",
            jurisdiction="ZZ",
        )
        for action in sorted(actions_of(policy)):
            condition(policy, action, facts, None)


def _rules(
    policies: Iterable[Policy], resources: Sequence[ResourceFacts], principal: Principal | None
) -> tuple[Rule, ...]:
    return tuple(rule for policy in policies for rule in _specialise(policy, resources, principal))


def _specialise(
    policy: Policy, resources: Sequence[ResourceFacts], principal: Principal | None
) -> Iterator[Rule]:
    """One rule per distinct residue: actions with the same resources and condition share one."""
    by_action: dict[str, dict[Expr, set[ResourceKey]]] = {}
    shared = None if _mentions_action(policy) else _by_residue(policy, None, resources, principal)
    for action in sorted(actions_of(policy)):
        residues = _by_residue(policy, action, resources, principal) if shared is None else shared
        by_action[action] = residues
    merged: defaultdict[tuple[Expr, frozenset[ResourceKey]], set[str]] = defaultdict(set)
    for action, residues in by_action.items():
        for when, keys in residues.items():
            fitting = frozenset(key for key in keys if key.kind in KINDS_OF[action])
            if fitting:
                merged[when, fitting].add(action)
    for (when, keys), names in merged.items():
        yield Rule(
            id=policy.id,
            effect=policy.effect,
            actions=frozenset(names),
            resources=keys,
            when=when,
            reason=policy.reason,
        )


def _by_residue(
    policy: Policy, action: str | None, resources: Sequence[ResourceFacts], principal: Principal | None
) -> dict[Expr, set[ResourceKey]]:
    residues: defaultdict[Expr, set[ResourceKey]] = defaultdict(set)
    for facts in resources:
        when = condition(policy, action, facts, principal)
        if when != Bool(value=False):
            residues[when].add(facts.key)
    return residues


def condition(policy: Policy, action: str | None, facts: ResourceFacts, principal: Principal | None) -> Expr:
    """What is left of a policy's scope and clauses for one action on one resource."""
    folder = fold.Folder(action=action, facts=facts, principal=principal)
    result: Expr = Bool(value=True)
    for scope in (policy.resource, policy.principal):
        if scope is not None:
            result = fold.both(result, folder.truth(scope))
        if result == Bool(value=False):
            return result
    for clause in policy.clauses:
        holds = folder.truth(clause.body)
        result = fold.both(result, fold.negated(holds) if clause.negated else holds)
    return result


def actions_of(policy: Policy) -> frozenset[str]:
    """The actions a policy's scope names, groups spelled out."""
    if policy.actions is None:
        return ACTIONS
    if policy.action_is_exact:
        return frozenset(policy.actions) & ACTIONS
    return (
        frozenset(member for name in policy.actions for member in ACTION_GROUPS.get(name) or (name,))
        & ACTIONS
    )


def _mentions_action(policy: Policy) -> bool:
    return any(_mentions(clause.body) for clause in policy.clauses)


def _mentions(node: Node | None) -> bool:
    match node:
        case Var(name):
            return name == "action"
        case SetOf(items):
            return any(map(_mentions, items))
        case Attr(base, _) | HasAttr(base, _) | LikePattern(base, _) | Negate(base):
            return _mentions(base)
        case IsType(base, _, within):
            return _mentions(base) or _mentions(within)
        case Op(_, left, right):
            return _mentions(left) or _mentions(right)
        case If(condition_, yes, no):
            return any(map(_mentions, (condition_, yes, no)))
    return False
