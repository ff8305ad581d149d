"""CEL syntax trees, built directly: what native string matchers cannot say.

Every use is on the side where an error denies. Header access is guarded by presence, so that a negation means what the
Python evaluator means by it.
"""

from datetime import UTC, datetime
from itertools import count

from cel.expr.syntax_pb2 import Constant, Expr, ParsedExpr
from xds.type.matcher.v3.cel_pb2 import CelMatcher
from xds.type.v3.cel_pb2 import CelExpression

from agent.envoy import pb


class Builder:
    """Numbers the nodes of one expression, as CEL requires."""

    def __init__(self) -> None:
        self._ids = count(1)

    def text(self, value: str) -> Expr:
        return Expr(id=next(self._ids), const_expr=Constant(string_value=value))

    def number(self, value: int) -> Expr:
        return Expr(id=next(self._ids), const_expr=Constant(int64_value=value))

    def truth(self, value: bool) -> Expr:
        return Expr(id=next(self._ids), const_expr=Constant(bool_value=value))

    def name(self, *path: str) -> Expr:
        found = Expr(id=next(self._ids), ident_expr=Expr.Ident(name=path[0]))
        for field in path[1:]:
            found = Expr(id=next(self._ids), select_expr=Expr.Select(operand=found, field=field))
        return found

    def call(self, function: str, *args: Expr) -> Expr:
        return Expr(id=next(self._ids), call_expr=Expr.Call(function=function, args=args))

    def method(self, target: Expr, function: str, *args: Expr) -> Expr:
        return Expr(id=next(self._ids), call_expr=Expr.Call(target=target, function=function, args=args))

    def both(self, items: list[Expr]) -> Expr:
        """Conjunction; true for none."""
        return self._joined("_&&_", items, empty=True)

    def either(self, items: list[Expr]) -> Expr:
        """Disjunction; false for none."""
        return self._joined("_||_", items, empty=False)

    def _joined(self, function: str, items: list[Expr], *, empty: bool) -> Expr:
        if not items:
            return self.truth(empty)
        while len(items) > 1:  # balanced: CEL bounds the depth of an expression
            pairs = [items[i : i + 2] for i in range(0, len(items), 2)]
            items = [self.call(function, *pair) if len(pair) > 1 else pair[0] for pair in pairs]
        return items[0]

    def moment(self, unix_ms: int) -> Expr:
        text = datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return self.call("timestamp", self.text(f"{text}.{unix_ms % 1000:03}Z"))

    def time(self) -> Expr:
        """When the request came."""
        return self.name("request", "time")

    def header(self, name: str) -> Expr:
        return self.call("_[_]", self.name("request", "headers"), self.text(name))

    def has_header(self, name: str) -> Expr:
        return self.call("@in", self.text(name), self.name("request", "headers"))


def predicate(expression: Expr) -> pb.Predicate:
    """A matcher's predicate over request and connection attributes; an error does not match."""
    parsed = CelExpression(cel_expr_parsed=ParsedExpr(expr=expression))
    return pb.custom(pb.ATTRIBUTES, pb.extension("cel", CelMatcher(expr_match=parsed)))
