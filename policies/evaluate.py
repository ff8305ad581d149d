"""Decide requests by `Rules`, in Python: for explaining, simulating, and judging open streams anew. No clock, no I/O.

Forbid wins, order never matters, no permit is deny, an unknown resource is deny. Rules are numbered; per input and
value one integer says in its bit *i* whether rule *i* accepts that value. A decision is the AND of a dozen
integers; what bits cannot express is checked on the rules that remain.
"""

import functools
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence

from policies import simplify
from policies.model import (
    DAY_MS,
    And,
    Before,
    Bool,
    Clock,
    Code,
    Decision,
    Digit,
    Effect,
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
    PolicyId,
    PrincipalIn,
    Request,
    Rule,
    Rules,
    Same,
)

_Values = frozenset[object]

READ: dict[Field, Callable[[Request], object]] = {
    Field.PRINCIPAL_SITE: lambda request: request.principal.site,
    Field.PRINCIPAL_JURISDICTION: lambda request: request.principal.jurisdiction,
    Field.PRINCIPAL_TIER: lambda request: request.principal.tier,
    Field.PRINCIPAL_PURPOSES: lambda request: request.principal.purposes,
    Field.PRINCIPAL_REGIONS: lambda request: request.principal.regions,
    Field.PRINCIPAL_CLASS_CEILING: lambda request: request.principal.class_ceiling,
    Field.PURPOSE: lambda request: request.purpose,
    Field.DATA_CLASS: lambda request: request.data_class,
    Field.SUBJECT_REGION: lambda request: request.subject_region,
    Field.PROTOCOL: lambda request: request.protocol,
    Field.METHOD: lambda request: request.method,
    Field.PATH: lambda request: request.path,
    Field.STREAM: lambda request: request.stream,
}
"""How each input is found in a request."""


def holds(expr: Expr, request: Request) -> bool:  # one arm per operator
    """Whether a condition is true of a request. An absent string equals nothing and matches nothing."""
    match expr:
        case Bool(value):
            return value
        case Is(field, values) | Digit(field, values):
            return READ[field](request) in values
        case Holds(field, value):
            return value in _set(field, request)
        case Only(field, values):
            return _set(field, request) <= values
        case Same(field, other):
            text = READ[field](request)
            return text is not None and text == READ[other](request)
        case Before() | Clock() | InRange():
            return _circumstance(expr, request)
        case Like(field, parts):
            text = READ[field](request)
            return isinstance(text, str) and simplify.matches(parts, text)
        case Has(field):
            return READ[field](request) is not None
        case PrincipalIn(kind, id_):
            return id_ in _ancestors(kind, request)
        case Not(item):
            return not holds(item, request)
        case And(items):
            return all(holds(item, request) for item in items)
        case Or(items):
            return any(holds(item, request) for item in items)


def _set(field: Field, request: Request) -> frozenset[str]:
    principal = request.principal
    return principal.purposes if field is Field.PRINCIPAL_PURPOSES else principal.regions


def _circumstance(expr: Before | Clock | InRange, request: Request) -> bool:
    """When, and from where. What is not known holds nowhere; the evaluator asks before."""
    if isinstance(expr, InRange):
        return request.source_ip is not None and request.source_ip in _network(expr.network)
    if request.now_ms is None:
        return False
    if isinstance(expr, Before):
        return request.now_ms < expr.at_ms
    return expr.from_ms <= request.now_ms % DAY_MS < expr.until_ms


_network = functools.lru_cache(maxsize=4096)(ipaddress.ip_network)


def _ancestors(kind: str, request: Request) -> Iterable[str]:
    principal = request.principal
    match kind:
        case "Group":
            return principal.groups
        case "Node":
            return (principal.node,)
        case "Site":
            return (principal.site,)
        case _:
            return (principal.jurisdiction,)


class Evaluator:
    """Rules, indexed once, deciding any number of requests."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules.rules
        self._resources = rules.resources
        self._all = (1 << len(self._rules)) - 1
        self._forbids = _bits(i for i, rule in enumerate(self._rules) if rule.effect is Effect.FORBID)
        index = _Index(self._rules)
        self._rest = index.rest
        self._single = index.single_valued()
        self._many = index.many_valued()

    def decide(self, request: Request) -> Decision:
        """The verdict and the policies that caused it, sorted by id."""
        if request.resource not in self._resources:
            return Decision(code=Code.UNKNOWN_RESOURCE, because=())
        live = self._candidates(request)
        forbidden = self._matching(live & self._forbids, request)
        if forbidden:
            return Decision(code=Code.FORBIDDEN, because=forbidden)
        permitted = self._matching(live & ~self._forbids, request)
        return Decision(code=None if permitted else Code.NO_PERMIT, because=permitted)

    def _candidates(self, request: Request) -> int:
        """The rules that no bit excludes."""
        live = self._all
        for read, table, otherwise in self._single:
            live &= table.get(read(request), otherwise)
            if not live:
                return 0
        for read_many, table, otherwise in self._many:
            accepted = otherwise
            for value in read_many(request):
                accepted |= table.get(value, 0)
            live &= accepted
        return live

    def _matching(self, live: int, request: Request) -> tuple[PolicyId, ...]:
        found: set[PolicyId] = set()
        while live:
            lowest = live & -live
            live ^= lowest
            number = lowest.bit_length() - 1
            rest = self._rest[number]
            if rest is None or holds(rest, request):
                found.add(self._rules[number].id)
        return tuple(sorted(found))


_Single = tuple[Callable[[Request], object], dict[object, int], int]
_Many = tuple[Callable[[Request], Iterable[object]], dict[object, int], int]

_ONE: dict[str, Callable[[Request], object]] = {
    "action": lambda request: request.action,
    "resource": lambda request: request.resource,
    "Node": lambda request: request.principal.node,
    **{field.value: read for field, read in READ.items()},
}
_SEVERAL: dict[str, Callable[[Request], Iterable[object]]] = {
    "Group": lambda request: request.principal.groups,
    Field.PRINCIPAL_PURPOSES.value: lambda request: request.principal.purposes,
    Field.PRINCIPAL_REGIONS.value: lambda request: request.principal.regions,
}


class _Index:
    """Which values of which input each rule accepts, and what is left of its condition."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.count = len(rules)
        self.accepts: dict[str, dict[_Values, list[int]]] = {}
        self.rest: list[Expr | None] = []
        for number, rule in enumerate(rules):
            taken = {"action", "resource"}
            self._accept("action", frozenset(rule.actions), number)
            self._accept("resource", frozenset(rule.resources), number)
            rest: list[Expr] = []
            for item in rule.when.items if isinstance(rule.when, And) else (rule.when,):
                constraint = _constraint(item)
                if constraint is None or constraint[0] in taken:
                    rest.append(item)
                    continue
                taken.add(constraint[0])
                self._accept(*constraint, number)
            whole = simplify.both(*rest)
            self.rest.append(None if whole == simplify.TRUE else whole)

    def _accept(self, slot: str, values: _Values, number: int) -> None:
        self.accepts.setdefault(slot, {}).setdefault(values, []).append(number)

    def single_valued(self) -> list[_Single]:
        return [(_ONE[slot], *self._table(slot)) for slot in self.accepts if slot not in _SEVERAL]

    def many_valued(self) -> list[_Many]:
        return [(_SEVERAL[slot], *self._table(slot)) for slot in self.accepts if slot in _SEVERAL]

    def _table(self, slot: str) -> tuple[dict[object, int], int]:
        """Value -> the rules that accept it; and the rules that do not ask, which accept every other value."""
        masks = {values: _bits(numbers) for values, numbers in self.accepts[slot].items()}
        asking = 0
        for mask in masks.values():
            asking |= mask
        otherwise = ((1 << self.count) - 1) & ~asking
        table: dict[object, int] = {}
        for values, mask in masks.items():
            for value in values:
                table[value] = table.get(value, otherwise) | mask
        return table, otherwise


def _constraint(expr: Expr) -> tuple[str, _Values] | None:  # one arm per operator
    """The one input that a condition asks about and the values that it accepts, where bits can say that."""
    match expr:
        case Is(field, values) | Digit(field, values):
            return field.value, frozenset(values)
        case Holds(field, value):
            return field.value, frozenset({value})
        case PrincipalIn("Site", id_):
            return Field.PRINCIPAL_SITE.value, frozenset({id_})
        case PrincipalIn("Jurisdiction", id_):
            return Field.PRINCIPAL_JURISDICTION.value, frozenset({id_})
        case PrincipalIn(kind, id_):
            return kind, frozenset({id_})
        case Or(items):
            found = [_constraint(item) for item in items]
            slots = {constraint[0] for constraint in found if constraint is not None}
            if None in found or len(slots) != 1:
                return None
            return slots.pop(), frozenset(value for item in found if item for value in item[1])
        case _:
            return None


def _bits(numbers: Iterable[int]) -> int:
    """An integer with these bits set; built in bytes, since big integers are copied on every change."""
    places = list(numbers)
    data = bytearray(max(places, default=0) // 8 + 1)
    for place in places:
        data[place // 8] |= 1 << place % 8
    return int.from_bytes(data, "little")


def reasons(rules: Iterable[Rule], because: Iterable[PolicyId]) -> Iterator[str]:
    """The `@reason` of each policy that has one, in the order of `because`."""
    texts = {rule.id: rule.reason for rule in rules}
    return (texts[policy] for policy in because if texts.get(policy))
