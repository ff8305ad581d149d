"""Upper bounds of what a condition can compile to, from its syntax alone: the same answer for every node.

`if` and equality of booleans use an operand twice, two digits expand to pairs, sets multiply, and what is asked of an `if`
between values is asked of either side.
"""

import math

from policies import syntax
from policies.grammar import MAX_DEPTH, MAX_ITEMS, MAX_SOURCE_DEPTH

_DIGIT_PAIRS = 24  # five digits, each with what it is compared to, joined
_BOOLEAN_CALLS = frozenset(
    {"and", "or", "not", "eq", "not_eq", "in", "contains", "contains_all", "contains_any", "is_empty"}
    | {"has_tag", "is_in_range", "is_ipv4", "is_ipv6", "is_loopback", "is_multicast"}
)


def too_complex(policy: syntax.Policy) -> bool:
    """Whether the rules of this policy might exceed what their readers accept."""
    nodes = [
        node for node in (policy.principal, *(clause.node for clause in policy.clauses)) if node is not None
    ]
    deep = 2 + max((depth(node) for node in nodes), default=0)
    asks_source = "context.source_ip" in syntax.variables(*nodes)
    return (
        deep > (MAX_SOURCE_DEPTH if asks_source else MAX_DEPTH)
        or 1 + sum(weight(node) + 1 for node in nodes) > MAX_ITEMS
    )


def weight(node: syntax.Node) -> int:
    """How many nodes an expression can compile to, at most."""
    own = _weight(node)
    if _is_boolean(node) and not isinstance(node, syntax.If):
        # Operators between booleans take their operands as they are; what stands above a choice is said once per side.
        values = [child for child in syntax.children(node) if not _is_boolean(child)]
        ways = math.prod(map(_ways, values))
        return own if ways == 1 else ways * (own + 4)
    return own


def _weight(node: syntax.Node) -> int:
    match node:
        case syntax.If(cond, then, other):
            return 4 + 2 * weight(cond) + weight(then) + weight(other)
        case syntax.Call("contains_all" | "contains_any", (left, right)):
            return 1 + weight(left) * weight(right)
        case syntax.Call("eq" | "not_eq", (left, right)) if _is_set(left) or _is_set(right):
            return 5 + 4 * weight(left) * weight(right)
        case syntax.Call("eq" | "not_eq" | "less" | "less_eq" | "greater" | "greater_eq", (left, right)):
            fields = not isinstance(left, syntax.Lit) and not isinstance(right, syntax.Lit)
            return (_DIGIT_PAIRS if fields else 7) + 2 * (weight(left) + weight(right))
        case _:
            return 1 + sum(weight(child) for child in syntax.children(node))


def _ways(node: syntax.Node) -> int:
    """How many sides a value has: an `if` in it doubles what is asked of it."""
    if isinstance(node, syntax.If):
        return _ways(node.then) + _ways(node.other)
    return math.prod(_ways(child) for child in syntax.children(node) if not _is_boolean(child))


def _is_set(node: syntax.Node) -> bool:
    return isinstance(node, syntax.SetOf | syntax.RecordOf)


def depth(node: syntax.Node) -> int:
    """How deep an expression can nest, at most; chains become balanced trees in CEL."""
    match node:
        case syntax.If():
            return 4 + max(depth(child) for child in syntax.children(node))
        case syntax.Call("and" | "or" as op):
            chain = _chain(node, op)
            return _balanced(len(chain)) + max(depth(child) for child in chain)
        case syntax.SetOf(items):
            return 1 + _balanced(len(items)) + max((depth(item) for item in items), default=0)
        case syntax.Call("eq" | "not_eq" | "less" | "less_eq" | "greater" | "greater_eq"):
            return 4 + max(depth(child) for child in syntax.children(node))
        case syntax.Call("is_loopback" | "is_multicast"):
            return 3
        case _:
            return 1 + max((depth(child) for child in syntax.children(node)), default=0)


def _balanced(leaves: int) -> int:
    return max(1, (leaves - 1).bit_length())


def _is_boolean(node: syntax.Node) -> bool:
    match node:
        case syntax.Call(op):
            return op in _BOOLEAN_CALLS or op.startswith(("less", "greater", "decimal_"))
        case syntax.Lit(value):
            return isinstance(value, bool)
        case syntax.Attr(_, name):
            return name == "stream"
        case _:
            return isinstance(node, syntax.If | syntax.HasAttr | syntax.Matches | syntax.IsKind)


def _chain(node: syntax.Node, op: str) -> list[syntax.Node]:
    """The operands of `a && b && c`, however it is bracketed."""
    pending, found = [node], []
    while pending:
        item = pending.pop()
        if isinstance(item, syntax.Call) and item.op == op:
            pending += item.args
        else:
            found.append(item)
    return found
