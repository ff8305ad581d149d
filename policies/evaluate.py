"""Decide requests by `Rules`, in Python: for explaining, simulating, and judging open streams anew. No clock, no I/O.

Forbid wins, order never matters, no permit is deny, an unknown resource is deny. Where rules ask for a time, an
address or an argument that is not known, it is `unevaluable`. Rules are found through `policies.bitmask`; nothing is remembered from
one decision to the next.
"""

import functools
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence

from policies import bitmask, simplify
from policies.arguments import Argument, Arguments
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
    ResourceKey,
    Rule,
    Rules,
    Same,
)

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
        case Like(_, parts) | Argument(_, parts):
            text = _text(expr, request)
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


def _text(expr: Like | Argument, request: Request) -> object:
    if isinstance(expr, Like):
        return READ[expr.field](request)
    return request.arguments.get(expr.name) if request.arguments else None


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


NO_PERMIT = Decision(code=Code.NO_PERMIT, because=())
UNKNOWN = Decision(code=Code.UNKNOWN_RESOURCE, because=())
UNEVALUABLE = Decision(code=Code.UNEVALUABLE, because=())
NOTHING_READ = Arguments(read=frozenset())


class _Place:
    """The rules about one action on one resource, in the order of their ids."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.index = bitmask.Index(rules)
        self.forbids = bitmask.bits(i for i, rule in enumerate(rules) if rule.effect is Effect.FORBID)
        asked = {type(leaf) for rule in rules for leaf in simplify.leaves(rule.when)}
        self.timed, self.located = bool(asked & {Before, Clock}), InRange in asked
        self.named = {effect: frozenset(_arguments(rules, effect)) for effect in Effect}
        self.names = frozenset().union(*self.named.values())
        codes = {Effect.FORBID: Code.FORBIDDEN, Effect.PERMIT: None}
        self.alone = [Decision(code=codes[rule.effect], because=(rule.id,)) for rule in rules]

    def decide(self, request: Request) -> Decision:
        if (self.timed and request.now_ms is None) or (self.located and request.source_ip is None):
            return UNEVALUABLE
        if self.names:
            return self._of_tool(request, request.arguments or NOTHING_READ)
        live = self.index.candidates(request)
        forbidding = live & self.forbids
        return (
            (forbidding and self._because(forbidding, request))
            or ((permitting := live ^ forbidding) and self._because(permitting, request))
            or NO_PERMIT
        )

    def _of_tool(self, request: Request, arguments: Arguments) -> Decision:
        """Forbids first, then permits: each only if it is known what they ask for."""
        live = self.index.candidates(request)
        if not arguments.tell(self.named[Effect.FORBID]):
            return UNEVALUABLE
        if forbidden := self._because(live & self.forbids, request):
            return forbidden
        if not arguments.tell(self.named[Effect.PERMIT]):
            return UNEVALUABLE
        return self._because(live & ~self.forbids, request) or NO_PERMIT

    def _because(self, live: int, request: Request) -> Decision | None:
        """The decision of those that hold; all of one effect."""
        found: list[int] = []
        rests = self.index.rest
        while live:
            number = live.bit_length() - 1
            live ^= 1 << number
            rest = rests[number]
            if rest is None or holds(rest, request):
                found.append(number)
        if len(found) < 2:  # noqa: PLR2004  # the usual case is made beforehand
            return self.alone[found[0]] if found else None
        ids = dict.fromkeys(self.rules[number].id for number in reversed(found))
        return Decision(code=self.alone[found[0]].code, because=tuple(ids))


def _arguments(rules: Iterable[Rule], effect: Effect) -> Iterator[str]:
    for rule in rules:
        if rule.effect is effect:
            yield from (leaf.name for leaf in simplify.leaves(rule.when) if isinstance(leaf, Argument))


class Evaluator:
    """Rules, indexed once, deciding any number of requests."""

    def __init__(self, rules: Rules) -> None:
        self._known = rules.resources
        self._steps = bitmask.steps(rules.rules)
        self._places = _places(sorted(rules.rules, key=lambda rule: rule.id), rules.resources)

    def decide(self, request: Request) -> Decision:
        """The verdict and the policies that caused it, sorted by id."""
        key = request.resource
        if key is None:
            return UNKNOWN
        place = self._places.get((key.kind, key.name, key.node, request.action))
        if place is not None:
            return place.decide(request)
        return NO_PERMIT if key in self._known else UNKNOWN

    def holds_until(self, now_ms: int) -> int | None:
        """The next moment at which time alone may change an answer; None: never."""
        midnight = now_ms - now_ms % DAY_MS
        daily = [midnight + day + step for step in self._steps["clock"] for day in (0, DAY_MS)]
        return min((at for at in (*self._steps["moment"], *daily) if at > now_ms), default=None)


def _places(rules: Sequence[Rule], known: frozenset[ResourceKey]) -> dict[tuple[str, str, str, str], _Place]:
    """By kind, name and node of the resource, and action. Places with the same rules are one."""
    alike: dict[tuple[frozenset[ResourceKey], frozenset[str]], list[int]] = {}
    for number, rule in enumerate(rules):
        alike.setdefault((rule.resources, rule.actions), []).append(number)
    at: dict[tuple[str, str, str, str], list[int]] = {}
    groups = list(alike.items())
    for group, ((resources, actions), _) in enumerate(groups):
        for key in resources & known:
            for action in actions:
                at.setdefault((key.kind, key.name, key.node, action), []).append(group)
    made: dict[tuple[int, ...], _Place] = {}
    for some in map(tuple, at.values()):
        if some not in made:
            numbers = sorted(number for group in some for number in groups[group][1])
            made[some] = _Place([rules[number] for number in numbers])
    return {where: made[tuple(some)] for where, some in at.items()}


def reasons(rules: Iterable[Rule], because: Iterable[PolicyId]) -> Iterator[str]:
    """The `@reason` of each policy that has one, in the order of `because`."""
    texts = {rule.id: rule.reason for rule in rules}
    return (texts[policy] for policy in because if texts.get(policy))
