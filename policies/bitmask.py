"""Rules as bitmasks: per input and value one integer says in its bit *i* whether rule *i* accepts that value.

Which rules a request leaves is then the AND of a few integers, however many rules there are. What bits cannot express is
left to be checked on the rules that remain.
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from policies import simplify
from policies.model import (
    DAY_MS,
    DIGIT_FIELDS,
    NOW_MAX_MS,
    And,
    Before,
    Clock,
    Digit,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Not,
    Or,
    PrincipalIn,
    Request,
    Rule,
)

Span = tuple[int, int]
_Values = frozenset[object]
_SEVERAL: dict[str, Callable[[Request], Iterable[object]]] = {
    "Group": attrgetter("principal.groups"),
    Field.PRINCIPAL_PURPOSES.value: attrgetter("principal.purposes"),
    Field.PRINCIPAL_REGIONS.value: attrgetter("principal.regions"),
}
_ALWAYS: dict[str, frozenset[object]] = {
    **{field.value: frozenset(simplify.DIGITS) for field in DIGIT_FIELDS},
    Field.STREAM.value: frozenset({False, True}),
    Field.SUBJECT_REGION.value: frozenset({None}),
}
"""Values that requests bring whether rules name them or not."""
MAX_JOINED = 512  # combinations of values that get a mask of their own
_NODE = "principal.node"
MAX_STEPS = 256  # bounds of time that get masks of their own; with more, times are checked rule by rule


class Index:
    """Which values of which input each rule accepts, and what is left of its condition."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._all = (1 << len(rules)) - 1
        accepts: dict[str, dict[_Values, list[int]]] = {}
        spans: dict[str, dict[Span, list[int]]] = {}
        bounds = steps(rules)
        self.rest: list[Expr | None] = []
        for number, rule in enumerate(rules):
            rest: list[Expr] = []
            taken: set[str] = set()
            for item in rule.when.items if isinstance(rule.when, And) else (rule.when,):
                values, span = _constraint(item), _span(item)
                if values is not None and values[0] not in taken:
                    taken.add(values[0])
                    accepts.setdefault(values[0], {}).setdefault(values[1], []).append(number)
                elif span is not None and span[0] not in taken and len(bounds[span[0]]) <= MAX_STEPS:
                    taken.add(span[0])
                    spans.setdefault(span[0], {}).setdefault(span[1], []).append(number)
                else:
                    rest.append(item)
            # A value that must be one of some is there.
            left = [item for item in rest if not (isinstance(item, Has) and item.field.value in taken)]
            self.rest.append(simplify.both(*left) if left else None)
        tables = {slot: self._table(masks) for slot, masks in accepts.items()}
        joined = _joined(
            {slot: _ALWAYS.get(slot, frozenset()) | table.keys() for slot, (table, _) in tables.items()}
        )
        self._joint = self._joined_masks(joined, tables).get
        self._joint_read = _reader(joined)
        self._joint_tables = [(tables[slot][0].get, tables[slot][1]) for slot in joined]
        single = [slot for slot in tables if slot not in _SEVERAL and slot not in joined]
        self._read = _reader(single)
        self._single = [(tables[slot][0].get, tables[slot][1]) for slot in single]
        self._many = [
            (_SEVERAL[slot], tables[slot][0].get, tables[slot][1]) for slot in tables if slot in _SEVERAL
        ]
        self._times = [(slot, *self._stretches(bounds[slot], by_span)) for slot, by_span in spans.items()]

    def candidates(self, request: Request) -> int:
        """The rules that no bit excludes. A request without a time is not asked about it."""
        values = self._joint_read(request)
        live = self._joint(values)
        if live is None:  # a value that no rule names
            live = self._all
            for value, (accepting, otherwise) in zip(values, self._joint_tables, strict=False):
                live &= accepting(value, otherwise)
        if self._single:
            for value, (accepting, otherwise) in zip(self._read(request), self._single, strict=False):
                live &= accepting(value, otherwise)
        if not live:
            return 0
        for read, accepting, otherwise in self._many:
            accepted = otherwise
            for value in read(request):
                accepted |= accepting(value, 0)
            live &= accepted
        now_ms = request.now_ms
        if now_ms is not None:
            for slot, steps, masks in self._times:
                live &= masks[bisect_right(steps, now_ms % DAY_MS if slot == "clock" else now_ms)]
        return live

    def _table(self, accepts: dict[_Values, list[int]]) -> tuple[dict[object, int], int]:
        """Value -> the rules that accept it; and the rules that do not ask, which accept every other value."""
        masks = {values: bits(numbers) for values, numbers in accepts.items()}
        asking = bits(number for numbers in accepts.values() for number in numbers)
        otherwise = self._all & ~asking
        table: dict[object, int] = {}
        for values, mask in masks.items():
            for value in values:
                table[value] = table.get(value, otherwise) | mask
        return table, otherwise

    def _joined_masks(
        self, slots: dict[str, frozenset[object]], tables: dict[str, tuple[dict[object, int], int]]
    ) -> dict[tuple[object, ...], int]:
        """Inputs of few values together: every combination has its mask."""
        found: dict[tuple[object, ...], int] = {}
        for values in itertools.product(*slots.values()):
            mask = self._all
            for value, slot in zip(values, slots, strict=True):
                mask &= tables[slot][0].get(value, tables[slot][1])
            found[values] = mask
        return found

    def _stretches(self, steps: list[int], spans: dict[Span, list[int]]) -> tuple[list[int], list[int]]:
        """Bounds of time, and between each two of them the rules that accept it."""
        otherwise = self._all & ~bits(number for numbers in spans.values() for number in numbers)
        masks = [otherwise] * (len(steps) + 1)
        for (start, end), numbers in spans.items():
            mask = bits(numbers)
            for place in range(bisect_right(steps, start), bisect_right(steps, end - 1) + 1):
                masks[place] |= mask
        return steps, masks


def _joined(domains: dict[str, frozenset[object]]) -> dict[str, frozenset[object]]:
    """The inputs of fewest values, as long as their combinations are few."""
    chosen: dict[str, frozenset[object]] = {}
    for slot, domain in sorted(domains.items(), key=lambda item: (len(item[1]), item[0])):
        if slot not in _SEVERAL and len(domain) * math.prod(map(len, chosen.values())) <= MAX_JOINED:
            chosen[slot] = domain
    return chosen


def _reader(slots: Iterable[str]) -> Callable[[Request], tuple[object, ...]]:
    """One call that reads several inputs; it costs less than a function of our own for each."""
    paths = [slot.removeprefix("context.") for slot in slots]
    if len(paths) > 1:
        return attrgetter(*paths)
    if paths:
        one = attrgetter(*paths)
        return lambda request: (one(request),)
    return lambda _: ()


def steps(rules: Iterable[Rule]) -> dict[str, list[int]]:
    """Every bound of time that rules name."""
    found: dict[str, set[int]] = {"clock": set(), "moment": set()}
    for rule in rules:
        for leaf in simplify.leaves(rule.when):
            if isinstance(leaf, Before):
                found["moment"].add(leaf.at_ms)
            elif isinstance(leaf, Clock):
                found["clock"] |= {leaf.from_ms, leaf.until_ms}
    return {slot: sorted(named) for slot, named in found.items()}


def _span(expr: Expr) -> tuple[str, Span] | None:
    """The one stretch of time in which a condition holds."""
    match expr:
        case Before(at_ms):
            return "moment", (0, at_ms)
        case Not(Before(at_ms)):
            return "moment", (at_ms, NOW_MAX_MS + 1)
        case Clock(from_ms, until_ms):
            return "clock", (from_ms, until_ms)
        case Not(Clock(from_ms, until_ms)) if from_ms == 0:
            return "clock", (until_ms, DAY_MS)
        case Not(Clock(from_ms, until_ms)) if until_ms == DAY_MS:
            return "clock", (0, from_ms)
    return None


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
            return _NODE if kind == "Node" else kind, frozenset({id_})
        case Or(items):
            found = [_constraint(item) for item in items]
            slots = {constraint[0] for constraint in found if constraint is not None}
            if None in found or len(slots) != 1:
                return None
            return slots.pop(), frozenset(value for item in found if item for value in item[1])
        case _:
            return None


def bits(numbers: Iterable[int]) -> int:
    """An integer with these bits set; built in bytes, since big integers are copied on every change."""
    places = list(numbers)
    data = bytearray(max(places, default=0) // 8 + 1)
    for place in places:
        data[place // 8] |= 1 << place % 8
    return int.from_bytes(data, "little")
