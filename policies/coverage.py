"""What a policy comes to whatever is declared: a request that it matches, and whether another policy covers it.

Answers hold for every node and resource there could be; where there are too many kinds of them, there is no answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from policies import resources, simplify, space
from policies.compile import compile_ingress
from policies.evaluate import Evaluator
from policies.model import (
    CLASS_MAX,
    Effect,
    Expr,
    Field,
    Holds,
    PolicyId,
    Principal,
    PrincipalIn,
    Request,
)
from policies.operands import Known, ResourceFacts
from policies.satisfy import Value, Variable, consistent, witness
from policies.specialise import condition
from policies.syntax import Node, Policy

_SITE, _COUNTRY = "other-site", "ZZ"


@dataclass(frozen=True, slots=True)
class Match:
    """A request that a policy matches, and the resource that it asks."""

    request: Request
    facts: ResourceFacts


def example(policy: Policy) -> Match | None:
    """None: no request that there could be matches. Raises UndecidedError."""
    tried: set[Expr] = set()
    for facts in resources.examples([policy]):
        for action, when in _conditions(policy, facts).items():
            if when in tried:
                continue
            tried.add(when)
            values = witness(simplify.both(when, consistent(when)))
            if values is not None:
                return Match(_request(action, facts, values), facts)
    return None


def covers(other: Policy, policy: Policy) -> bool:
    """Whether `other` matches all that `policy` does. Raises UndecidedError."""
    if not policy.actions <= other.actions:
        return False
    tried: set[Expr] = set()
    for facts in resources.examples([policy, other]):
        theirs = _conditions(other, facts)
        for action, when in _conditions(policy, facts).items():
            rest = simplify.both(when, simplify.negate(theirs.get(action, simplify.FALSE)))
            if rest in tried:
                continue
            tried.add(rest)
            if witness(simplify.both(rest, consistent(rest))) is not None:
                return False
    return True


class Matching:
    """Which of many policies match a request. Each resource is compiled for once, by the policies that name it at all."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._by_scope: dict[Node | None, list[Policy]] = {}
        for policy in policies:
            # As permits: then all that match are named, and not only those that decide.
            self._by_scope.setdefault(policy.resource, []).append(replace(policy, effect=Effect.PERMIT))
        self._engines: dict[ResourceFacts, Evaluator] = {}

    def at(self, match: Match) -> frozenset[PolicyId]:
        if match.facts not in self._engines:
            concerned = [
                policy
                for scope, policies in self._by_scope.items()
                if _in_scope(scope, match.facts)
                for policy in policies
            ]
            self._engines[match.facts] = Evaluator(compile_ingress(concerned, [match.facts]))
        return frozenset(self._engines[match.facts].decide(match.request).because)


def _in_scope(scope: Node | None, facts: ResourceFacts) -> bool:
    known = Known(resource=facts, action="chat", principal=None)
    return scope is None or condition(scope, known) != simplify.FALSE


def _conditions(policy: Policy, facts: ResourceFacts) -> dict[str, Expr]:
    """When the policy matches, per action."""
    rules = compile_ingress([policy], [facts]).rules
    return {action: rule.when for rule in rules for action in rule.actions}


def _request(action: str, facts: ResourceFacts, values: Mapping[Variable, Value]) -> Request:
    """The request with these values, its caller included."""
    true = [variable for variable, value in values.items() if value is True]

    def held(field: Field) -> frozenset[str]:
        return frozenset(leaf.value for leaf in true if isinstance(leaf, Holds) and leaf.field is field)

    inside = {(leaf.kind, leaf.id) for leaf in true if isinstance(leaf, PrincipalIn)}
    site = str(values.get(Field.PRINCIPAL_SITE, _SITE))
    purpose, region = values.get(Field.PURPOSE), values.get(Field.SUBJECT_REGION)
    caller = Principal(
        node=next((id_ for kind, id_ in inside if kind == "Node"), f"other-node.{site}"),
        site=site,
        jurisdiction=str(values.get(Field.PRINCIPAL_JURISDICTION, _COUNTRY)),
        tier=int(values.get(Field.PRINCIPAL_TIER) or 0),
        groups=frozenset(id_ for kind, id_ in inside if kind == "Group"),
        purposes=held(Field.PRINCIPAL_PURPOSES) | {str(purpose or "other")},
        regions=held(Field.PRINCIPAL_REGIONS) | ({str(region)} if region else set()),
        class_floor=0,
        class_ceiling=int(values.get(Field.PRINCIPAL_CLASS_CEILING, CLASS_MAX) or 0),
    )
    return space.request(caller, action, facts.key, values)
