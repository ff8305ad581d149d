"""When rules allow, as one condition; and a real request for values that make it true."""

import ipaddress
from collections.abc import Collection, Mapping

from policies import arguments, circumstances, simplify
from policies.evaluate import holds
from policies.model import (
    ACTIONS,
    And,
    Bool,
    Digit,
    Effect,
    Expr,
    Field,
    Holds,
    Is,
    Like,
    Not,
    Only,
    Or,
    Principal,
    PrincipalIn,
    Request,
    ResourceKey,
    Rule,
    Rules,
)
from policies.satisfy import ARGUMENT, NOW, SOURCE, Domains, Value, Variable
from policies.table import CALLS, FALLBACK, TABLE, Source

_CALLED = {row.protocol: row for row in TABLE if row.source is Source.CALL}
_ROWS = {(call.action, call.kind): _CALLED[call.protocol] for call in CALLS} | {
    (row.action, row.kind): row
    for row in reversed(TABLE)
    if row.source is not Source.CALL and row.method != "HEAD" and "{}" not in row.path
}
_SOME_DIGEST = "0" * 64
Place = tuple[str, ResourceKey]


def split(rules: Rules) -> dict[Place, tuple[Rule, ...]]:
    """The rules that concern each action on each resource."""
    found: dict[Place, list[Rule]] = {}
    for rule in rules.rules:
        for action in rule.actions:
            for resource in rule.resources:
                found.setdefault((action, resource), []).append(rule)
    return {place: tuple(concerned) for place, concerned in found.items()}


def allowed(rules: Collection[tuple[Effect, Expr]]) -> Expr:
    """Some permit holds and no forbid does."""
    permits = simplify.either(*(when for effect, when in rules if effect is Effect.PERMIT))
    forbids = simplify.either(*(when for effect, when in rules if effect is Effect.FORBID))
    return simplify.both(permits, simplify.negate(forbids))


def of(expr: Expr, caller: Principal) -> Expr:
    """What is left of a condition once its caller is known."""
    match expr:
        case Not(item):
            return simplify.negate(of(item, caller))
        case And(items):
            return simplify.both(*(of(item, caller) for item in items))
        case Or(items):
            return simplify.either(*(of(item, caller) for item in items))
        case PrincipalIn() | Holds() | Only():
            return Bool(holds(expr, _anything(caller)))
        case Is(field, _) | Digit(field, _) | Like(field, _) if field in _OF_PRINCIPAL:
            return Bool(holds(expr, _anything(caller)))
        case _:
            return expr


_OF_PRINCIPAL = frozenset(field for field in Field if field.value.startswith("principal."))


def _anything(caller: Principal) -> Request:
    """Some request of the caller, for conditions that only ask about the caller."""
    return Request(
        principal=caller,
        action="",
        resource=None,
        purpose="",
        data_class=0,
        subject_region=None,
        protocol="",
        method="",
        path="",
        stream=False,
    )


def claims(caller: Principal) -> Domains:
    """What a caller can claim within its certificate (invariant 4)."""
    return {
        Field.PURPOSE: tuple(sorted(caller.purposes)),
        Field.DATA_CLASS: tuple(range(caller.class_floor, caller.class_ceiling + 1)),
        Field.SUBJECT_REGION: tuple(sorted(caller.regions)) or (None,),
    }


def usual(action: str, resource: ResourceKey) -> tuple[str, str, str]:
    """Protocol, method and path that such a request most often has."""
    row = _ROWS.get((action, resource.kind), FALLBACK)
    path = (row.path or "/").replace("{name}", resource.name).replace("{digest}", _SOME_DIGEST)
    return row.protocol, row.method or "POST", path


def request(
    caller: Principal, action: str, resource: ResourceKey, values: Mapping[Variable, Value]
) -> Request:
    """The request with these values; what they leave open is as such a request usually is."""
    if action not in ACTIONS or not caller.purposes:
        raise RuntimeError("there is no such request")
    defaults: dict[Variable, Value] = {field: options[0] for field, options in claims(caller).items()}
    protocol, method, path = usual(action, resource)
    defaults |= {Field.PROTOCOL: protocol, Field.METHOD: method, Field.PATH: path, Field.STREAM: False}

    def value(field: Field) -> Value:
        return values.get(field, defaults[field])

    region = value(Field.SUBJECT_REGION)
    return Request(
        principal=caller,
        action=action,
        resource=resource,
        purpose=str(value(Field.PURPOSE)),
        data_class=int(value(Field.DATA_CLASS) or 0),
        subject_region=None if region is None else str(region),
        protocol=str(value(Field.PROTOCOL)),
        method=str(value(Field.METHOD)),
        path=str(value(Field.PATH)),
        stream=bool(value(Field.STREAM)),
        now_ms=int(values.get(NOW, circumstances.USUAL_MS) or 0),
        source_ip=ipaddress.ip_address(str(values.get(SOURCE, circumstances.USUAL_SOURCE))),
        arguments=arguments.of(
            {
                str(name).removeprefix(ARGUMENT): given
                for name, given in values.items()
                if isinstance(name, str) and name.startswith(ARGUMENT) and isinstance(given, str)
            }
        ),
    )
