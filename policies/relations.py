"""Equality, order, membership and containment between folded operands: each exact, or `Refused`."""

import operator
from collections.abc import Callable

from policies import simplify
from policies.model import (
    ACTION_GROUPS,
    DIGIT_FIELDS,
    SET_FIELDS,
    Bool,
    Expr,
    Field,
    Has,
    Principal,
    PrincipalIn,
)
from policies.operands import (
    BOOLEAN,
    Ent,
    It,
    Known,
    Many,
    Number,
    Ref,
    Refused,
    ResourceFacts,
    Value,
    Word,
)
from policies.simplify import FALSE, TRUE

ORDER: dict[str, Callable[[int, int], bool]] = {
    "less": operator.lt,
    "less_eq": operator.le,
    "greater": operator.gt,
    "greater_eq": operator.ge,
}
_CLAIMED = {
    Field.PRINCIPAL_PURPOSES: Field.PURPOSE,
    Field.PRINCIPAL_REGIONS: Field.SUBJECT_REGION,
}


def equal(left: Value, right: Value, known: Known) -> Expr:  # one arm per pair of types
    """`==`. Values of different types are not equal."""
    match left, right:
        case (Word(), Word()) | (Number(), Number()) | (Ent(), Ent()):
            return Bool(left == right)
        case (Ref(field), Word(value)) | (Word(value), Ref(field)) if field not in DIGIT_FIELDS | SET_FIELDS:
            return simplify.word(field, (value,))
        case (Ref(field), Number()) | (Number(), Ref(field)) if field in DIGIT_FIELDS:
            return compare(operator.eq, left, right, "==")
        case Ref(field), Ref(other):
            return _equal_fields(field, other)
        case (It(), It() | Ent()) | (Ent(), It()):
            return _same_entity(left, right, known)
        case (Many(), _) | (_, Many()):
            raise Refused(
                "comparing whole sets is not supported", "==", "use contains, containsAll, containsAny"
            )
        case _:
            if isinstance(left, BOOLEAN) and isinstance(right, BOOLEAN):
                return _iff(left, right)
            return FALSE


def _equal_fields(field: Field, other: Field) -> Expr:
    if field in DIGIT_FIELDS and other in DIGIT_FIELDS:
        return compare(operator.eq, Ref(field), Ref(other), "==")
    if field in SET_FIELDS or other in SET_FIELDS:
        raise Refused("comparing whole sets is not supported", "==", "use contains")
    if field is other:
        return Has(field) if field is Field.SUBJECT_REGION else TRUE
    if field in DIGIT_FIELDS or other in DIGIT_FIELDS:
        return FALSE
    raise Refused(
        f"`{field.value} == {other.value}`: both strings are only known when a request comes",
        "==",
        "compare each with a literal",
    )


def _iff(left: Expr, right: Expr) -> Expr:
    return simplify.either(
        simplify.both(left, right), simplify.both(simplify.negate(left), simplify.negate(right))
    )


def compare(order: Callable[[int, int], bool], left: Value, right: Value, token: str) -> Expr:
    match left, right:
        case Number(a), Number(b):
            return Bool(order(a, b))
        case Ref(field), Number(b) if field in DIGIT_FIELDS:
            return simplify.digit(field, (d for d in simplify.DIGITS if order(d, b)))
        case Number(a), Ref(field) if field in DIGIT_FIELDS:
            return simplify.digit(field, (d for d in simplify.DIGITS if order(a, d)))
        case Ref(field), Ref(other) if field in DIGIT_FIELDS and other in DIGIT_FIELDS:
            if field is other:
                return Bool(order(0, 0))
            return simplify.either(
                *(
                    simplify.both(
                        simplify.digit(field, (d,)),
                        simplify.digit(other, (e for e in simplify.DIGITS if order(d, e))),
                    )
                    for d in sorted(simplify.DIGITS)
                )
            )
        case _:
            raise Refused(f"`{token}` is supported between numbers alone", token)


def _same_entity(left: Value, right: Value, known: Known) -> Expr:
    if isinstance(left, Ent):
        left, right = right, left
    match left, right:
        case It(name), It(other):
            return Bool(name == other)
        case It("principal"), Ent("Node", id_):
            return _principal_in("Node", id_, known.principal)
        case It("resource"), Ent(kind, id_):
            key = known.resource.key
            return Bool((kind, id_) == (key.kind, key.uid))
        case It("action"), Ent(kind, id_):
            return Bool((kind, id_) == ("Action", known.action))
        case _:
            return FALSE


def within(left: Value, right: Value, known: Known) -> Expr:
    """`in`: the same entity, or below it, or below one of a set."""
    match left, right:
        case _, Many(items):
            return simplify.either(*(within(left, item, known) for item in items))
        case It("principal"), Ent(kind, id_):
            return _principal_in(kind, id_, known.principal)
        case It("resource"), Ent(kind, id_):
            return _resource_in(kind, id_, known.resource)
        case It("resource"), It("principal"):
            return _principal_in("Node", known.resource.key.node, known.principal)
        case It("action"), Ent(kind, id_):
            below = kind == "Action" and known.action in (id_, *ACTION_GROUPS.get(id_, ()))
            return Bool(below)
        case It(name), It(other):
            return Bool(name == other)
        case Ent(), _:
            raise Refused("`in` needs principal, action or resource on its left", "in")
        case _:
            raise Refused("`in` needs entities", "in")


def _principal_in(kind: str, id_: str, principal: Principal | None) -> Expr:
    asked = simplify.principal_in(kind, id_)
    if principal is None or not isinstance(asked, PrincipalIn):
        return asked
    ids = {
        "Node": {principal.node},
        "Site": {principal.site},
        "Jurisdiction": {principal.jurisdiction},
        "Group": principal.groups,
    }
    return Bool(id_ in ids[kind])


def _resource_in(kind: str, id_: str, facts: ResourceFacts) -> Expr:
    if kind == "Group":
        raise Refused(
            "the groups of a resource's node are not known",
            "Group",
            f"use `{facts.key.kind}Group`, Site or Node",
        )
    ids = {
        facts.key.kind: {facts.key.uid},
        f"{facts.key.kind}Group": facts.groups,
        "Node": {facts.key.node},
        "Site": {facts.site},
        "Jurisdiction": {facts.jurisdiction},
    }
    return Bool(id_ in ids.get(kind, ()))


def contains(left: Value, right: Value, known: Known) -> Expr:
    match left, right:
        case Many(items), _:
            return simplify.either(*(equal(item, right, known) for item in items))
        case Ref(field), Word(value) if field in SET_FIELDS:
            return simplify.holds(field, value)
        case Ref(field), Ref(claim) if _CLAIMED.get(field) is claim:
            # A claim outside the certificate's own set never gets here (invariant 4); a region may be absent.
            return Has(claim) if claim is Field.SUBJECT_REGION else TRUE
        case Ref(), Ref():
            raise Refused(
                "`contains`: set and element are both only known when a request comes",
                "contains",
                "only a claim in its own set (purposes, regions) can be asked for",
            )
        case _:
            raise Refused("`contains` needs a set and an element of its type", "contains")
