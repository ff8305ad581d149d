"""Syntax back to Cedar text, for people: what a clause says. Never parsed again."""

from policies import syntax
from policies.operands import TOKENS

_INFIX = {
    "and": "&&",
    "or": "||",
    "eq": "==",
    "not_eq": "!=",
    "less": "<",
    "less_eq": "<=",
    "greater": ">",
    "greater_eq": ">=",
    "in": "in",
    "add": "+",
    "sub": "-",
    "mul": "*",
}
_FUNCTIONS = frozenset({"ip", "datetime", "duration", "decimal"})


def text(node: syntax.Node) -> str:  # noqa: C901, PLR0911, PLR0912  # one arm per kind of node
    """One line of Cedar that means the same."""
    match node:
        case syntax.Var(name):
            return name
        case syntax.Lit(bool() as value):
            return "true" if value else "false"
        case syntax.Lit(int() as value):
            return str(value)
        case syntax.Lit(value):
            return quoted(str(value))
        case syntax.Entity(kind, id_):
            return f"{kind}::{quoted(id_)}"
        case syntax.Attr(base, name):
            return f"{_operand(base)}.{name}"
        case syntax.HasAttr(base, name):
            return f"{_operand(base)} has {name}"
        case syntax.Matches(base, parts):
            pattern = "*".join(quoted(part)[1:-1].replace("*", "\\*") for part in parts)
            return f'{_operand(base)} like "{pattern}"'
        case syntax.IsKind(base, kind):
            return f"{_operand(base)} is {kind}"
        case syntax.If(cond, then, other):
            return f"if {text(cond)} then {text(then)} else {text(other)}"
        case syntax.SetOf(items):
            return f"[{', '.join(text(item) for item in items)}]"
        case syntax.RecordOf(fields):
            return f"{{{', '.join(f'{quoted(name)}: {text(value)}' for name, value in fields)}}}"
        case syntax.Call(op, args):
            return _call(op, args)
        case syntax.Foreign(what, _):
            return f"<{what}>"


def _call(op: str, args: tuple[syntax.Node, ...]) -> str:
    if op in _INFIX and len(args) == 2:  # noqa: PLR2004  # infix
        return f" {_INFIX[op]} ".join(_operand(arg) for arg in args)
    if op == "not":
        return f"!{_operand(args[0])}"
    if op in _FUNCTIONS:
        return f"{op}({', '.join(text(arg) for arg in args)})"
    head, *rest = args
    return f"{_operand(head)}.{TOKENS.get(op, op)}({', '.join(text(arg) for arg in rest)})"


def _operand(node: syntax.Node) -> str:
    compound = isinstance(node, syntax.If | syntax.HasAttr | syntax.Matches | syntax.IsKind) or (
        isinstance(node, syntax.Call) and node.op in {*_INFIX}
    )
    return f"({text(node)})" if compound else text(node)


def quoted(value: str) -> str:
    """A string literal."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in escaped) + '"'
