"""Fold one Cedar expression for one resource (and, at egress, one principal): what is left needs a request.

Everything is visited, dead branches too: whether an expression is supported must not depend on the facts at hand.
Validated policies cannot err (`parse` refuses unguarded optional access, arithmetic is refused here), so folding
may reorder nothing and still be exact. What has no exact counterpart raises `Refused`. An `if` between values stays
a `Choice`, and whatever is asked of it is asked of either side.
"""

from collections.abc import Callable

from policies import addresses, arguments, grammar, moments, moving, simplify, syntax
from policies.model import DIGIT_FIELDS, SET_FIELDS, Bool, Expr, Field, Has, Principal
from policies.operands import (
    BOOLEAN,
    DECIMAL_ORDER,
    TOKENS,
    AllArguments,
    Choice,
    Ent,
    Fixed,
    It,
    Known,
    Many,
    Number,
    Rec,
    Ref,
    Refused,
    Source,
    Told,
    Value,
    Word,
)
from policies.order import ORDER, compare
from policies.relations import (
    contains,
    contains_all,
    contains_any,
    equal,
    is_empty,
    within,
)

_CONTEXT = {
    field.value.removeprefix("context."): field for field in Field if field.value.startswith("context.")
}
_PRINCIPAL = {
    field.value.removeprefix("principal."): field for field in Field if field.value.startswith("principal.")
}
_OTHERS: dict[str, Value] = {"now": moving.NOW, "source_ip": Source(), "arguments": AllArguments()}
_RESOURCE = ("name", "site", "jurisdiction", "owner", "max_class")


def condition(node: syntax.Node, known: Known) -> Expr:
    """A boolean expression, folded; raises Refused."""
    return _boolean(fold(node, known), node)


def fold(node: syntax.Node, known: Known) -> Value:  # noqa: C901, PLR0911, PLR0912  # one arm per kind of node
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
            return _either_way(lambda it: _attribute(it, name, known), fold(base, known))
        case syntax.HasAttr(base, name):
            return _either_way(lambda it: _has(it, name), fold(base, known))
        case syntax.Matches(base, parts):
            return _either_way(lambda it: _like(it, parts), fold(base, known))
        case syntax.IsKind(base, kind):
            return _either_way(lambda it: Bool(_kind(it, known) == kind), fold(base, known))
        case syntax.SetOf(items):
            return _either_way(lambda *those: Many(those), *(fold(item, known) for item in items))
        case syntax.RecordOf(fields):
            names = [name for name, _ in fields]
            values = (fold(value, known) for _, value in fields)
            return _either_way(lambda *those: Rec(tuple(zip(names, those, strict=True))), *values)
        case syntax.If(cond, then, other):
            return _if(condition(cond, known), fold(then, known), fold(other, known))
        case syntax.Call(op, args):
            return _either_way(lambda *those: _call(op, those, known), *(fold(arg, known) for arg in args))
        case syntax.Foreign(what, token):
            raise Refused(f"{what} is not supported", token)


def _either_way(apply: Callable[..., Value], *args: Value) -> Value:
    """`apply`, and where an operand is a choice, on either side of it."""
    for place, arg in enumerate(args):
        if isinstance(arg, Choice):
            before, after = args[:place], args[place + 1 :]
            return _if(
                arg.cond,
                _either_way(apply, *before, arg.then, *after),
                _either_way(apply, *before, arg.other, *after),
            )
    return apply(*args)


def _boolean(value: Value, node: syntax.Node) -> Expr:
    if isinstance(value, BOOLEAN):
        return value
    raise Refused(f"a boolean is needed, not `{type(node).__name__.lower()}`")


def _attribute(base: Value, name: str, known: Known) -> Value:
    if isinstance(base, Rec):
        return dict(base.fields)[name]  # validation has seen to it that it is there
    if not isinstance(base, It):
        raise Refused(
            "attributes of spelled-out entities are not supported", name, "use principal or resource"
        )
    if base.name == "resource" and name in _RESOURCE:
        value = known.resource.key.name if name == "name" else getattr(known.resource, name)
        return Number(value) if isinstance(value, int) else Word(value, fact=True)
    if base.name == "principal" and name in _PRINCIPAL:
        return _principal(_PRINCIPAL[name], known.principal)
    if base.name == "context" and name in _CONTEXT:
        field = _CONTEXT[name]
        return simplify.flag(field) if field is Field.STREAM else Ref(field)
    if base.name == "context" and name in _OTHERS:
        return _OTHERS[name]
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
            if name == "arguments":
                raise Refused("`context.arguments` is there for `tool` alone", "has", "name the action")
            return Bool(name in _CONTEXT or name in _OTHERS)
        case It("principal"):
            return Bool(name in _PRINCIPAL)
        case It("resource"):
            return Bool(name in _RESOURCE)
        case Rec(fields):
            return Bool(name in dict(fields))
        case _:
            raise Refused("`has` needs principal, resource, context or a record", "has")


def _like(base: Value, parts: tuple[str, ...]) -> Expr:
    match base:
        case Word(value):
            return Bool(simplify.matches(parts, value))
        case Ref(field) if field not in DIGIT_FIELDS | SET_FIELDS:
            if grammar.enforceable(field, parts):
                return simplify.like(field, parts)
        case Told(name):
            if grammar.enforceable_argument(parts):
                return simplify.argument(name, parts)
        case _:
            raise Refused("`like` needs a string", "like")
    raise Refused(
        f"a pattern may have at most {grammar.MAX_WILDCARDS} wildcards and {grammar.MAX_PATTERN} characters",
        "like",
        "write several, joined by &&",
    )


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


def _if(cond: Expr, then: Value, other: Value) -> Value:
    if isinstance(then, BOOLEAN) and isinstance(other, BOOLEAN):
        return simplify.either(simplify.both(cond, then), simplify.both(simplify.negate(cond), other))
    if isinstance(cond, Bool):
        return then if cond.value else other
    return then if then == other else Choice(cond, then, other)


def _call(op: str, args: tuple[Value, ...], known: Known) -> Value:
    """An operator, method or function on folded operands."""
    match op, args:
        case "not", (item,) if isinstance(item, BOOLEAN):
            return simplify.negate(item)
        case "and", (left, right) if isinstance(left, BOOLEAN) and isinstance(right, BOOLEAN):
            return simplify.both(left, right)
        case "or", (left, right) if isinstance(left, BOOLEAN) and isinstance(right, BOOLEAN):
            return simplify.either(left, right)
        case "not_eq", (left, right):
            return simplify.negate(equal(left, right, known))
        case _, (left, right) if op in ORDER:
            return compare(ORDER[op], left, right, TOKENS[op])
        case _, (left, right) if op in _RELATIONS:
            return _RELATIONS[op](left, right, known)
        case "is_empty", (value,):
            return is_empty(value)
        case (("has_tag" | "get_tag"), (AllArguments(), name)):
            told = _told(op, name)
            return told if op == "get_tag" else simplify.argument(told.name, ("", ""))
    return _extension(op, args)


def _told(op: str, name: Value) -> Told:
    """An argument by its name, which is a literal: a proxy reads what it knows beforehand."""
    if isinstance(name, Word) and not name.fact and arguments.NAME.fullmatch(name.value):
        return Told(name.value)
    token = TOKENS[op]
    raise Refused(f"`{token}` takes a literal: the name of an argument, `[A-Za-z0-9_-]{{1,32}}`", token)


_RELATIONS: dict[str, Callable[[Value, Value, Known], Expr]] = {
    "eq": equal,
    "in": within,
    "contains": contains,
    "contains_all": contains_all,
    "contains_any": contains_any,
}


def _extension(op: str, args: tuple[Value, ...]) -> Value:
    """Times, addresses, decimals. Constructors take literals: what a request brings could be malformed."""
    match op, args:
        case (("datetime" | "duration"), (Word(text, fact=False),)):
            return moments.fixed(op, text)
        case "ip", (Word(text, fact=False),):
            return addresses.fixed(text)
        case "decimal", (Word(text, fact=False),):
            whole, _, part = text.partition(".")
            return Fixed("decimal", int(f"{whole}{part:0<4}"))
        case (("datetime" | "duration" | "ip" | "decimal"), _):
            raise Refused(f"`{op}` takes a literal", op)
        case "offset", (base, by):
            return moments.offset(base, by)
        case "duration_since", (late, early):
            return moments.since(late, early)
        case "to_date", (base,):
            return moments.to_date(base)
        case "to_time", (base,):
            return moments.to_time(base)
        case _, (span,) if op in moments.UNITS_MS:
            return moments.to_units(op, span)
        case "is_in_range", (value, network):
            return addresses.is_in_range(value, network)
        case _, (value,) if op in addresses.QUESTIONS:
            return addresses.is_of_kind(op, value)
        case _, (left, right) if op in DECIMAL_ORDER:
            return compare(ORDER[DECIMAL_ORDER[op]], left, right, TOKENS[op])
    token = TOKENS.get(op, op)
    raise Refused(f"`{token}` is not supported", token)
