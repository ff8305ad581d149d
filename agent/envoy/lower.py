"""Conditions of rules as Envoy predicates: native matchers where they are exact, CEL for what is left.

Native matchers cannot fail: an absent input matches nothing. Whether every input is there is asked once, before any rule
(`authorize`). CEL can fail, so it is never put inside a native negation: what is negated is negated inside CEL.
`holds` is true only where the condition is; `fails` only where its negation is. On an error both are false.
"""

from agent.envoy import cel, pb
from agent.envoy.terms import HEADERS, argument, certificate, expression, like_part, word
from policies.arguments import Argument
from policies.expressions import depth
from policies.grammar import is_simple
from policies.model import (
    And,
    Before,
    Bool,
    Clock,
    Digit,
    Expr,
    Has,
    InRange,
    Is,
    Like,
    Not,
    Only,
    Or,
    Same,
)
from policies.simplify import leaves

NATIVE_DEPTH = (
    6  # deeper conditions go to CEL, whose tree is a message of its own: readers stop at 100 levels
)
ANYWHERE = ("0.0.0.0/0", "::/0")


def holds(when: Expr) -> pb.Predicate:
    """True where `when` is true."""
    if is_native(when):
        return native(when)
    if not asks_source(when):
        return cel.predicate(expression(when, cel.Builder()))
    match when:
        case InRange(network):
            return pb.from_network(network)
        case And(items):
            return pb.all_of([holds(item) for item in items])
        case Or(items):
            return pb.any_of([holds(item) for item in items])
        case Not(item):
            return fails(item)
    raise RuntimeError("a question about the source is native")


def fails(when: Expr) -> pb.Predicate:
    """True where `when` is false; not its complement: where `when` cannot be evaluated, neither is true."""
    match when:
        case InRange(network):
            return pb.all_of([pb.from_network(*ANYWHERE), pb.none_of(pb.from_network(network))])
        case And(items) if asks_source(when):
            return pb.any_of([fails(item) for item in items])
        case Or(items) if asks_source(when):
            return pb.all_of([fails(item) for item in items])
        case Not(item):
            return holds(item)
    if is_native(when):
        return pb.none_of(native(when))
    b = cel.Builder()
    return cel.predicate(b.call("!_", expression(when, b)))


def asks_source(when: Expr) -> bool:
    return any(isinstance(leaf, InRange) for leaf in leaves(when))


def is_native(when: Expr) -> bool:
    """Whether string matchers say it all. An address is matched natively too, but counts as what could be absent."""
    return depth(when) <= NATIVE_DEPTH and _is_native(when)


def _is_native(when: Expr) -> bool:
    match when:
        case Bool() | Has() | Same() | Before() | Clock() | InRange():
            return False
        case Only(_, values):
            return not values
        case Like(field, parts):
            return is_simple(field, parts) and not (parts[0] and parts[-1])
        case Not(item):
            return _is_native(item)
        case And(items) | Or(items):
            return all(map(_is_native, items))
    return True


def native(when: Expr) -> pb.Predicate:
    match when:
        case And(items):
            return pb.all_of([native(item) for item in items])
        case Or(items):
            return pb.any_of([native(item) for item in items])
        case Not(item):
            return pb.none_of(native(item))
        case Argument():
            return argument(when)
        case Like(field, parts):
            return _native_like(when) if field in HEADERS else _in_subject(like_part(field, parts))
        case Is(field, values) if field in HEADERS:
            return pb.any_of(
                [pb.test(pb.header(HEADERS[field]), exact=word(v)) for v in sorted(values, key=word)]
            )
        case Digit(field, digits) if field in HEADERS:
            return pb.any_of([pb.test(pb.header(HEADERS[field]), exact=str(d)) for d in sorted(digits)])
    return pb.any_of([pb.all_of([_in_subject(text) for text in texts]) for texts in certificate(when)])


def _native_like(when: Like) -> pb.Predicate:
    value = pb.header(HEADERS[when.field])
    match when.parts:
        case (first, "") if first:
            return pb.test(value, prefix=first)
        case ("", last) if last:
            return pb.test(value, suffix=last)
        case ("", middle, ""):
            return pb.test(value, contains=middle)
    return pb.none_of(pb.test(value, exact=""))


def _in_subject(text: str) -> pb.Predicate:
    if text.startswith("!"):
        return pb.none_of(pb.test(pb.SUBJECT, contains=text[1:]))
    if text.startswith("$"):  # the last part: nothing follows it
        return pb.test(pb.SUBJECT, suffix=text[1:])
    return pb.test(pb.SUBJECT, contains=text)
