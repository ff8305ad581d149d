"""The vocabulary of a decision: requests, rules, expressions. Frozen values, no behaviour beyond their shape.

`Rules` is what `compile` makes of Cedar, what `evaluate` decides in Python, and what the agent lowers to Envoy.
Three engines must agree on it, so it holds nothing that one of them could not decide exactly.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import NewType

from policies.arguments import Argument, Arguments

PolicyId = NewType("PolicyId", str)
"""The value of a policy's `@id` annotation: [a-z0-9][a-z0-9._-]{0,63}."""

ACTION_GROUPS: dict[str, tuple[str, ...]] = {
    "infer": ("chat", "completion", "respond", "tensor", "media"),
    "embed": (),
    "train": (),
    "federate": ("join", "fl-push", "fl-pull"),
    "transfer": ("push", "pull"),
    "tool": (),
    "message": (),
    "discover": (),
    "admin": (),
    "connect": (),
}
"""Action group -> its members; a group without members is itself an action."""

ACTIONS: frozenset[str] = frozenset(
    action for group, members in ACTION_GROUPS.items() for action in (members or (group,))
)

RESOURCE_KINDS: tuple[str, ...] = ("Model", "Dataset", "Tool", "Service")
CLASS_MAX = 4
"""Data classes and tiers are single digits, 0 to 4: compared as strings in the proxy, never parsed there."""
DAY_MS = 86_400_000
NOW_MAX_MS = 253_402_300_799_999
"""`context.now` lies between 1970 and the end of the year 9999: what a proxy can compare with."""


class Effect(Enum):
    """What a matching rule does. Forbid wins over permit; no permit is deny."""

    PERMIT = "permit"
    FORBID = "forbid"


class Code(Enum):
    """Why a request was denied. These words reach applications and records; do not rename them."""

    NO_PERMIT = "no_permit"
    FORBIDDEN = "forbidden"
    UNEVALUABLE = "unevaluable"
    LEASE_EXPIRED = "lease_expired"
    REVOKED = "revoked"
    UNREADABLE_BODY = "unreadable_body"
    CLAIM_NOT_ALLOWED = "claim_not_allowed"
    UNKNOWN_RESOURCE = "unknown_resource"
    PEER_UNREACHABLE = "peer_unreachable"


# --- expressions -------------------------------------------------------------------------------------------------


class Field(Enum):
    """An input that is only known when a request comes. The value is its Cedar path."""

    PRINCIPAL_SITE = "principal.site"  # str
    PRINCIPAL_JURISDICTION = "principal.jurisdiction"  # str, upper case
    PRINCIPAL_TIER = "principal.tier"  # digit
    PRINCIPAL_PURPOSES = "principal.purposes"  # set of str
    PRINCIPAL_REGIONS = "principal.regions"  # set of str
    PRINCIPAL_CLASS_CEILING = "principal.class_ceiling"  # digit
    PURPOSE = "context.purpose"  # str
    DATA_CLASS = "context.data_class"  # digit
    SUBJECT_REGION = "context.subject_region"  # str, may be absent
    PROTOCOL = "context.protocol"  # str
    METHOD = "context.method"  # str
    PATH = "context.path"  # str
    STREAM = "context.stream"  # bool

    __hash__ = object.__hash__  # members are equal when they are one; Enum's own is slow


DIGIT_FIELDS = frozenset({Field.PRINCIPAL_TIER, Field.PRINCIPAL_CLASS_CEILING, Field.DATA_CLASS})
SET_FIELDS = frozenset({Field.PRINCIPAL_PURPOSES, Field.PRINCIPAL_REGIONS})
CARRIED = frozenset({Field.PURPOSE, Field.SUBJECT_REGION, Field.PROTOCOL, Field.METHOD, Field.PATH})
"""Strings that the request carries; others are parts of the certificate."""


@dataclass(frozen=True, slots=True)
class Bool:
    """A constant, left where folding ended: `Bool(True)` is an empty condition."""

    value: bool


@dataclass(frozen=True, slots=True)
class Is:
    """A field of strings or booleans equals one of `values` (`==`, or `[…].contains(field)`), or an absent one none."""

    field: Field
    values: frozenset[str] | frozenset[bool]


@dataclass(frozen=True, slots=True)
class Digit:
    """A digit field is one of `values` (0 to 4). Every `<`, `<=`, `==` on digits becomes this."""

    field: Field
    values: frozenset[int]


@dataclass(frozen=True, slots=True)
class Holds:
    """A set field of the principal contains `value`."""

    field: Field
    value: str


@dataclass(frozen=True, slots=True)
class Like:
    """A string field matches a pattern: literal parts, any run of characters between them (Cedar's `like`)."""

    field: Field
    parts: tuple[str, ...]
    """`fr*` is ("fr", ""); `*` is ("", ""); no wildcard is one part."""


@dataclass(frozen=True, slots=True)
class Only:
    """A set field of the principal holds nothing but `values`; with none of them, it is empty."""

    field: Field
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Same:
    """Two string fields of the request are equal. One that is absent equals nothing."""

    field: Field
    other: Field


@dataclass(frozen=True, slots=True)
class Before:
    """`context.now` is before this moment, in milliseconds since 1970."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day (UTC) of `context.now` lies in [from, until), in milliseconds since midnight."""

    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class InRange:
    """`context.source_ip` lies in a network, in its one spelling: `10.0.0.0/8`."""

    network: str


@dataclass(frozen=True, slots=True)
class Has:
    """An optional field is present. Only `SUBJECT_REGION` is optional."""

    field: Field


@dataclass(frozen=True, slots=True)
class PrincipalIn:
    """The principal is `id`, or below it: kind is Node (by `<node>.<site>`), Site, Jurisdiction or Group."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    item: "Expr"


@dataclass(frozen=True, slots=True)
class And:
    """All of at least two items, evaluated in order."""

    items: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of at least two items, evaluated in order. `if a then b else c` is `a && b || !a && c`."""

    items: tuple["Expr", ...]


Circumstance = Before | Clock | InRange
"""When, and from where."""
Question = Bool | Is | Digit | Holds | Only | Like | Same | Has | PrincipalIn | Circumstance | Argument
Expr = Question | Not | And | Or

# --- rules -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class ResourceKey:
    """A declared resource: kind and name are looked up byte-exact. `node` is `<node>.<site>`."""

    kind: str
    name: str
    node: str

    @property
    def uid(self) -> str:
        """The Cedar entity id: `ngram@gpu-1.berlin`."""
        return f"{self.name}@{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One policy, specialised: it concerns these actions on these resources when `when` holds.

    A policy whose residue differs between resources becomes several rules with one id.
    """

    id: PolicyId
    effect: Effect
    actions: frozenset[str]
    resources: frozenset[ResourceKey]
    when: Expr
    reason: str = ""
    """The `@reason` annotation, shown to the denied local application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one sidecar enforces in one direction. `resources` are all that exist; others are unknown: deny."""

    rules: tuple[Rule, ...]
    resources: frozenset[ResourceKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller, as its certificate says."""

    node: str  # `<node>.<site>`
    site: str
    jurisdiction: str
    tier: int
    groups: frozenset[str]
    purposes: frozenset[str]
    regions: frozenset[str]
    class_floor: int
    class_ceiling: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request after classification and after its claims were accepted. `resource` None: unknown or unread.

    Where rules ask for a time, an address or an argument that is not known, the decision is `unevaluable`.
    """

    principal: Principal
    action: str
    resource: ResourceKey | None
    purpose: str
    data_class: int
    subject_region: str | None
    protocol: str
    method: str
    path: str
    stream: bool
    now_ms: int | None = None
    source_ip: IPv4Address | IPv6Address | None = None  # as the callee sees it; a caller cannot know it
    arguments: Arguments | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Allowed iff `code` is None. `because` are the rules that caused it; empty when nothing matched."""

    code: Code | None
    because: tuple[PolicyId, ...]

    @property
    def allowed(self) -> bool:
        return self.code is None
