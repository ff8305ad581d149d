"""Decide a request against rules, in Python: for explaining, and for deciding again whether an open stream may go on.

No clock, no I/O. Forbid wins, no permit is deny, order never matters. Who the caller is was checked before
(`certs.verify`), and that its claims are within its certificate (`requests.accept_claims`).
"""

from collections import defaultdict
from collections.abc import Iterable

from policies import fold
from policies.model import (
    And,
    Bool,
    Code,
    Decision,
    Digit,
    Effect,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Like,
    Not,
    Or,
    PolicyId,
    PrincipalIn,
    Request,
    ResourceKey,
    Rule,
    Rules,
)


class Evaluator:
    """Rules indexed by what every rule is exact about: action and resource."""

    def __init__(self, rules: Rules) -> None:
        self._resources = rules.resources
        index: defaultdict[tuple[str, ResourceKey], list[Rule]] = defaultdict(list)
        for rule in rules.rules:
            for resource in rule.resources:
                for action in rule.actions:
                    index[action, resource].append(rule)
        self._index = dict(index)

    def decide(self, request: Request) -> Decision:
        """Allow or deny, with the policies that caused it, sorted."""
        if request.resource is None or request.resource not in self._resources:
            return Decision(code=Code.UNKNOWN_RESOURCE, because=())
        matched = [rule for rule in self.candidates(request) if holds(rule.when, request)]
        if forbids := _ids(matched, Effect.FORBID):
            return Decision(code=Code.FORBIDDEN, because=forbids)
        permits = _ids(matched, Effect.PERMIT)
        return Decision(code=None if permits else Code.NO_PERMIT, because=permits)

    def candidates(self, request: Request) -> list[Rule]:
        """Rules about this action on this resource, whether or not their condition holds."""
        if request.resource is None:
            return []
        return self._index.get((request.action, request.resource), [])


def _ids(rules: Iterable[Rule], effect: Effect) -> tuple[PolicyId, ...]:
    return tuple(sorted({rule.id for rule in rules if rule.effect is effect}))


def holds(when: Expr, request: Request) -> bool:
    """The truth of a condition; an absent field satisfies no test."""
    match when:
        case Bool(value):
            return value
        case And(items):
            return all(holds(item, request) for item in items)
        case Or(items):
            return any(holds(item, request) for item in items)
        case Not(item):
            return not holds(item, request)
        case Is(field, values) | Digit(field, values):
            return field_of(request, field) in values
        case Holds(field, value):
            found = field_of(request, field)
            return isinstance(found, frozenset) and value in found
        case Like(field, parts):
            text = field_of(request, field)
            return isinstance(text, str) and fold.matches(text, parts)
        case Has(field):
            return field_of(request, field) is not None
        case PrincipalIn(kind, name):
            return fold.holds_in(request.principal, kind, name)
    raise RuntimeError(f"no rule for `{type(when).__name__}`")


def field_of(request: Request, field: Field) -> bool | int | str | frozenset[str] | None:
    """The value of a field in a request; None when it is absent."""
    owner, name = field.value.split(".")
    return getattr(request.principal if owner == "principal" else request, name)  # type: ignore[no-any-return]
