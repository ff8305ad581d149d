"""Cedar's syntax tree, as far as it can be enforced: what `parse` gives and `compile` takes.

Whatever has no node here was refused by `parse` with its place in the file.
"""

from dataclasses import dataclass

from policies.model import Effect, PolicyId


@dataclass(frozen=True, slots=True)
class Entity:
    """`Group::"clinical"`."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Lit:
    """A constant."""

    value: bool | int | str | Entity


@dataclass(frozen=True, slots=True)
class SetOf:
    """`[a, b]`."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Var:
    """`principal`, `action`, `resource` or `context`."""

    name: str


@dataclass(frozen=True, slots=True)
class Attr:
    """`base.name`."""

    base: "Node"
    name: str


@dataclass(frozen=True, slots=True)
class HasAttr:
    """`base has name`."""

    base: "Node"
    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """`and or eq not_eq less less_eq greater greater_eq in contains contains_all contains_any`."""

    name: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Negate:
    """`!item`."""

    item: "Node"


@dataclass(frozen=True, slots=True)
class If:
    """`if condition then yes else no`."""

    condition: "Node"
    yes: "Node"
    no: "Node"


@dataclass(frozen=True, slots=True)
class LikePattern:
    """`base like "a*b"`: literal parts with any run of characters between them."""

    base: "Node"
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsType:
    """`base is Type`, or `base is Type in within`."""

    base: "Node"
    type: str
    within: "Node | None" = None


Node = Lit | SetOf | Var | Attr | HasAttr | Op | Negate | If | LikePattern | IsType


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One `when` or `unless`, with its text for people."""

    negated: bool
    body: Node
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy as written, with where it stands. Scope parts are nodes too: `principal in Group::"x"`; None is any."""

    id: PolicyId
    effect: Effect
    file: str
    line: int
    reason: str
    principal: Node | None
    actions: tuple[str, ...] | None  # names of actions or groups; None is any
    action_is_exact: bool  # `==`: a group's name then means the group itself, which no request has
    resource: Node | None
    clauses: tuple[Clause, ...]
    text: str
