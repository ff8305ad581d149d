"""What an expression is specialised for, and what its parts can be while it is folded."""

from dataclasses import dataclass, field

from policies.arguments import Argument
from policies.model import (
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
    Principal,
    PrincipalIn,
    ResourceKey,
    Same,
)
from policies.moving import Moving


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFacts:
    """What is declared about a resource."""

    key: ResourceKey
    groups: frozenset[str]
    owner: str
    max_class: int
    site: str
    jurisdiction: str
    node_groups: frozenset[str] = frozenset()
    """The groups of the node that serves it."""


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
    fact: bool = field(default=False, compare=False)
    """From a declaration, not from the policy: what is refused must not depend on it."""


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


@dataclass(frozen=True, slots=True)
class Rec:
    """A record that is spelled out."""

    fields: tuple[tuple[str, "Value"], ...]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A datetime or duration (milliseconds), a decimal (ten-thousandths) or an ip (interface), known now."""

    kind: str
    value: object


@dataclass(frozen=True, slots=True)
class Source:
    """`context.source_ip`."""


@dataclass(frozen=True, slots=True)
class AllArguments:
    """`context.arguments`: of the tool that is called."""


@dataclass(frozen=True, slots=True)
class Told:
    """One of them: a string that only a request brings."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """`if cond then … else …` between values that are no booleans; operators are applied to either side."""

    cond: Expr
    then: "Value"
    other: "Value"


Value = (
    Expr
    | Word
    | Number
    | Ref
    | Ent
    | It
    | Many
    | Rec
    | Fixed
    | Source
    | AllArguments
    | Told
    | Choice
    | Moving
)
BOOLEAN = (
    Bool,
    Is,
    Digit,
    Holds,
    Only,
    Like,
    Same,
    Before,
    Clock,
    InRange,
    Has,
    PrincipalIn,
    Argument,
    Not,
    And,
    Or,
)

DECIMAL_ORDER = {
    "decimal_less_than": "less",
    "decimal_less_eq": "less_eq",
    "decimal_greater": "greater",
    "decimal_greater_eq": "greater_eq",
}
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
