"""Can a condition be true of some request, and of which? Exact over the values that conditions can tell apart.

A request is an assignment of variables: one per field, and one per word that a set may hold. Variables are tried one after
another on the values that `domains` gives them, and what is left of the condition is simplified; nothing is sampled. A
leaf that is not understood here counts as free: then an answer may be a request that does not exist, never the reverse.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from policies import arguments, circumstances, patterns, simplify
from policies.arguments import Argument
from policies.model import (
    CLASS_MAX,
    DIGIT_FIELDS,
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

Variable = Field | Expr | str
"""A field of one value, `NOW`, `SOURCE`, or a leaf that is true or false by itself: what a set holds, a group, a node."""
NOW, SOURCE = "context.now", "context.source_ip"
ARGUMENT = "context.arguments."
"""Before the name of one."""
Value = str | int | bool | None
Domains = Mapping[Variable, Sequence[Value]]
MAX_STEPS = 20_000
_PLACES = {"Site": Field.PRINCIPAL_SITE, "Jurisdiction": Field.PRINCIPAL_JURISDICTION}
_CLAIMED = ((Field.PRINCIPAL_PURPOSES, Field.PURPOSE), (Field.PRINCIPAL_REGIONS, Field.SUBJECT_REGION))


class UndecidedError(Exception):
    """Too many possibilities to look at: nothing can be said."""


@dataclass(slots=True)
class _Budget:
    steps: int = MAX_STEPS

    def spend(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise UndecidedError


def witness(expr: Expr, domains: Domains | None = None) -> dict[Variable, Value] | None:
    """Values that make `expr` true, None if there are none. Variables that do not matter are left out.

    `domains` says what some fields can be; others are anything of their grammar. Raises UndecidedError.
    """
    return _solve(_placed(expr), dict(_domains(expr, domains or {})), _Budget())


def consistent(*exprs: Expr) -> Expr:
    """What is true of every request and that the leaves of `exprs` do not say themselves, as a condition.

    A claimed purpose is one of the caller's, so is a region, and none is claimed only by who has none; a class is not
    above the ceiling; a node is in its site and is no other node.
    """
    leaves = {leaf for expr in exprs for leaf in _leaves(expr)}
    rules: list[Expr] = []
    for held, claim in _CLAIMED:
        for word in {leaf.value for leaf in leaves if isinstance(leaf, Holds) and leaf.field is held}:
            rules.append(simplify.either(Not(Is(claim, frozenset({word}))), Holds(held, word)))
            if claim is Field.SUBJECT_REGION:
                rules.append(simplify.either(Has(claim), Not(Holds(held, word))))
    rules += _below_ceiling(leaves)
    for held, claim in _CLAIMED:
        rules += _whole_sets(leaves, held, claim)
    nodes = sorted(leaf.id for leaf in leaves if isinstance(leaf, PrincipalIn) and leaf.kind == "Node")
    for number, node in enumerate(nodes):
        absent = Not(PrincipalIn("Node", node))
        rules.append(simplify.either(absent, Is(Field.PRINCIPAL_SITE, frozenset({node.partition(".")[2]}))))
        rules += [simplify.either(absent, Not(PrincipalIn("Node", other))) for other in nodes[:number]]
    return simplify.both(*rules)


def _whole_sets(leaves: set[Expr], held: Field, claim: Field) -> Iterator[Expr]:
    """A set that holds nothing but some words holds no other, and so is what is claimed of it."""
    words = {leaf.value for leaf in leaves if isinstance(leaf, Holds) and leaf.field is held}
    only = [leaf for leaf in leaves if isinstance(leaf, Only) and leaf.field is held]
    unclaimed = Not(Has(claim)) if claim is Field.SUBJECT_REGION else simplify.FALSE
    for leaf in only:
        yield simplify.either(Not(leaf), unclaimed, simplify.word(claim, leaf.values))
        yield from (simplify.either(Not(leaf), Not(Holds(held, word))) for word in words - leaf.values)
        yield from (simplify.either(Not(leaf), other) for other in only if leaf.values < other.values)
        if claim is Field.SUBJECT_REGION:
            yield simplify.either(leaf, Has(claim))


def _below_ceiling(leaves: set[Expr]) -> Iterator[Expr]:
    asked = {leaf.field for leaf in leaves if isinstance(leaf, Digit)}
    if {Field.DATA_CLASS, Field.PRINCIPAL_CLASS_CEILING} <= asked:
        for ceiling in range(CLASS_MAX):
            yield simplify.either(
                Not(Digit(Field.PRINCIPAL_CLASS_CEILING, frozenset({ceiling}))),
                simplify.digit(Field.DATA_CLASS, range(ceiling + 1)),
            )


def _solve(expr: Expr, domains: Domains, budget: _Budget) -> dict[Variable, Value] | None:
    if isinstance(expr, Bool):
        return {} if expr.value else None
    budget.spend()
    variable = _first(expr)
    values = domains.get(variable, (True, False))
    for value in values:
        found = _solve(_assign(expr, variable, value), domains, budget)
        if found is not None:
            return {variable: value, **found}
    return None


def _first(expr: Expr) -> Variable:
    """The variable of the leaf that is met first."""
    leaf = next(_leaves(expr))
    match leaf:
        case Is(field, _) | Digit(field, _) | Like(field, _) | Has(field) | Same(field, _):
            return field
        case Before() | Clock():
            return NOW
        case InRange():
            return SOURCE
        case Argument(name, _):
            return ARGUMENT + name
    return leaf


def _assign(expr: Expr, variable: Variable, value: Value) -> Expr:
    """What is left of a condition when a variable is known."""
    match expr:
        case Not(item):
            return simplify.negate(_assign(item, variable, value))
        case And(items):
            return simplify.both(*(_assign(item, variable, value) for item in items))
        case Or(items):
            return simplify.either(*(_assign(item, variable, value) for item in items))
        case Is(field, values) | Digit(field, values) if field is variable:
            return Bool(value in values)
        case Argument(name, parts) if variable == ARGUMENT + name:
            return Bool(isinstance(value, str) and simplify.matches(parts, value))
        case Like(field, parts) if field is variable:
            return Bool(isinstance(value, str) and simplify.matches(parts, value))
        case Has(field) if field is variable:
            return Bool(value is not None)
        case Same(field, other) if variable in (field, other):
            rest = other if field is variable else field
            return simplify.word(rest, (value,)) if isinstance(value, str) else simplify.FALSE
        case Before() | Clock() if variable == NOW:
            return Bool(circumstances.answer(expr, value))
        case InRange() if variable == SOURCE:
            return Bool(circumstances.answer(expr, value))
        case _:
            return Bool(value is True) if expr == variable else expr


def _placed(expr: Expr) -> Expr:
    """Being in a site is having it as one's site: one variable, not two."""
    match expr:
        case Not(item):
            return simplify.negate(_placed(item))
        case And(items):
            return simplify.both(*map(_placed, items))
        case Or(items):
            return simplify.either(*map(_placed, items))
        case PrincipalIn(kind, id_) if kind in _PLACES:
            return Is(_PLACES[kind], frozenset({id_}))
        case _:
            return expr


def _domains(expr: Expr, known: Domains) -> Iterator[tuple[Variable, Sequence[Value]]]:
    leaves = set(_leaves(_placed(expr)))
    yield NOW, circumstances.moments(leaves)
    yield SOURCE, circumstances.addresses(leaves)
    yield from _arguments(leaves)
    alike = {field for leaf in leaves if isinstance(leaf, Same) for field in (leaf.field, leaf.other)}
    for field in alike | {leaf.field for leaf in leaves if isinstance(leaf, Is | Digit | Like | Has)}:
        if field in known:
            yield field, known[field]
        elif field in DIGIT_FIELDS:
            yield field, tuple(sorted(simplify.DIGITS))
        elif field is Field.STREAM:
            yield field, (False, True)
        else:
            yield field, _texts(field, leaves)


def _arguments(leaves: set[Expr]) -> Iterator[tuple[Variable, Sequence[Value]]]:
    asked = [leaf for leaf in leaves if isinstance(leaf, Argument)]
    for name in {leaf.name for leaf in asked}:
        shapes = [leaf.parts for leaf in asked if leaf.name == name]
        literals = {parts[0] for parts in shapes if len(parts) == 1}
        try:
            found = patterns.kinds(Field.PROTOCOL, literals, [parts for parts in shapes if len(parts) > 1])
        except patterns.TooManyError as exc:
            raise UndecidedError from exc
        known = dict.fromkeys(("", *found))
        yield ARGUMENT + name, (None, *(text for text in known if arguments.possible((text,))))


def _texts(field: Field, leaves: set[Expr]) -> tuple[Value, ...]:
    same = {field}
    for leaf in leaves:  # what it is compared to can be told apart by more
        if isinstance(leaf, Same) and field in (leaf.field, leaf.other):
            same |= {leaf.field, leaf.other}
    asked = [leaf.values for leaf in leaves if isinstance(leaf, Is) and leaf.field in same]
    literals = {value for values in asked for value in values if isinstance(value, str)}
    liked = [leaf.parts for leaf in leaves if isinstance(leaf, Like) and leaf.field in same]
    try:
        found = patterns.kinds(field, literals, liked)
        for _ in range(len(same) - 1):  # fields that are compared may differ in a value that nothing names
            found = patterns.kinds(field, {*literals, *found}, liked)
    except patterns.TooManyError as exc:
        raise UndecidedError from exc
    return (*found, None) if field is Field.SUBJECT_REGION else found


def _leaves(expr: Expr) -> Iterator[Expr]:
    match expr:
        case Not(item):
            yield from _leaves(item)
        case And(items) | Or(items):
            for item in items:
                yield from _leaves(item)
        case Bool():
            return
        case _:
            yield expr
