"""Cedar's syntax as our own frozen values: what `cedar` reads and `compile` specialises. No positions but a policy's.

`Call.op` and attribute names are Cedar's; what we cannot compile is represented too, so that it is refused by name.
"""

from collections.abc import Callable
from dataclasses import dataclass

from policies.lexer import first_line
from policies.model import Effect, PolicyId


@dataclass(frozen=True, slots=True)
class Var:
    """`principal`, `action`, `resource` or `context`."""

    name: str


@dataclass(frozen=True, slots=True)
class Lit:
    """A boolean, a long or a string."""

    value: bool | int | str


@dataclass(frozen=True, slots=True)
class Entity:
    """`Group::"clinical"`."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operator, method or function with its operands."""

    op: str
    args: tuple["Node", ...]


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
class Matches:
    """`base like "fr*"`: literal parts, any run of characters between them."""

    base: "Node"
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsKind:
    """`base is Model`; `is … in` is this and `in`."""

    base: "Node"
    kind: str


@dataclass(frozen=True, slots=True)
class If:
    """`if … then … else …`."""

    cond: "Node"
    then: "Node"
    other: "Node"


@dataclass(frozen=True, slots=True)
class SetOf:
    """`[…]`."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class RecordOf:
    """`{name: …}`, in the order of the names."""

    fields: tuple[tuple[str, "Node"], ...]


@dataclass(frozen=True, slots=True)
class Foreign:
    """What has no counterpart here: a slot in a condition. `token` is how it is found in the source."""

    what: str
    token: str


Node = Var | Lit | Entity | Call | Attr | HasAttr | Matches | IsKind | If | SetOf | RecordOf | Foreign


@dataclass(frozen=True, slots=True)
class Clause:
    """`when { … }`, or `unless { … }` if negated."""

    node: Node
    negated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy as written. `actions` are members, groups expanded; scopes are conditions (None: any)."""

    id: PolicyId
    effect: Effect
    actions: frozenset[str]
    any_action: bool
    principal: Node | None
    resource: Node | None
    clauses: tuple[Clause, ...]
    reason: str
    severity: str
    file: str
    line: int
    """Of the policy's first word, from 1."""
    source: str
    """From its first word to its semicolon."""

    def __hash__(self) -> int:
        """What `compile` remembers is found by policy, again and again: not by its whole tree."""
        return hash((self.id, self.source))

    def line_of(self, token: str) -> int:
        """The line where `token` first stands in this policy, as well as can be told; else the policy's."""
        return self.line + first_line(self.source, token)


def children(node: Node) -> tuple[Node, ...]:
    """The operands of a node."""
    match node:
        case Call(_, args):
            return args
        case Attr(base, _) | HasAttr(base, _) | Matches(base, _) | IsKind(base, _):
            return (base,)
        case If(cond, then, other):
            return (cond, then, other)
        case SetOf(items):
            return items
        case RecordOf(fields):
            return tuple(value for _, value in fields)
        case _:
            return ()


def rebuilt(node: Node, each: Callable[[Node], Node]) -> Node:
    """The node with every operand replaced by what `each` makes of it."""
    match node:
        case Call(op, args):
            return Call(op, tuple(map(each, args)))
        case Attr(base, name):
            return Attr(each(base), name)
        case HasAttr(base, name):
            return HasAttr(each(base), name)
        case Matches(base, parts):
            return Matches(each(base), parts)
        case IsKind(base, kind):
            return IsKind(each(base), kind)
        case If(cond, then, other):
            return If(each(cond), each(then), each(other))
        case SetOf(items):
            return SetOf(tuple(map(each, items)))
        case RecordOf(fields):
            return RecordOf(tuple((name, each(value)) for name, value in fields))
        case _:
            return node


def variables(*nodes: Node | None) -> frozenset[str]:
    """The variables that stand anywhere below; an attribute of one as `context.now` too."""
    found: set[str] = set()
    pending = [node for node in nodes if node is not None]
    while pending:
        node = pending.pop()
        if isinstance(node, Var):
            found.add(node.name)
        elif isinstance(node, Attr) and isinstance(node.base, Var):
            found |= {node.base.name, f"{node.base.name}.{node.name}"}
        else:
            pending += children(node)
    return frozenset(found)
