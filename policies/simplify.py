"""Smart constructors of expressions: constants fold, equal fields merge, order otherwise stays.

Each is exact: digits are always present, an absent string equals nothing, and no leaf can fail.
"""

from collections.abc import Callable, Iterable, Iterator

from policies import arguments, grammar
from policies.arguments import Argument
from policies.model import (
    CLASS_MAX,
    DAY_MS,
    NOW_MAX_MS,
    And,
    Before,
    Bool,
    Clock,
    Digit,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Like,
    Not,
    Only,
    Or,
    PrincipalIn,
)

TRUE, FALSE = Bool(value=True), Bool(value=False)
DIGITS = frozenset(range(CLASS_MAX + 1))


def digit(field: Field, values: Iterable[int]) -> Expr:
    """A digit field is one of `values`; what is no digit cannot be met."""
    kept = DIGITS & frozenset(values)
    if kept == DIGITS:
        return TRUE
    return Digit(field, kept) if kept else FALSE


def word(field: Field, values: Iterable[str]) -> Expr:
    """A string field is one of `values`; values that no request can bring are dropped."""
    kept = frozenset(value for value in values if grammar.possible(field, value))
    return Is(field, kept) if kept else FALSE


def flag(field: Field, *, value: bool = True) -> Expr:
    return Is(field, frozenset({value}))


def holds(field: Field, value: str) -> Expr:
    return Holds(field, value) if grammar.possible(field, value) else FALSE


def only(field: Field, values: Iterable[str]) -> Expr:
    """A set field holds nothing but `values`; those that it can never hold do not matter."""
    return Only(field, frozenset(value for value in values if grammar.possible(field, value)))


def before(at_ms: int) -> Expr:
    """Now is before a moment; moments that now never reaches, or always has passed, decide at once."""
    if at_ms <= 0:
        return FALSE
    return TRUE if at_ms > NOW_MAX_MS else Before(at_ms)


def clock(start_ms: int, length_ms: int) -> Expr:
    """The time of day lies in the stretch of `length_ms` that begins at `start_ms` and may run over midnight."""
    if length_ms <= 0:
        return FALSE
    if length_ms >= DAY_MS:
        return TRUE
    start_ms %= DAY_MS
    end_ms = start_ms + length_ms
    if end_ms <= DAY_MS:
        return Clock(start_ms, end_ms)
    return either(Clock(0, end_ms - DAY_MS), Clock(start_ms, DAY_MS))


def principal_in(kind: str, id_: str) -> Expr:
    """Entities of other kinds, and ids that no principal can have, contain none."""
    pattern = grammar.KINDS.get(kind)
    return PrincipalIn(kind, id_) if pattern is not None and pattern.fullmatch(id_) else FALSE


def argument(name: str, parts: tuple[str, ...]) -> Expr:
    """What no argument that can be read may be is never met."""
    return Argument(name, parts) if arguments.possible(parts) else FALSE


def like(field: Field, parts: tuple[str, ...]) -> Expr:
    if len(parts) == 1:
        return word(field, parts)
    if parts == ("", ""):  # everything that is there
        return Has(field) if field is Field.SUBJECT_REGION else TRUE
    if not all(grammar.possible_part(field, part) for part in parts):
        return FALSE
    return Like(field, parts)


def matches(parts: tuple[str, ...], value: str) -> bool:
    """Cedar's `like`: leftmost matches of the middle parts between a fixed head and tail."""
    head, *middle = parts
    if not middle:
        return value == head
    tail = middle.pop()
    if len(value) < len(head) + len(tail) or not (value.startswith(head) and value.endswith(tail)):
        return False
    at, end = len(head), len(value) - len(tail)
    for part in middle:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def negate(expr: Expr) -> Expr:
    match expr:
        case Bool(value):
            return Bool(not value)
        case Not(item):
            return item
        case Digit(field, values):
            return digit(field, DIGITS - values)
        case Is(Field.STREAM, values):
            return flag(Field.STREAM, value=True not in values)
        case _:
            return Not(expr)


def leaves(expr: Expr) -> Iterator[Expr]:
    """Every question in an expression."""
    match expr:
        case Not(item):
            yield from leaves(item)
        case And(items) | Or(items):
            for item in items:
                yield from leaves(item)
        case _:
            yield expr


def rebuilt(expr: Expr, leaf: Callable[[Expr, bool], Expr], *, up: bool = True) -> Expr:
    """The expression with every leaf replaced; `up` tells a leaf whether its truth makes the whole truer."""
    match expr:
        case Not(item):
            return negate(rebuilt(item, leaf, up=not up))
        case And(items):
            return both(*(rebuilt(item, leaf, up=up) for item in items))
        case Or(items):
            return either(*(rebuilt(item, leaf, up=up) for item in items))
        case _:
            return leaf(expr, up)


def both(*items: Expr) -> Expr:
    """All of them, flattened; a false one decides."""
    merged: list[Expr] = []
    for item in _flat(items, And):
        if item == FALSE:
            return FALSE
        if item != TRUE and item not in merged:
            merged = _absorb(merged, item, _intersect)
            if FALSE in merged:
                return FALSE
    if not merged:
        return TRUE
    return merged[0] if len(merged) == 1 else And(tuple(merged))


def either(*items: Expr) -> Expr:
    """Any of them, flattened; a true one decides."""
    merged: list[Expr] = []
    for item in _flat(items, Or):
        if item == TRUE:
            return TRUE
        if item != FALSE and item not in merged:
            merged = _absorb(merged, item, _unite)
            if TRUE in merged:
                return TRUE
    if not merged:
        return FALSE
    return merged[0] if len(merged) == 1 else Or(tuple(merged))


def _flat(items: Iterable[Expr], kind: type[And | Or]) -> Iterable[Expr]:
    for item in items:
        if isinstance(item, And | Or) and isinstance(item, kind):
            yield from item.items
        else:
            yield item


def _absorb(merged: list[Expr], item: Expr, merge: Callable[[Expr, Expr], Expr | None]) -> list[Expr]:
    """`item` put into the first of `merged` that speaks of the same field, else behind them."""
    for place, other in enumerate(merged):
        united = merge(other, item)
        if united is not None:
            return [*merged[:place], united, *merged[place + 1 :]]
    return [*merged, item]


def _unite(left: Expr, right: Expr) -> Expr | None:
    match left, right:
        case Digit(field, values), Digit(other, more) if field is other:
            return digit(field, values | more)
        case Is(Field.STREAM, values), Is(Field.STREAM, more):
            return TRUE if values != more else left
        case Is(field, values), Is(other, more) if field is other:
            return Is(field, frozenset(values) | frozenset(more))  # type: ignore[arg-type]  # both hold strings
        case _:
            return None


def _intersect(left: Expr, right: Expr) -> Expr | None:
    match left, right:
        case Digit(field, values), Digit(other, more) if field is other:
            return digit(field, values & more)
        case Is(field, values), Is(other, more) if field is other:
            kept = frozenset(values) & frozenset(more)
            return Is(field, kept) if kept else FALSE  # type: ignore[arg-type]  # both hold one type
        case _:
            return None
