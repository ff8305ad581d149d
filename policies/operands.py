"""What an expression is specialised for, and what its parts can be while it is folded."""

from dataclasses import dataclass

from policies.model import (
    And,
    Bool,
    Digit,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Like,
    Not,
    Or,
    Principal,
    PrincipalIn,
    ResourceKey,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFacts:
    """What is declared about a resource."""

    key: ResourceKey
    groups: frozenset[str]
    owner: str
    max_class: int
    site: str
    jurisdiction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What an expression is specialised for. `principal` None: only the request tells. `action` None: any."""

    resource: ResourceFacts
    action: str
    principal: Principal | None


class Refused(Exception):  # noqa: N818  # becomes a Finding in `compile`
    """A construct that cannot be compiled exactly; `token` is how it is found in the source."""

    def __init__(self, message: str, token: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.token, self.hint = message, token, hint


@dataclass(frozen=True, slots=True)
class Word:
    """A string that is known now."""

    value: str


@dataclass(frozen=True, slots=True)
class Number:
    """A long that is known now."""

    value: int


@dataclass(frozen=True, slots=True)
class Ref:
    """A string, digit or set that only a request brings."""

    field: Field


@dataclass(frozen=True, slots=True)
class Ent:
    """An entity that is spelled out."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class It:
    """`principal`, `resource`, `action` or `context` itself."""

    name: str


@dataclass(frozen=True, slots=True)
class Many:
    """A set that is spelled out, or a set of the principal that is known now."""

    items: tuple["Value", ...]


Value = Expr | Word | Number | Ref | Ent | It | Many
BOOLEAN = (Bool, Is, Digit, Holds, Like, Has, PrincipalIn, Not, And, Or)

TOKENS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "neg": "-",
    "is_empty": "isEmpty",
    "get_tag": "getTag",
    "has_tag": "hasTag",
    "contains_all": "containsAll",
    "contains_any": "containsAny",
    "not_eq": "!=",
    "eq": "==",
    "less": "<",
    "less_eq": "<=",
    "greater": ">",
    "greater_eq": ">=",
    "is_ipv4": "isIpv4",
    "is_ipv6": "isIpv6",
    "is_loopback": "isLoopback",
    "is_multicast": "isMulticast",
    "is_in_range": "isInRange",
    "duration_since": "durationSince",
    "to_date": "toDate",
    "to_time": "toTime",
    "to_milliseconds": "toMilliseconds",
    "to_seconds": "toSeconds",
    "to_minutes": "toMinutes",
    "to_hours": "toHours",
    "to_days": "toDays",
    "decimal_less_than": "lessThan",
    "decimal_less_eq": "lessThanOrEqual",
    "decimal_greater": "greaterThan",
    "decimal_greater_eq": "greaterThanOrEqual",
}
"""How Cedar spells an operator whose name in the syntax tree is another."""
