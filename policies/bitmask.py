"""Rules as bitmasks: per input and value one integer says in its bit *i* whether rule *i* accepts that value.

Which rules a request leaves is then the AND of a few integers, however many rules there are. What bits cannot express is
left to be checked on the rules that remain.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from policies import simplify
from policies.model import And, Digit, Expr, Field, Holds, Is, Or, PrincipalIn, Request, Rule

_Values = frozenset[object]
_Single = tuple[Callable[[Request], object], Callable[[object, int], int], int]
_Many = tuple[Callable[[Request], Iterable[object]], Callable[[object, int], int], int]

_SEVERAL: dict[str, Callable[[Request], Iterable[object]]] = {
    "Group": attrgetter("principal.groups"),
    Field.PRINCIPAL_PURPOSES.value: attrgetter("principal.purposes"),
    Field.PRINCIPAL_REGIONS.value: attrgetter("principal.regions"),
}
_ONE: dict[str, Callable[[Request], object]] = {
    "Node": attrgetter("principal.node"),
    **{
        field.value: attrgetter(field.value.removeprefix("context."))
        for field in Field
        if field.value not in _SEVERAL
    },
}
"""How an input is read; `attrgetter` costs half of what a function of our own does."""


class Index:
    """Which values of which input each rule accepts, and what is left of its condition."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._all = (1 << len(rules)) - 1
        accepts: dict[str, dict[_Values, list[int]]] = {}
        self.rest: list[Expr | None] = []
        for number, rule in enumerate(rules):
            rest: list[Expr] = []
            taken: set[str] = set()
            for item in rule.when.items if isinstance(rule.when, And) else (rule.when,):
                constraint = _constraint(item)
                if constraint is None or constraint[0] in taken:
                    rest.append(item)
                    continue
                slot, values = constraint
                taken.add(slot)
                accepts.setdefault(slot, {}).setdefault(values, []).append(number)
            whole = simplify.both(*rest)
            self.rest.append(None if whole == simplify.TRUE else whole)
        tables = {slot: self._table(masks) for slot, masks in accepts.items()}
        self._single: list[_Single] = [
            (_ONE[slot], table.get, otherwise)
            for slot, (table, otherwise) in tables.items()
            if slot not in _SEVERAL
        ]
        self._many: list[_Many] = [
            (_SEVERAL[slot], table.get, otherwise)
            for slot, (table, otherwise) in tables.items()
            if slot in _SEVERAL
        ]

    def candidates(self, request: Request) -> int:
        """The rules that no bit excludes."""
        live = self._all
        for read, accepting, otherwise in self._single:
            live &= accepting(read(request), otherwise)
        if not live:
            return 0
        for read_many, accepting, otherwise in self._many:
            accepted = otherwise
            for value in read_many(request):
                accepted |= accepting(value, 0)
            live &= accepted
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


def bits(numbers: Iterable[int]) -> int:
    """An integer with these bits set; built in bytes, since big integers are copied on every change."""
    places = list(numbers)
    data = bytearray(max(places, default=0) // 8 + 1)
    for place in places:
        data[place // 8] |= 1 << place % 8
    return int.from_bytes(data, "little")
