"""Cedar's typed syntax tree to ours. Part of `parse`: together the one door to `cedarpy`.

Constructs that Envoy, Python and Cedar would not decide alike are refused by name: arithmetic and extension
constructors can error, records and tags have no counterpart in a request's headers, templates are not linked yet.
"""

from cedarpy import pst

from policies.errors import NotEnforceableError
from policies.syntax import Attr, Entity, HasAttr, If, IsType, LikePattern, Lit, Negate, Node, Op, SetOf, Var

OPS = {
    "and": "and",
    "or": "or",
    "eq": "eq",
    "not_eq": "not_eq",
    "less": "less",
    "less_eq": "less_eq",
    "greater": "greater",
    "greater_eq": "greater_eq",
    "in": "in",
    "contains": "contains",
    "contains_all": "contains_all",
    "contains_any": "contains_any",
}
SYMBOLS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "neg": "-",
    "get_tag": "getTag",
    "has_tag": "hasTag",
    "is_empty": "isEmpty",
}
CAN_ERROR = (
    "it can fail while a request is decided, and a failing forbid would have to allow or deny by accident"
)


def expression(node: object) -> Node:
    """Translate one expression; NotEnforceableError names what cannot be."""
    match node:
        case pst.BoolLit(value) | pst.LongLit(value) | pst.StringLit(value):
            return Lit(value)
        case pst.EntityLit(value):
            return Lit(entity(value))
        case pst.Set(elements):
            return SetOf(tuple(map(expression, elements)))
        case pst.Var(name):
            return Var(name)
        case pst.GetAttr(base, attr):
            return Attr(expression(base), attr)
        case pst.HasAttr(base, (attr,)):
            return HasAttr(expression(base), attr)
        case pst.UnaryOp("not", arg):
            return Negate(expression(arg))
        case pst.BinaryOp(op, left, right) if op in OPS:
            return Op(OPS[op], expression(left), expression(right))
        case pst.IfThenElse(condition, yes, no):
            return If(expression(condition), expression(yes), expression(no))
        case pst.Like(base, pattern):
            return LikePattern(expression(base), parts(pattern))
        case pst.Is(base, kind, within):
            return IsType(expression(base), type_name(kind), None if within is None else expression(within))
    raise _refused(node)


def _refused(node: object) -> NotEnforceableError:
    match node:
        case pst.UnaryOp("neg", _):
            return NotEnforceableError("-", "negative numbers occur in no request")
        case pst.UnaryOp(op, _) | pst.BinaryOp(op, _, _):
            return NotEnforceableError(SYMBOLS.get(op, op), CAN_ERROR)
        case pst.HasAttr(_, attrs):
            return NotEnforceableError("has " + ".".join(attrs), "no attribute has attributes of its own")
        case pst.Record():
            return NotEnforceableError("{…}", "records occur in no request")
        case pst.Slot(name):
            return NotEnforceableError(f"?{name}", "templates are not linked")
    return NotEnforceableError(type(node).__name__, "it has no counterpart in the proxy")


def parts(pattern: tuple[object, ...]) -> tuple[str, ...]:
    """`fr*x` as ("fr", "x"); runs of wildcards are one."""
    found, after_wildcard = [""], False
    for element in pattern:
        if isinstance(element, pst.Wildcard):
            if not after_wildcard:
                found.append("")
            after_wildcard = True
        elif isinstance(element, pst.Char):
            found[-1] += element.value
            after_wildcard = False
    return tuple(found)


def entity(uid: pst.EntityUid) -> Entity:
    return Entity(type_name(uid.type), uid.id)


def type_name(kind: pst.EntityType) -> str:
    return "::".join((*kind.namespace, kind.basename))


def scope(variable: str, constraint: object) -> Node | None:
    """A principal or resource constraint as an expression; None for any."""
    match constraint:
        case pst.ScopeAny():
            return None
        case pst.ScopeEq(pst.EntityUid() as uid):
            return Op("eq", Var(variable), Lit(entity(uid)))
        case pst.ScopeIn(pst.EntityUid() as uid):
            return Op("in", Var(variable), Lit(entity(uid)))
        case pst.ScopeIs(kind):
            return IsType(Var(variable), type_name(kind))
        case pst.ScopeIsIn(kind, pst.EntityUid() as uid):
            return IsType(Var(variable), type_name(kind), Lit(entity(uid)))
    raise NotEnforceableError(f"?{variable}", "templates are not linked")


def actions(constraint: object) -> tuple[tuple[str, ...] | None, bool]:
    """(names, exact) of an action constraint."""
    match constraint:
        case pst.ScopeAny():
            return None, False
        case pst.ActionEq(uid):
            return (uid.id,), True
        case pst.ActionIn(uids):
            return tuple(uid.id for uid in uids), False
    raise NotEnforceableError(type(constraint).__name__, "it has no counterpart in the proxy")
