"""What is left of a policy for one node, in Cedar's words: for people who ask what a bundle holds. Never parsed again."""

from collections.abc import Sequence
from datetime import UTC, datetime

from policies.arguments import Argument
from policies.model import (
    And,
    Before,
    Bool,
    Clock,
    Digit,
    Expr,
    Has,
    Holds,
    InRange,
    Is,
    Like,
    Not,
    Only,
    Or,
    PrincipalIn,
    Same,
)
from policies.render import quoted


def condition(expr: Expr) -> str:  # noqa: C901, PLR0911, PLR0912  # one arm per operator
    """One line."""
    match expr:
        case Bool(value):
            return str(value).lower()
        case Is(field, values) | Digit(field, values):
            return _one_of(field.value, sorted(map(_word, values)))
        case Holds(field, value):
            return f"{field.value}.contains({quoted(value)})"
        case Only(field, values):
            return f"[{', '.join(map(quoted, sorted(values)))}].containsAll({field.value})"
        case Like(field, parts):
            return f'{field.value} like "{"*".join(quoted(part)[1:-1] for part in parts)}"'
        case Same(field, other):
            return f"{field.value} == {other.value}"
        case Before(at_ms):
            return f'context.now < datetime("{_moment(at_ms)}")'
        case Clock(from_ms, until_ms):
            return f"{_clock(from_ms)} <= time of day < {_clock(until_ms)}"
        case InRange(network):
            return f'context.source_ip.isInRange(ip("{network}"))'
        case Argument(name, ("", "")):
            return f"context.arguments.hasTag({quoted(name)})"
        case Argument(name, (whole,)):
            return f"context.arguments.getTag({quoted(name)}) == {quoted(whole)}"
        case Argument(name, parts):
            return f'context.arguments.getTag({quoted(name)}) like "{"*".join(quoted(part)[1:-1] for part in parts)}"'
        case Has(field):
            base, _, name = field.value.partition(".")
            return f"{base} has {name}"
        case PrincipalIn(kind, id_):
            return f"principal {'==' if kind == 'Node' else 'in'} {kind}::{quoted(id_)}"
        case Not(item):
            return f"!({condition(item)})"
        case And(items):
            return " && ".join(_bracketed(item, Or) for item in items)
        case Or(items):
            return " || ".join(_bracketed(item, And) for item in items)


def _one_of(field: str, words: Sequence[str]) -> str:
    return f"{field} == {words[0]}" if len(words) == 1 else f"[{', '.join(words)}].contains({field})"


def _bracketed(expr: Expr, within: type[And | Or]) -> str:
    """What binds less, or otherwise, than that in which it stands has brackets."""
    return f"({condition(expr)})" if isinstance(expr, within) else condition(expr)


def _word(value: object) -> str:
    return quoted(value) if isinstance(value, str) else str(value).lower()


def _moment(ms: int) -> str:
    text = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03}Z" if ms % 1000 else f"{text}Z"


def _clock(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
    return text if not (seconds % 60 or rest) else f"{text}:{seconds % 60:02}.{rest:03}"
