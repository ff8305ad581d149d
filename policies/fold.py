"""Symbolic evaluation of Cedar expressions: known parts become constants, unknown ones the tests of `model`.

A value is a Python constant, an `Entity`, a frozenset of constants, a `Field` (known when a request comes), or an
`Expr` (a truth known then). Every rule here is an equivalence over all requests whose claims were accepted; where none
exists the construct is refused.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.errors import NotEnforceableError
from policies.model import (
    ACTION_GROUPS,
    CLASS_MAX,
    DIGIT_FIELDS,
    SET_FIELDS,
    And,
    Bool,
    Digit,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Like,
    Not,
    Or,
    Principal,
    PrincipalIn,
)
from policies.syntax import Attr, Entity, HasAttr, If, IsType, LikePattern, Lit, Negate, Node, Op, SetOf, Var

if TYPE_CHECKING:
    from policies.compile import ResourceFacts

Constant = bool | int | str | Entity
Value = Constant | frozenset[Constant] | Field | Expr
ME = Entity(
    "principal", ""
)  # the principal while unknown: stands for itself, equal to nothing written in a policy
CONTEXT = Entity("context", "")
DIGITS = range(CLASS_MAX + 1)
HIERARCHY = {"Node", "Site", "Jurisdiction", "Group"}
EXPRESSIONS = (Bool, Is, Digit, Holds, Like, Has, PrincipalIn, Not, And, Or)
FIELDS = {field.value: field for field in Field}
GUARANTEED = {(Field.PRINCIPAL_PURPOSES, Field.PURPOSE), (Field.PRINCIPAL_REGIONS, Field.SUBJECT_REGION)}
"""A claim outside its certificate's set was refused before any policy is asked (invariant 4)."""
COMPARE = {
    "less": lambda a, b: a < b,
    "less_eq": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_eq": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
}
SYMBOL = {
    "less": "<",
    "less_eq": "<=",
    "greater": ">",
    "greater_eq": ">=",
    "eq": "==",
    "contains_all": "containsAll",
}


# --- truth -------------------------------------------------------------------------------------------------------


def both(left: Expr, right: Expr) -> Expr:
    """Conjunction with constants folded and nesting flattened."""
    if isinstance(left, Bool):
        return right if left.value else left
    if isinstance(right, Bool):
        return left if right.value else right
    items = (
        *(left.items if isinstance(left, And) else (left,)),
        *(right.items if isinstance(right, And) else (right,)),
    )
    return And(tuple(dict.fromkeys(items))) if len(set(items)) > 1 else left


def either(left: Expr, right: Expr) -> Expr:
    """Disjunction with constants folded and nesting flattened."""
    if isinstance(left, Bool):
        return left if left.value else right
    if isinstance(right, Bool):
        return right if right.value else left
    items = (
        *(left.items if isinstance(left, Or) else (left,)),
        *(right.items if isinstance(right, Or) else (right,)),
    )
    return Or(tuple(dict.fromkeys(items))) if len(set(items)) > 1 else left


def negated(item: Expr) -> Expr:
    if isinstance(item, Bool):
        return Bool(not item.value)
    return item.item if isinstance(item, Not) else Not(item)


def any_of(items: list[Expr]) -> Expr:
    result: Expr = Bool(value=False)
    for item in items:
        result = either(result, item)
    return result


# --- folding -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What is known: the resource, perhaps the action, at egress the principal."""

    action: str | None
    facts: "ResourceFacts"
    principal: Principal | None

    def truth(self, node: Node) -> Expr:
        """The condition under which `node` is true."""
        return as_truth(self.value(node))

    def value(self, node: Node) -> Value:
        match node:
            case Lit(value):
                return value
            case SetOf(items):
                return _set_of([self.value(item) for item in items])
            case Var(name):
                return self._variable(name)
            case Attr(base, name):
                return self._attribute(base, name)
            case HasAttr(base, name):
                return self._has(base, name)
            case Negate(item):
                return negated(self.truth(item))
            case If(condition, yes, no):
                return self._if(condition, yes, no)
            case LikePattern(base, parts):
                return _like(self.value(base), parts)
            case IsType(base, kind, within):
                return self._is(base, kind, within)
            case Op("and", left, right):
                first = self.truth(left)
                return first if first == Bool(value=False) else both(first, self.truth(right))
            case Op("or", left, right):
                first = self.truth(left)
                return first if first == Bool(value=True) else either(first, self.truth(right))
            case Op(name, left, right):
                return self._operate(name, self.value(left), self.value(right))
        raise RuntimeError(f"no rule for `{type(node).__name__}`")

    def _variable(self, name: str) -> Value:
        if name == "principal":
            return ME if self.principal is None else Entity("Node", self.principal.node)
        if name == "resource":
            return Entity(self.facts.key.kind, self.facts.key.uid)
        if name == "action":
            if self.action is None:
                raise RuntimeError("the action must be known where a policy mentions it")
            return Entity("Action", self.action)
        return CONTEXT

    def _attribute(self, base: Node, name: str) -> Value:
        match base:
            case Var("principal") if self.principal is None:
                return FIELDS[f"principal.{name}"]
            case Var("principal"):
                return getattr(self.principal, name)  # type: ignore[no-any-return]  # the schema's names are ours
            case Var("resource"):
                return self._fact(name)
            case Var("context") if f"context.{name}" in FIELDS:
                return FIELDS[f"context.{name}"]
        raise NotEnforceableError(f".{name}", "it is not among what a sidecar can read of a request")

    def _fact(self, name: str) -> Value:
        facts = self.facts
        known: dict[str, Value] = {
            "name": facts.key.name,
            "owner": facts.owner,
            "max_class": facts.max_class,
            "site": facts.site,
            "jurisdiction": facts.jurisdiction,
        }
        return known[name]

    def _has(self, base: Node, name: str) -> Expr:
        match base:
            case Var("context") if f"context.{name}" == Field.SUBJECT_REGION.value:
                return Has(Field.SUBJECT_REGION)
            case Var("context"):
                return Bool(f"context.{name}" in FIELDS or name in {"now", "source_ip"})
            case Var("principal"):
                return Bool(f"principal.{name}" in FIELDS)
            case Var("resource"):
                return Bool(name in {"name", "owner", "max_class", "site", "jurisdiction"})
        raise NotEnforceableError(f"has {name}", "only principal, resource and context have attributes")

    def _if(self, condition: Node, yes: Node, no: Node) -> Value:
        test = self.truth(condition)
        if isinstance(test, Bool):
            return self.value(yes if test.value else no)
        first, second = self.value(yes), self.value(no)
        if not (is_truth(first) and is_truth(second)):
            raise NotEnforceableError(
                "if", "its branches must be true or false; write `cond && a || !cond && b`"
            )
        return either(both(test, as_truth(first)), both(negated(test), as_truth(second)))

    def _is(self, base: Node, kind: str, within: Node | None) -> Expr:
        value = self.value(base)
        if not isinstance(value, Entity):
            raise NotEnforceableError(f"is {kind}", "only an entity has a type")
        right_kind = Bool(("Node" if value is ME else value.type) == kind)
        return right_kind if within is None else both(right_kind, self._in(value, self.value(within)))

    def _operate(self, name: str, left: Value, right: Value) -> Value:
        if name == "in":
            return self._in(left, right)
        if name in {"eq", "not_eq"}:
            same = equal(left, right)
            return same if name == "eq" else negated(same)
        if name in COMPARE:
            return compare(name, left, right)
        return _SETS[name](left, right)

    def _in(self, left: Value, right: Value) -> Expr:
        if isinstance(right, frozenset):
            return any_of([self._in(left, item) for item in sorted(right, key=repr)])
        if not isinstance(left, Entity) or not isinstance(right, Entity):
            raise NotEnforceableError("in", "both sides must be entities that are known by name")
        if left.type == "Action":
            return Bool(
                left == right or (right.type == "Action" and left.id in ACTION_GROUPS.get(right.id, ()))
            )
        if left == ME or (self.principal is not None and left == Entity("Node", self.principal.node)):
            return self._principal_in(right)
        if left == Entity(self.facts.key.kind, self.facts.key.uid):
            return self._resource_in(right)
        if left == right:
            return Bool(value=True)
        raise NotEnforceableError("in", f"what `{left.type}` entities are in is not known to a sidecar")

    def _principal_in(self, other: Entity) -> Expr:
        if other == ME:
            return Bool(value=True)
        if other.type not in HIERARCHY:
            return Bool(value=False)
        me = self.principal
        if me is None:
            return PrincipalIn(other.type, other.id)
        return Bool(holds_in(me, other.type, other.id))

    def _resource_in(self, other: Entity) -> Expr:
        facts = self.facts
        if other == ME:
            return PrincipalIn("Node", facts.key.node)
        if other.type == f"{facts.key.kind}Group":
            return Bool(other.id in facts.groups)
        places = {
            Entity(facts.key.kind, facts.key.uid),
            Entity("Node", facts.key.node),
            Entity("Site", facts.site),
            Entity("Jurisdiction", facts.jurisdiction),
        }
        if other.type == "Group":
            raise NotEnforceableError(
                "in", "the groups of the node that serves a resource are not told to its peers"
            )
        return Bool(other in places)


def holds_in(principal: Principal, kind: str, name: str) -> bool:
    """Is a known principal in Node, Site, Jurisdiction or Group `name`?"""
    values = {"Node": {principal.node}, "Site": {principal.site}, "Jurisdiction": {principal.jurisdiction}}
    return name in values.get(kind, principal.groups)


# --- operators ---------------------------------------------------------------------------------------------------


def is_truth(value: Value) -> bool:
    return isinstance(value, (bool, *EXPRESSIONS)) or value is Field.STREAM


def as_truth(value: Value) -> Expr:
    if isinstance(value, bool):
        return Bool(value)
    if value is Field.STREAM:
        return Is(Field.STREAM, frozenset({True}))
    if isinstance(value, EXPRESSIONS):
        return value
    raise RuntimeError("the validator lets only truths stand here")


def _set_of(items: list[Value]) -> frozenset[Constant]:
    constants: list[Constant] = []
    for item in items:
        if isinstance(item, (frozenset, Field, *EXPRESSIONS)):
            raise NotEnforceableError(
                "[…]", "a set's elements must be known before a request; write `a == x || a == y`"
            )
        constants.append(item)
    return frozenset(constants)


def equal(left: Value, right: Value) -> Expr:
    if isinstance(left, Field) and isinstance(right, Field):
        return _same_field(left, right)
    if isinstance(right, Field):
        left, right = right, left
    if isinstance(left, Field):
        return _is_one_of(
            left, frozenset({right}) if not isinstance(right, (frozenset, *EXPRESSIONS)) else None
        )
    if isinstance(left, EXPRESSIONS) or isinstance(right, EXPRESSIONS):
        yes, no = as_truth(left), as_truth(right)
        return either(both(yes, no), both(negated(yes), negated(no)))
    if ME in (left, right):
        other = right if left == ME else left
        if isinstance(other, Entity) and other.type == "Node":
            return PrincipalIn("Node", other.id)
        return Bool(left == right)
    return Bool(type(left) is type(right) and left == right)


def _same_field(left: Field, right: Field) -> Expr:
    if left is right and left is not Field.SUBJECT_REGION:
        return Bool(value=True)
    if {left, right} <= DIGIT_FIELDS:
        return compare("eq", left, right)
    raise NotEnforceableError(
        "==", f"`{left.value}` and `{right.value}` are both known only when a request comes"
    )


def _is_one_of(field: Field, values: frozenset[Constant] | None) -> Expr:
    if values is None or field in SET_FIELDS:
        raise NotEnforceableError(
            "==", f"`{field.value}` can be compared with constants only; for sets use contains"
        )
    if field in DIGIT_FIELDS:
        return _digit(field, {v for v in values if isinstance(v, int) and not isinstance(v, bool)})
    if field is Field.STREAM:
        flags = frozenset(v for v in values if isinstance(v, bool))
        return Is(field, flags) if len(flags) == 1 else Bool(bool(flags))
    words = frozenset(v for v in values if isinstance(v, str))
    return Is(field, words) if words else Bool(value=False)


def _digit(field: Field, values: set[int]) -> Expr:
    inside = frozenset(values) & frozenset(DIGITS)
    if not inside or len(inside) == len(DIGITS):
        return Bool(bool(inside))
    return Digit(field, inside)


def compare(name: str, left: Value, right: Value) -> Expr:
    """Orders of numbers; request-time numbers are digits, so an order is a set of digits."""
    test = COMPARE[name]
    if isinstance(left, Field) and isinstance(right, Field):
        cases = [both(_digit(left, {a}), _digit(right, {b for b in DIGITS if test(a, b)})) for a in DIGITS]
        return any_of(cases)
    if isinstance(left, Field) and isinstance(right, int):
        return _digit(left, {a for a in DIGITS if test(a, right)})
    if isinstance(left, int) and isinstance(right, Field):
        return _digit(right, {b for b in DIGITS if test(left, b)})
    return Bool(test(left, right))


def _like(value: Value, parts: tuple[str, ...]) -> Expr:
    if isinstance(value, Field):
        return _like_field(value, parts)
    return Bool(matches(str(value), parts))


def _like_field(field: Field, parts: tuple[str, ...]) -> Expr:
    if len(parts) == 1:
        return Is(field, frozenset(parts))
    if parts == ("", "") and field is not Field.SUBJECT_REGION:
        return Bool(value=True)
    principal = field in {Field.PRINCIPAL_SITE, Field.PRINCIPAL_JURISDICTION}
    simple = len(parts) == 2 or (len(parts) == 3 and not parts[0] and not parts[2])  # noqa: PLR2004 - one wildcard, or two around
    if not simple or (principal and (all(parts) or len(parts) > 2)):  # noqa: PLR2004
        raise NotEnforceableError(
            "like", "a pattern may be `a*`, `*b`, `a*b` or `*c*`; on site and jurisdiction `a*` or `*b`"
        )
    if parts == ("", ""):
        return Has(field)
    return Like(field, parts)


def matches(text: str, parts: tuple[str, ...]) -> bool:
    """Cedar's `like`: parts in order, the first at the start, the last at the end."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _contains(whole: Value, item: Value) -> Expr:
    if isinstance(whole, Field) and isinstance(item, Field):
        if (whole, item) in GUARANTEED:
            return Bool(value=True)
        raise NotEnforceableError(
            "contains", f"`{whole.value}` and `{item.value}` are both known only when a request comes"
        )
    if isinstance(whole, Field):
        return Holds(whole, item) if isinstance(item, str) else Bool(value=False)
    if not isinstance(whole, frozenset):
        raise RuntimeError("the validator lets only sets contain")
    if isinstance(item, Field):
        return _is_one_of(item, whole) if whole else Bool(value=False)
    return any_of([equal(item, one) for one in sorted(whole, key=repr)])


def _contains_all(whole: Value, part: Value) -> Expr:
    if isinstance(part, Field):
        raise NotEnforceableError("containsAll", "the set on the right must be known before a request")
    result: Expr = Bool(value=True)
    for item in sorted(part, key=repr):  # type: ignore[arg-type]  # the validator lets only sets stand here
        result = both(result, _contains(whole, item))
    return result


def _contains_any(left: Value, right: Value) -> Expr:
    if isinstance(left, Field) and isinstance(right, Field):
        raise NotEnforceableError("containsAny", "one of the sets must be known before a request")
    if isinstance(right, Field):
        left, right = right, left
    return any_of([_contains(left, item) for item in sorted(right, key=repr)])  # type: ignore[arg-type]


_SETS = {"contains": _contains, "contains_all": _contains_all, "contains_any": _contains_any}
