"""Single questions in the two languages of a proxy: texts to look for in a rendered subject, and CEL.

The subject is `certs.attributes`' form as Envoy renders it; the headers are what the classifier writes. CEL here is total
on every request that has a verdict, and header access is guarded where the header may be absent, so that a negation means
what the Python evaluator means by it.
"""

import re
from collections.abc import Callable

from cel.expr.syntax_pb2 import Expr as CelExpr

from agent.envoy import cel, pb
from policies.arguments import Argument
from policies.grammar import is_prefix, is_simple
from policies.model import (
    DAY_MS,
    And,
    Before,
    Bool,
    Clock,
    Digit,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Like,
    Not,
    Only,
    Or,
    PrincipalIn,
    Same,
)

HEADERS = {
    Field.PURPOSE: "writ-purpose",
    Field.DATA_CLASS: "writ-data-class",
    Field.SUBJECT_REGION: "writ-subject-region",
    Field.PROTOCOL: "writ-protocol",
    Field.METHOD: ":method",
    Field.PATH: "writ-path",
    Field.STREAM: "writ-stream",
}
UNITS = {
    Field.PRINCIPAL_TIER: "tier",
    Field.PRINCIPAL_CLASS_CEILING: "class-ceiling",
    Field.PRINCIPAL_PURPOSES: "purpose",
    Field.PRINCIPAL_REGIONS: "region",
}
PARTS = {Field.PRINCIPAL_SITE: "L", Field.PRINCIPAL_JURISDICTION: "C"}
_ENDS = {Field.PRINCIPAL_SITE: ",serialNumber=", Field.PRINCIPAL_JURISDICTION: ",L="}
_BEFORE = {Field.PRINCIPAL_PURPOSES: "[rt]", Field.PRINCIPAL_REGIONS: "t"}
_AFTER = {Field.PRINCIPAL_PURPOSES: "[cg]", Field.PRINCIPAL_REGIONS: "[cgp]"}
"""First letters of the units that a subject has before and after a set's own: they stand in descending order."""
ARGUMENTS = "writ-arguments"
_DAY_S = DAY_MS // 1000


def argument(when: Argument) -> pb.Predicate:
    """What filters are told of arguments (`policies.arguments`) holds this one. Cannot fail."""
    told, text = pb.header(ARGUMENTS), _argument_text(when)
    if text is not None:
        return pb.test(told, contains=text)
    return pb.pattern(told, f"[ -~]*{_argument_pattern(when)}[ -~]*")


def read_argument(name: str) -> pb.Predicate:
    """It was looked for."""
    return pb.any_of([pb.test(pb.header(ARGUMENTS), contains=f'"{name}{end}') for end in '"='])


def _argument_text(when: Argument) -> str | None:
    """What is told where this holds, if one text says it."""
    if len(when.parts) == 1:
        return f'"{when.name}={when.parts[0]}"'
    return f'"{when.name}={when.parts[0]}' if is_prefix(when.parts) else None


def _argument_pattern(when: Argument) -> str:
    return f'"{when.name}={_pattern(when.parts, "[ !#-~]*")}"'


def word(value: bool | str) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def certificate(when: Expr) -> list[list[str]]:
    """Tests on the subject as alternatives of conjunctions; `$` marks a suffix, `!` what must not stand there."""
    match when:
        case Is(field, values):
            return [[f",{PARTS[field]}={value},"] for value in sorted(map(str, values))]
        case Digit(field, digits):
            return [[f"OU={UNITS[field]}:{digit},"] for digit in sorted(digits)]
        case Holds(field, value):
            return [[f"OU={UNITS[field]}:{value},"]]
        case Only(field, values) if not values:
            return [[f"!OU={UNITS[field]}:"]]
        case PrincipalIn("Group", name):
            return [[f"OU=group:{name},"]]
        case PrincipalIn("Site", name):
            return [[f",L={name},"]]
        case PrincipalIn("Jurisdiction", name):
            return [[f",C={name},"]]
        case PrincipalIn("Node", name):
            node, _, site = name.partition(".")
            return [[f",L={site},", f"$,CN={node}"]]
    raise RuntimeError(f"no test for `{type(when).__name__}`")


def like_part(field: Field, parts: tuple[str, ...]) -> str:
    """What a subject contains exactly when its site or jurisdiction has this prefix or suffix."""
    first, last = parts
    return f",{PARTS[field]}={first}" if first else f"{last}{_ENDS[field]}"


# --- CEL ---------------------------------------------------------------------------------------------------------


def expression(when: Expr, b: cel.Builder) -> CelExpr:
    """The same condition as CEL."""
    match when:
        case Bool(value):
            return b.truth(value)
        case And(items):
            return b.both([expression(item, b) for item in items])
        case Or(items):
            return b.either([expression(item, b) for item in items])
        case Not(item):
            return b.call("!_", expression(item, b))
        case Has(field):
            return b.has_header(HEADERS[field])
        case Before(at_ms):
            return b.call("_<_", b.time(), b.moment(at_ms))
        case Clock(from_ms, until_ms):
            return b.both([*_since(b, from_ms), *(b.call("!_", one) for one in _since(b, until_ms % DAY_MS))])
        case Same(field, other):
            same = b.call("_==_", b.header(HEADERS[field]), b.header(HEADERS[other]))
            return _guarded(b, field, _guarded(b, other, same))
        case Only(field, values) if values:
            return b.method(_subject(b), "matches", b.text(_only_pattern(field, values)))
        case Like(field, parts) if field in PARTS:
            if is_simple(field, parts):
                return _in_subject(b, like_part(field, parts))
            return b.method(_subject(b), "matches", b.text(_part_pattern(field, parts)))
    return _on_header(when, b)


def _on_header(when: Expr, b: cel.Builder) -> CelExpr:
    match when:
        case Is(field, values) if field in HEADERS:
            return _header(b, field, lambda h: _one_of(b, h, [word(v) for v in values]))
        case Digit(field, digits) if field in HEADERS:
            return _header(b, field, lambda h: _one_of(b, h, [str(d) for d in digits]))
        case Argument():
            text = _argument_text(when)
            if text is not None:
                return b.method(b.header(ARGUMENTS), "contains", b.text(text))
            return b.method(b.header(ARGUMENTS), "matches", b.text(_argument_pattern(when)))
        case Like(field, parts):
            return _header(b, field, lambda h: _like(b, field, h, parts))
    return b.either([b.both([_in_subject(b, text) for text in texts]) for texts in certificate(when)])


def _like(b: cel.Builder, field: Field, value: CelExpr, parts: tuple[str, ...]) -> CelExpr:
    if not is_simple(field, parts):
        return b.method(value, "matches", b.text(f"^{_pattern(parts, '.*')}$"))
    ends = [("startsWith", parts[0]), ("endsWith", parts[-1]), *(("contains", part) for part in parts[1:-1])]
    tests = [b.method(value, name, b.text(part)) for name, part in ends if part]
    if parts[0] and parts[-1]:  # the two must not overlap
        tests.append(b.call("_>=_", b.call("size", value), b.number(len(parts[0]) + len(parts[-1]))))
    return b.both(tests)


def _since(b: cel.Builder, ms: int) -> list[CelExpr]:
    """The time of day is at or after `ms`; nothing to ask for midnight."""
    if ms == 0:
        return []
    whole, rest = divmod(ms, 1000)
    if rest == 0:
        return [b.call("_>=_", _second(b), b.number(whole))]
    later = b.call("_>_", _second(b), b.number(whole))
    in_it = b.call("_==_", _second(b), b.number(whole))
    at = b.call("_>=_", b.method(b.time(), "getMilliseconds"), b.number(rest))
    return [b.either([later, b.both([in_it, at])])]


def _second(b: cel.Builder) -> CelExpr:
    """Of the day, UTC."""
    return b.call("_%_", b.call("int", b.time()), b.number(_DAY_S))


def _header(b: cel.Builder, field: Field, test: Callable[[CelExpr], CelExpr]) -> CelExpr:
    return _guarded(b, field, test(b.header(HEADERS[field])))


def _guarded(b: cel.Builder, field: Field, inner: CelExpr) -> CelExpr:
    """Only the subject region may be absent; where another header is, the error denies."""
    if field is not Field.SUBJECT_REGION:
        return inner
    return b.call("_&&_", b.has_header(HEADERS[field]), inner)


def _one_of(b: cel.Builder, value: CelExpr, words: list[str]) -> CelExpr:
    return b.either([b.call("_==_", value, b.text(one)) for one in sorted(words)])


def _subject(b: cel.Builder) -> CelExpr:
    return b.name("connection", "subject_peer_certificate")


def _in_subject(b: cel.Builder, text: str) -> CelExpr:
    if text.startswith("!"):
        return b.call("!_", b.method(_subject(b), "contains", b.text(text[1:])))
    if text.startswith("$"):
        return b.method(_subject(b), "endsWith", b.text(text[1:]))
    return b.method(_subject(b), "contains", b.text(text))


def _pattern(parts: tuple[str, ...], wild: str) -> str:
    """RE2: literal parts with `wild` between them."""
    return wild.join(re.sub(r"([^A-Za-z0-9_])", r"\\\1", part) for part in parts)


def _part_pattern(field: Field, parts: tuple[str, ...]) -> str:
    return f",{PARTS[field]}={_pattern(parts, '[A-Za-z0-9-]*')}{_ENDS[field]}"


def _only_pattern(field: Field, values: frozenset[str]) -> str:
    allowed = "|".join(sorted(values))
    return f"^(OU={_BEFORE[field]}[^,]*,)*(OU={UNITS[field]}:({allowed}),)*OU={_AFTER[field]}"
