"""Upper bounds of what a condition can compile to, from its syntax alone: the same answer for every node.

`if` and equality of booleans use an operand twice, two digits expand to pairs, sets multiply.
"""

from policies import syntax
from policies.grammar import MAX_DEPTH, MAX_ITEMS

_DIGIT_PAIRS = 16
_BOOLEAN_CALLS = frozenset(
    {"and", "or", "not", "eq", "not_eq", "in", "contains", "contains_all", "contains_any"}
)


def too_complex(policy: syntax.Policy) -> bool:
    """Whether the rules of this policy might exceed what their readers accept."""
    nodes = [
        node for node in (policy.principal, *(clause.node for clause in policy.clauses)) if node is not None
    ]
    deep = 2 + max((depth(node) for node in nodes), default=0)
    return deep > MAX_DEPTH or 1 + sum(weight(node) + 1 for node in nodes) > MAX_ITEMS


def weight(node: syntax.Node) -> int:
    """How many nodes an expression can compile to, at most."""
    match node:
        case syntax.If(cond, then, other):
            return 4 + 2 * weight(cond) + weight(then) + weight(other)
        case syntax.Call("contains_all" | "contains_any", (left, right)):
            return 1 + weight(left) * weight(right)
        case syntax.Call("eq" | "not_eq", (left, right)) if _is_boolean(left) or _is_boolean(right):
            return 5 + 2 * (weight(left) + weight(right))
        case syntax.Call("eq" | "not_eq" | "less" | "less_eq" | "greater" | "greater_eq", (left, right)):
            both_fields = isinstance(left, syntax.Attr) and isinstance(right, syntax.Attr)
            return _DIGIT_PAIRS if both_fields else 2
        case _:
            return 1 + sum(weight(child) for child in syntax.children(node))


def depth(node: syntax.Node) -> int:
    """How deep an expression can nest, at most; chains become balanced trees in CEL."""
    match node:
        case syntax.If():
            return 3 + max(depth(child) for child in syntax.children(node))
        case syntax.Call("and" | "or" as op):
            chain = _chain(node, op)
            return _balanced(len(chain)) + max(depth(child) for child in chain)
        case syntax.SetOf(items):
            return 1 + _balanced(len(items)) + max((depth(item) for item in items), default=0)
        case syntax.Call("eq" | "not_eq" | "less" | "less_eq" | "greater" | "greater_eq"):
            return 4 + max(depth(child) for child in syntax.children(node))
        case _:
            return 1 + max((depth(child) for child in syntax.children(node)), default=0)


def _balanced(leaves: int) -> int:
    return max(1, (leaves - 1).bit_length())


def _is_boolean(node: syntax.Node) -> bool:
    match node:
        case syntax.Call(op):
            return op in _BOOLEAN_CALLS or op.startswith(("less", "greater"))
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
