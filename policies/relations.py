"""Equality, order, membership and containment between folded operands: each exact, or `Refused`."""

import operator
from collections.abc import Mapping

from policies import addresses, grammar, simplify
from policies.model import (
    ACTION_GROUPS,
    CARRIED,
    DIGIT_FIELDS,
    SET_FIELDS,
    Bool,
    Expr,
    Field,
    Has,
    Only,
    Principal,
    PrincipalIn,
    Same,
)
from policies.moving import Moving
from policies.operands import (
    BOOLEAN,
    AllArguments,
    Ent,
    Fixed,
    It,
    Known,
    Many,
    Number,
    Rec,
    Ref,
    Refused,
    ResourceFacts,
    Source,
    Told,
    Value,
    Word,
)
from policies.order import compare
from policies.simplify import FALSE, TRUE

_CLAIMED = {
    Field.PRINCIPAL_PURPOSES: Field.PURPOSE,
    Field.PRINCIPAL_REGIONS: Field.SUBJECT_REGION,
}


def equal(left: Value, right: Value, known: Known) -> Expr:  # one arm per pair of types
    """`==`. Values of different types are not equal."""
    match left, right:
        case (Word(), Word()) | (Number(), Number()) | (Ent(), Ent()) | (Fixed(), Fixed()):
            return Bool(left == right)
        case (Source(), other) | (other, Source()):
            return addresses.equal(other)
        case ((Told() | AllArguments()) as one, other) | (other, (Told() | AllArguments()) as one):
            return _equal_argument(one, other)
        case (Moving(), _) | (_, Moving()):
            return compare(operator.eq, left, right, "==")
        case Rec(mine), Rec(theirs):
            return _equal_records(dict(mine), dict(theirs), known)
        case (Ref(field), Word(value)) | (Word(value), Ref(field)) if field not in DIGIT_FIELDS | SET_FIELDS:
            return simplify.word(field, (value,))
        case (Ref(field), Number()) | (Number(), Ref(field)) if field in DIGIT_FIELDS:
            return compare(operator.eq, left, right, "==")
        case Ref(field), Ref(other):
            return _equal_fields(field, other)
        case (It(), It() | Ent()) | (Ent(), It()):
            return _same_entity(left, right, known)
        case (Many(), Many() | Ref()) | (Ref(), Many()):
            return _equal_sets(left, right, known)
        case _:
            if isinstance(left, BOOLEAN) and isinstance(right, BOOLEAN):
                return _iff(left, right)
            return FALSE


def _equal_argument(one: Value, other: Value) -> Expr:
    if isinstance(one, Told) and isinstance(other, Word):
        return simplify.argument(one.name, (other.value,))
    raise Refused("`==`: the proxy compares arguments of a tool with literals only", "arguments")


def _equal_fields(field: Field, other: Field) -> Expr:
    if field in DIGIT_FIELDS and other in DIGIT_FIELDS:
        return compare(operator.eq, Ref(field), Ref(other), "==")
    if field is other:
        return Has(field) if field is Field.SUBJECT_REGION else TRUE
    if field in SET_FIELDS and other in SET_FIELDS:
        raise Refused(f"`{field.value} == {other.value}`: the proxy cannot compare two whole sets", "==")
    if grammar.disjoint(field, other) or (field in DIGIT_FIELDS | SET_FIELDS) != (
        other in DIGIT_FIELDS | SET_FIELDS
    ):
        return FALSE
    if {field, other} <= CARRIED:
        return Same(*sorted((field, other), key=lambda one: one.value))
    raise Refused(
        f"`{field.value} == {other.value}`: the proxy cannot compare a part of the certificate with what a request says",
        "==",
        "compare each with a literal",
    )


def _equal_records(left: Mapping[str, Value], right: Mapping[str, Value], known: Known) -> Expr:
    if left.keys() != right.keys():
        return FALSE
    return simplify.both(*(equal(value, right[name], known) for name, value in left.items()))


def _equal_sets(left: Value, right: Value, known: Known) -> Expr:
    """Each holds what the other holds."""
    return simplify.both(contains_all(left, right, known), contains_all(right, left, known))


def _iff(left: Expr, right: Expr) -> Expr:
    return simplify.either(
        simplify.both(left, right), simplify.both(simplify.negate(left), simplify.negate(right))
    )


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
    ids = {
        facts.key.kind: {facts.key.uid},
        f"{facts.key.kind}Group": facts.groups,
        "Node": {facts.key.node},
        "Group": facts.node_groups,
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
        case Ref(), Ref() | Told():
            raise Refused(
                "`contains`: set and element are both only known when a request comes",
                "contains",
                "only a claim in its own set (purposes, regions) can be asked for",
            )
        case _:
            raise Refused("`contains` needs a set and an element of its type", "contains")


def contains_all(left: Value, right: Value, known: Known) -> Expr:
    """Every element of `right` is in `left`."""
    match left, right:
        case _, Many(items):
            return simplify.both(*(contains(left, item, known) for item in items))
        case Ref(field), Ref(other) if field is other:
            return TRUE
        case Many(items), Ref(field) if field in SET_FIELDS:
            return _nothing_else(field, items)
    raise _two_sets("containsAll")


def contains_any(left: Value, right: Value, known: Known) -> Expr:
    """Some element of `right` is in `left`."""
    match left, right:
        case _, Many(items):
            return simplify.either(*(contains(left, item, known) for item in items))
        case Many(items), Ref():
            return simplify.either(*(contains(right, item, known) for item in items))
        case Ref(field), Ref(other) if field is other:
            return simplify.negate(simplify.only(field, ()))
    raise _two_sets("containsAny")


def is_empty(value: Value) -> Expr:
    match value:
        case Many(items):
            return Bool(not items)
        case Ref(field) if field in SET_FIELDS:
            return simplify.only(field, ())
    raise Refused("`isEmpty` needs a set", "isEmpty")


def _nothing_else(field: Field, items: tuple[Value, ...]) -> Expr:
    words = [item.value for item in items if isinstance(item, Word) and not item.fact]
    if len(words) < len(items):
        raise Refused(f"what `{field.value}` may hold must be spelled out", "containsAll")
    allowed = simplify.only(field, words)
    if isinstance(allowed, Only) and sum(len(word) + 1 for word in allowed.values) > grammar.MAX_ONLY:
        raise Refused(
            f"the values that `{field.value}` may hold are too long together for a proxy: at most "
            f"{grammar.MAX_ONLY} characters",
            "containsAll",
        )
    return allowed


def _two_sets(token: str) -> Refused:
    return Refused(
        f"`{token}`: the proxy cannot compare two whole sets of the certificate", token, "spell one out"
    )
