"""Fold one Cedar expression for one resource (and, at egress, one principal): what is left needs a request.

Everything is visited, dead branches too: whether an expression is supported must not depend on the facts at hand.
Validated policies cannot err (`parse` refuses unguarded optional access, arithmetic is refused here), so folding
may reorder nothing and still be exact. What has no exact counterpart raises `Refused`.
"""

from policies import simplify, syntax
from policies.model import DIGIT_FIELDS, SET_FIELDS, Bool, Expr, Field, Has, Principal
from policies.operands import BOOLEAN, TOKENS, Ent, It, Known, Many, Number, Ref, Refused, Value, Word
from policies.relations import ORDER, compare, contains, equal, within

_CONTEXT = {
    field.value.removeprefix("context."): field for field in Field if field.value.startswith("context.")
}
_PRINCIPAL = {
    field.value.removeprefix("principal."): field for field in Field if field.value.startswith("principal.")
}
_LATER = ("now", "source_ip")
_RESOURCE = ("name", "site", "jurisdiction", "owner", "max_class")


def condition(node: syntax.Node, known: Known) -> Expr:
    """A boolean expression, folded; raises Refused."""
    return _boolean(fold(node, known), node)


def fold(node: syntax.Node, known: Known) -> Value:  # noqa: PLR0912  # one arm per kind of node
    """Any expression, folded; raises Refused."""
    match node:
        case syntax.Lit(bool() as value):
            return Bool(value)
        case syntax.Lit(int() as value):
            return Number(value)
        case syntax.Lit(value):
            return Word(str(value))
        case syntax.Entity(kind, id_):
            return Ent(kind, id_)
        case syntax.Var(name):
            return It(name)
        case syntax.Attr(base, name):
            return _attribute(fold(base, known), name, known)
        case syntax.HasAttr(base, name):
            return _has(fold(base, known), name)
        case syntax.Matches(base, parts):
            return _like(fold(base, known), parts)
        case syntax.IsKind(base, kind):
            return Bool(_kind(fold(base, known), known) == kind)
        case syntax.SetOf(items):
            return Many(tuple(fold(item, known) for item in items))
        case syntax.If(cond, then, other):
            return _if(condition(cond, known), fold(then, known), fold(other, known))
        case syntax.Call(op, args):
            return _call(op, tuple(fold(arg, known) for arg in args), known)
        case syntax.Foreign(what, token):
            raise Refused(f"{what} is not supported", token)


def _boolean(value: Value, node: syntax.Node) -> Expr:
    if isinstance(value, BOOLEAN):
        return value
    raise Refused(f"a boolean is needed, not `{type(node).__name__.lower()}`")


def _attribute(base: Value, name: str, known: Known) -> Value:
    if not isinstance(base, It):
        raise Refused(
            "attributes of spelled-out entities are not supported", name, "use principal or resource"
        )
    if base.name == "resource" and name in _RESOURCE:
        value = known.resource.key.name if name == "name" else getattr(known.resource, name)
        return Number(value) if isinstance(value, int) else Word(value)
    if base.name == "principal" and name in _PRINCIPAL:
        return _principal(_PRINCIPAL[name], known.principal)
    if base.name == "context" and name in _CONTEXT:
        field = _CONTEXT[name]
        return simplify.flag(field) if field is Field.STREAM else Ref(field)
    if base.name == "context" and name in _LATER:
        raise Refused(f"conditions on `context.{name}` are not supported", name)
    raise Refused(f"unknown attribute `{name}`", name)


def _principal(field: Field, principal: Principal | None) -> Value:
    if principal is None:
        return Ref(field)
    value = getattr(principal, field.value.removeprefix("principal."))
    if isinstance(value, frozenset):
        return Many(tuple(Word(item) for item in sorted(value)))
    return Number(value) if isinstance(value, int) else Word(value)


def _has(base: Value, name: str) -> Expr:
    match base:
        case It("context"):
            if name == "subject_region":
                return Has(Field.SUBJECT_REGION)
            return Bool(name in _CONTEXT or name in _LATER)
        case It("principal"):
            return Bool(name in _PRINCIPAL)
        case It("resource"):
            return Bool(name in _RESOURCE)
        case _:
            raise Refused("`has` is supported on principal, resource and context alone", "has")


def _like(base: Value, parts: tuple[str, ...]) -> Expr:
    match base:
        case Word(value):
            return Bool(simplify.matches(parts, value))
        case Ref(field) if field not in DIGIT_FIELDS | SET_FIELDS:
            if not _is_simple(field, parts):
                raise Refused(
                    "a pattern may be `a*`, `*b`, `a*b` or `*c*`; on site and jurisdiction `a*` or `*b`",
                    "like",
                    "write several, joined by && or ||",
                )
            return simplify.like(field, parts)
        case _:
            raise Refused("`like` needs a string", "like")


def _is_simple(field: Field, parts: tuple[str, ...]) -> bool:
    """What the proxy matches natively and exactly: see `agent.envoy.lower`."""
    ends = len(parts) <= 2  # noqa: PLR2004  # at most one wildcard
    if field in (Field.PRINCIPAL_SITE, Field.PRINCIPAL_JURISDICTION):
        return ends and not (len(parts) > 1 and all(parts))
    return ends or (len(parts) == 3 and not parts[0] and not parts[-1])  # noqa: PLR2004  # *c*


def _kind(value: Value, known: Known) -> str:
    match value:
        case Ent(kind, _):
            return kind
        case It("principal"):
            return "Node"
        case It("action"):
            return "Action"
        case It("resource"):
            return known.resource.key.kind
        case _:
            raise Refused("`is` needs an entity", "is")


def _if(cond: Expr, then: Value, other: Value) -> Expr:
    if not isinstance(then, BOOLEAN) or not isinstance(other, BOOLEAN):
        raise Refused("`if` is supported between booleans alone", "if", "compare inside the branches")
    return simplify.either(simplify.both(cond, then), simplify.both(simplify.negate(cond), other))


def _call(op: str, args: tuple[Value, ...], known: Known) -> Expr:  # noqa: PLR0912  # one arm per operator
    match op, args:
        case "not", (item,) if isinstance(item, BOOLEAN):
            return simplify.negate(item)
        case "and", (left, right) if isinstance(left, BOOLEAN) and isinstance(right, BOOLEAN):
            return simplify.both(left, right)
        case "or", (left, right) if isinstance(left, BOOLEAN) and isinstance(right, BOOLEAN):
            return simplify.either(left, right)
        case "eq", (left, right):
            return equal(left, right, known)
        case "not_eq", (left, right):
            return simplify.negate(equal(left, right, known))
        case (("less" | "less_eq" | "greater" | "greater_eq"), (left, right)):
            return compare(ORDER[op], left, right, TOKENS[op])
        case "in", (left, right):
            return within(left, right, known)
        case "contains", (left, right):
            return contains(left, right, known)
        case "contains_all", (left, Many(items)):
            return simplify.both(*(contains(left, item, known) for item in items))
        case "contains_any", (left, Many(items)):
            return simplify.either(*(contains(left, item, known) for item in items))
        case "contains_any", (Many(items), right):
            return simplify.either(*(contains(right, item, known) for item in items))
        case (("contains_all" | "contains_any"), _):
            raise Refused(
                f"`{TOKENS[op]}` with a set that only a request brings as its argument is not supported",
                TOKENS[op],
                "spell the elements out",
            )
        case _:
            token = TOKENS.get(op, op)
            raise Refused(f"`{token}` is not supported", token)
