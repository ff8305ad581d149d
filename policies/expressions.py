"""Expressions <-> JSON arrays (`["is", field, values]`), with every bound that a reader needs: depth, size, types."""

import ipaddress

from policies import arguments, decode, grammar
from policies.arguments import Argument
from policies.errors import ContentError
from policies.grammar import MAX_DEPTH, MAX_ITEMS
from policies.model import (
    CARRIED,
    CLASS_MAX,
    DAY_MS,
    DIGIT_FIELDS,
    NOW_MAX_MS,
    SET_FIELDS,
    And,
    Before,
    Bool,
    Clock,
    Digit,
    Expr,
    Field,
    Has,
    Holds,
    InRange,
    Is,
    Like,
    Not,
    Only,
    Or,
    PrincipalIn,
    Same,
)

STRING_FIELDS = frozenset(Field) - DIGIT_FIELDS - SET_FIELDS - {Field.STREAM}
FIELDS = {field.value: field for field in Field}


def size(expr: Expr) -> int:
    """How many nodes an expression has."""
    match expr:
        case Not(item):
            return 1 + size(item)
        case And(items) | Or(items):
            return 1 + sum(size(item) for item in items)
        case _:
            return 1


def depth(expr: Expr) -> int:
    """How deep an expression nests; a leaf is 1."""
    match expr:
        case Not(item):
            return 1 + depth(item)
        case And(items) | Or(items):
            return 1 + max(depth(item) for item in items)
        case _:
            return 1


def dump_expr(expr: Expr) -> object:  # noqa: C901, PLR0911, PLR0912  # one return per operator
    """Sets are sorted: equal expressions give equal bytes."""
    match expr:
        case Bool(value):
            return value
        case Is(field, values) | Digit(field, values):
            tag = "digit" if isinstance(expr, Digit) else "is"
            return [tag, field.value, sorted(values)]
        case Holds(field, value):
            return ["holds", field.value, value]
        case Like(field, parts):
            return ["like", field.value, list(parts)]
        case Only(field, values):
            return ["only", field.value, sorted(values)]
        case Same(field, other):
            return ["same", field.value, other.value]
        case Before(at_ms):
            return ["before", at_ms]
        case Clock(from_ms, until_ms):
            return ["clock", from_ms, until_ms]
        case InRange(network):
            return ["ip", network]
        case Has(field):
            return ["has", field.value]
        case Argument(name, parts):
            return ["argument", name, list(parts)]
        case PrincipalIn(kind, id_):
            return ["in", kind, id_]
        case Not(item):
            return ["not", dump_expr(item)]
        case And(items):
            return ["and", *(dump_expr(item) for item in items)]
        case Or(items):
            return ["or", *(dump_expr(item) for item in items)]


def load_expr(value: object) -> Expr:
    """The inverse of `dump_expr`; raises ContentError."""
    expr = _load(value, MAX_DEPTH)
    if size(expr) > MAX_ITEMS:
        raise ContentError(f"an expression must have at most {MAX_ITEMS} operators")
    return expr


def _load(value: object, room: int) -> Expr:
    """`room` is how many levels there may be, this one included."""
    if room > 0 and isinstance(value, bool):
        return Bool(value)
    if room < 1 or not isinstance(value, list) or not value:
        raise ContentError("an expression must be `true`, `false` or an operator with operands, not too deep")
    tag, *operands = value
    if tag in ("and", "or"):
        items = decode.items(
            operands, "operands", lambda item: _load(item, room - 1), least=2, most=MAX_ITEMS
        )
        return And(items) if tag == "and" else Or(items)
    if tag == "not" and len(operands) == 1:
        return Not(_load(operands[0], room - 1))
    return _load_leaf(tag, operands)


def _load_leaf(tag: object, operands: list[object]) -> Expr:
    match tag, operands:
        case "is", [field, values]:
            return _load_is(_field(field, STRING_FIELDS | {Field.STREAM}), values)
        case "digit", [field, values]:
            digits = decode.items(
                values, "digits", lambda item: decode.integer(item, "digit", most=CLASS_MAX), least=1, most=5
            )
            return Digit(_field(field, DIGIT_FIELDS), decode.distinct(digits, "digits"))
        case "holds", [field, value]:
            held = _field(field, SET_FIELDS)
            return Holds(held, _possible(held, _string(value)))
        case "like", [field, parts]:
            return _load_like(_field(field, STRING_FIELDS), parts)
        case "only", [field, values]:
            return _load_only(_field(field, SET_FIELDS), values)
        case "same", [field, other]:
            return Same(_field(field, CARRIED), _field(other, CARRIED))
        case (("before" | "clock" | "ip"), _):
            return _load_circumstance(tag, operands)
        case "argument", [name, parts]:
            return _load_argument(name, parts)
        case "has", [field]:
            return Has(_field(field, frozenset({Field.SUBJECT_REGION})))
        case "in", [str() as kind, id_] if kind in grammar.KINDS:
            return PrincipalIn(kind, decode.text(id_, "id", grammar.KINDS[kind]))
        case _:
            raise ContentError(f"unknown operator `{str(tag)[:80]}` or wrong operands")


def _load_like(field: Field, value: object) -> Like:
    parts = decode.items(value, "parts", _string, least=1, most=grammar.MAX_WILDCARDS + 1)
    if not grammar.enforceable(field, parts):
        raise ContentError("a pattern is too long")
    return Like(field, parts)


def _load_argument(name: object, value: object) -> Argument:
    parts = decode.items(value, "parts", _string, least=1, most=grammar.MAX_WILDCARDS + 1)
    if not (arguments.possible(parts) and (len(parts) == 1 or grammar.enforceable_argument(parts))):
        raise ContentError("an argument can never be this, or a pattern is too long")
    return Argument(decode.text(name, "argument", arguments.NAME), parts)


def _load_only(field: Field, values: object) -> Only:
    words = decode.items(
        values, "values", lambda item: _possible(field, _string(item)), most=grammar.MAX_ONLY
    )
    if sum(len(word) + 1 for word in words) > grammar.MAX_ONLY:
        raise ContentError("the values of a set are too long together")
    return Only(field, decode.distinct(words, "values"))


def _load_circumstance(tag: object, operands: list[object]) -> Expr:
    """When, and from where."""
    match tag, operands:
        case "before", [at_ms]:
            return Before(decode.integer(at_ms, "time", least=1, most=NOW_MAX_MS))
        case "clock", [from_ms, until_ms]:
            start = decode.integer(from_ms, "time of day", most=DAY_MS - 1)
            return Clock(start, decode.integer(until_ms, "time of day", least=start + 1, most=DAY_MS))
        case "ip", [network]:
            return InRange(_network(network))
    raise ContentError(f"wrong operands of `{tag}`")


def _network(value: object) -> str:
    text = decode.text(value, "network", most=50)
    try:
        known = str(ipaddress.ip_network(text))
    except ValueError as exc:
        raise ContentError(f"`{text}` is no network") from exc
    if known != text:
        raise ContentError(f"network `{text}` has another spelling")
    return text


def _load_is(field: Field, values: object) -> Is:
    if field is Field.STREAM:
        flags = decode.items(values, "values", _flag, least=1, most=2)
        return Is(field, decode.distinct(flags, "values"))
    words = decode.items(
        values, "values", lambda item: _possible(field, _string(item)), least=1, most=MAX_ITEMS
    )
    return Is(field, decode.distinct(words, "values"))


def _possible(field: Field, value: str) -> str:
    """A value outside its field's grammar could match two parts of a rendered subject (see `grammar`)."""
    if not grammar.possible(field, value):
        raise ContentError(f"`{field.value}` can never be `{value[:80]}`")
    return value


def _field(value: object, allowed: frozenset[Field]) -> Field:
    field = FIELDS.get(value) if isinstance(value, str) else None
    if field is None or field not in allowed:
        raise ContentError(f"field `{str(value)[:80]}` is unknown or of another type")
    return field


def _string(value: object) -> str:
    return decode.text(value, "string", most=4096)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ContentError("expected `true` or `false`")
    return value
