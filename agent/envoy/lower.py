"""Conditions of rules as Envoy predicates: native string matchers where they are exact, CEL for what is left.

Native matchers cannot fail: an absent header matches nothing, which is what the evaluator says too. Inputs are single
valued and well formed, because the classifier sets them and nothing passes without its verdict. CEL can fail, so it is
only used where failing denies, and never inside a native negation.
"""

from collections.abc import Callable

from cel.expr.syntax_pb2 import Expr as CelExpr

from agent.envoy import cel, pb
from policies.model import And, Bool, Digit, Expr, Field, Has, Holds, Is, Like, Not, Or, PrincipalIn

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


def predicate(when: Expr) -> pb.Predicate:
    """A predicate that holds exactly when `when` does."""
    if needs_cel(when):
        return cel.predicate(expression(when, cel.Builder()))
    return _native(when)


def needs_cel(when: Expr) -> bool:
    match when:
        case Bool() | Has():
            return True
        case Like(_, parts):
            return len(parts) == 2 and all(parts)  # noqa: PLR2004 - one wildcard in the middle
        case Not(item):
            return needs_cel(item)
        case And(items) | Or(items):
            return any(map(needs_cel, items))
    return False


def _native(when: Expr) -> pb.Predicate:
    match when:
        case And(items):
            return pb.all_of([_native(item) for item in items])
        case Or(items):
            return pb.any_of([_native(item) for item in items])
        case Not(item):
            return pb.none_of(_native(item))
        case Like(field, parts):
            return _native_like(field, parts)
        case Is(field, values) if field in HEADERS:
            return pb.any_of(
                [pb.test(pb.header(HEADERS[field]), exact=_word(v)) for v in sorted(values, key=_word)]
            )
        case Digit(field, digits) if field in HEADERS:
            return pb.any_of([pb.test(pb.header(HEADERS[field]), exact=str(d)) for d in sorted(digits)])
    return pb.any_of([pb.all_of([_in_subject(text) for text in texts]) for texts in _certificate(when)])


def _native_like(field: Field, parts: tuple[str, ...]) -> pb.Predicate:
    """Prefix, suffix or substring; on a principal's site or jurisdiction these are substrings of the subject."""
    if field in PARTS:
        return _in_subject_like(field, parts)
    value = pb.header(HEADERS[field])
    match parts:
        case ("", ""):
            return pb.none_of(pb.test(value, exact=""))
        case (first, ""):
            return pb.test(value, prefix=first)
        case ("", last):
            return pb.test(value, suffix=last)
        case ("", middle, ""):
            return pb.test(value, contains=middle)
    raise RuntimeError("compile lets only these patterns through")


def _in_subject_like(field: Field, parts: tuple[str, ...]) -> pb.Predicate:
    return pb.test(pb.SUBJECT, contains=_like_part(field, parts))


def _like_part(field: Field, parts: tuple[str, ...]) -> str:
    """What a subject contains exactly when its site or jurisdiction has this prefix or suffix."""
    match parts:
        case (first, ""):
            return f",{PARTS[field]}={first}"
        case ("", last):
            end = {Field.PRINCIPAL_SITE: f"{last},serialNumber=", Field.PRINCIPAL_JURISDICTION: f"{last},L="}
            return end[field]
    raise RuntimeError("compile lets only these patterns through")


def _in_subject(text: str) -> pb.Predicate:
    if text.startswith("$"):  # the last part: nothing follows it
        return pb.test(pb.SUBJECT, suffix=text[1:])
    return pb.test(pb.SUBJECT, contains=text)


def _certificate(when: Expr) -> list[list[str]]:
    """Tests on the subject as alternatives of conjunctions; `$` marks a suffix. See `certs.attributes` for the order."""
    match when:
        case Is(field, values):
            return [[f",{PARTS[field]}={value},"] for value in sorted(map(str, values))]
        case Digit(field, digits):
            return [[f"OU={UNITS[field]}:{digit},"] for digit in sorted(digits)]
        case Holds(field, value):
            return [[f"OU={UNITS[field]}:{value},"]]
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


# --- CEL ---------------------------------------------------------------------------------------------------------


def expression(when: Expr, b: cel.Builder) -> CelExpr:
    """The same condition as CEL, total on every request that has a verdict."""
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
        case Is(field, values) if field in HEADERS:
            return _on_header(b, field, lambda h: _one_of(b, h, [_word(v) for v in values]))
        case Digit(field, digits) if field in HEADERS:
            return _on_header(b, field, lambda h: _one_of(b, h, [str(d) for d in digits]))
        case Like(field, parts) if field in HEADERS:
            return _on_header(b, field, lambda h: _cel_like(b, field, h, parts))
        case Like(field, parts):
            return _cel_subject(b, _like_part(field, parts))
    return b.either([b.both([_cel_subject(b, text) for text in texts]) for texts in _certificate(when)])


def _on_header(b: cel.Builder, field: Field, test: Callable[[CelExpr], CelExpr]) -> CelExpr:
    name = HEADERS[field]
    inner = test(b.header(name))
    return b.call("_&&_", b.has_header(name), inner) if field is Field.SUBJECT_REGION else inner


def _one_of(b: cel.Builder, value: CelExpr, words: list[str]) -> CelExpr:
    return b.either([b.call("_==_", value, b.text(word)) for word in sorted(words)])


def _cel_like(b: cel.Builder, field: Field, value: CelExpr, parts: tuple[str, ...]) -> CelExpr:
    del field
    tests = []
    if parts[0]:
        tests.append(b.method(value, "startsWith", b.text(parts[0])))
    if parts[-1]:
        tests.append(b.method(value, "endsWith", b.text(parts[-1])))
    tests.extend(b.method(value, "contains", b.text(middle)) for middle in parts[1:-1])
    if parts[0] and parts[-1]:  # the two must not overlap
        tests.append(b.call("_>=_", b.call("size", value), b.number(len(parts[0]) + len(parts[-1]))))
    return b.both(tests)


def _cel_subject(b: cel.Builder, text: str) -> CelExpr:
    subject = b.name("connection", "subject_peer_certificate")
    if text.startswith("$"):
        return b.method(subject, "endsWith", b.text(text[1:]))
    return b.method(subject, "contains", b.text(text))


def _word(value: bool | str) -> str:
    return str(value).lower() if isinstance(value, bool) else value
