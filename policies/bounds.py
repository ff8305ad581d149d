"""Upper bounds of what a condition can compile to, from its syntax alone: the same answer for every node.

`if` and equality of booleans use an operand twice, two digits expand to pairs, sets multiply, and what is asked of an `if`
between values is asked of either side: of a set of such, of every combination. Each node of the syntax is visited once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies import syntax
from policies.grammar import MAX_DEPTH, MAX_ITEMS, MAX_SOURCE_DEPTH

_DIGIT_PAIRS = 24  # five digits, each with what it is compared to, joined
_COMPARED = frozenset({"eq", "not_eq", "less", "less_eq", "greater", "greater_eq"})
_BOOLEAN_CALLS = (
    _COMPARED
    | {"and", "or", "not", "in", "contains", "contains_all", "contains_any", "is_empty"}
    | {"has_tag", "is_in_range", "is_ipv4", "is_ipv6", "is_loopback", "is_multicast"}
    | {"decimal_less_than", "decimal_less_eq", "decimal_greater", "decimal_greater_eq"}
)


@dataclass(frozen=True, slots=True)
class Bound:
    """What an expression can compile to, at most."""

    weight: int
    """How many nodes; of a value, on the heaviest of its sides."""
    depth: int
    boolean: bool = False
    ways: int = 1
    """How many sides a value has: an `if` in it doubles what is asked of it."""
    choices: int = 0
    """How many levels the choice between these sides takes."""
    choice: int = 0
    """How many nodes one such choice takes."""


_LEAF, _TRUTH = Bound(1, 1), Bound(1, 1, boolean=True)


def too_complex(policy: syntax.Policy, *, asks_source: bool) -> bool:
    """Whether the rules of this policy might exceed what their readers accept."""
    conditions = (policy.principal, *(clause.node for clause in policy.clauses))
    bounds = [_decided(bound(node)) for node in conditions if node is not None]
    depth = 2 + max((one.depth for one in bounds), default=0)
    weight = 1 + sum(one.weight + 1 for one in bounds)
    return depth > (MAX_SOURCE_DEPTH if asks_source else MAX_DEPTH) or weight > MAX_ITEMS


def bound(node: syntax.Node) -> Bound:
    """Of a condition or of a part of one."""
    parts = [bound(child) for child in _operands(node)]
    if not parts:
        return _TRUTH if isinstance(node, syntax.Lit) and isinstance(node.value, bool) else _LEAF
    if isinstance(node, syntax.If):
        return _of_choice(*parts)
    weight, depth = _size(node, parts)
    boolean = _is_boolean(node)
    ways = math.prod(part.ways for part in parts)
    if ways == 1:
        return Bound(weight, depth, boolean)
    levels = [part.choices for part in parts]
    choice = max(part.choice for part in parts)
    depth += sum(levels) - max(levels)  # one within another; what is deepest has counted its own
    found = Bound(weight, depth, boolean, ways, sum(levels), choice)
    return _decided(found) if boolean else found


def _of_choice(cond: Bound, then: Bound, other: Bound) -> Bound:
    cond = _decided(cond)
    choice = 4 + 2 * cond.weight
    depth = 4 + max(cond.depth, then.depth, other.depth)
    if then.boolean or other.boolean:
        return Bound(choice + _decided(then).weight + _decided(other).weight, depth, boolean=True)
    return Bound(
        weight=max(then.weight, other.weight),
        depth=depth,
        ways=then.ways + other.ways,
        choices=2 + max(then.choices, other.choices),
        choice=max(choice, then.choice, other.choice),
    )


def _decided(value: Bound) -> Bound:
    """What stands as a condition: every side is written out, and every choice between them."""
    return Bound(value.ways * value.weight + (value.ways - 1) * value.choice, value.depth, boolean=True)


def _size(node: syntax.Node, parts: Sequence[Bound]) -> tuple[int, int]:
    """Weight and depth where every operand has one side."""
    weight = sum(part.weight for part in parts)
    depth = max(part.depth for part in parts)
    match node:
        case syntax.Call("and" | "or"):
            return weight + len(parts) - 1, depth + _balanced(len(parts))
        case syntax.Call("contains_all" | "contains_any"):
            return 1 + math.prod(part.weight for part in parts), 1 + depth
        case syntax.Call("eq" | "not_eq", args) if any(map(_is_several, args)):
            return 5 + 4 * math.prod(part.weight for part in parts), 4 + depth
        case syntax.Call(op, args) if op in _COMPARED:
            literal = any(isinstance(arg, syntax.Lit) for arg in args)
            return (7 if literal else _DIGIT_PAIRS) + 2 * weight, 4 + depth
        case syntax.Call("is_loopback" | "is_multicast"):
            return 1 + weight, 2 + depth
        case syntax.SetOf():
            return 1 + weight, 1 + depth + _balanced(len(parts))
    return 1 + weight, 1 + depth


def _is_several(node: syntax.Node) -> bool:
    return isinstance(node, syntax.SetOf | syntax.RecordOf)


def _balanced(leaves: int) -> int:
    """Chains become balanced trees in CEL."""
    return max(1, (leaves - 1).bit_length())


def _is_boolean(node: syntax.Node) -> bool:
    match node:
        case syntax.Call(op):
            return op in _BOOLEAN_CALLS
        case syntax.Attr(_, name):
            return name == "stream"
    return isinstance(node, syntax.HasAttr | syntax.Matches | syntax.IsKind)


def _operands(node: syntax.Node) -> Sequence[syntax.Node]:
    """Those of `a && b && c` are three, however it is bracketed."""
    if not isinstance(node, syntax.Call) or node.op not in ("and", "or"):
        return syntax.children(node)
    pending, found = [*node.args], []
    while pending:
        item = pending.pop()
        if isinstance(item, syntax.Call) and item.op == node.op:
            pending += item.args
        else:
            found.append(item)
    return found
