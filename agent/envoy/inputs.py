"""Is everything that rules read there, once, and in the form that it has? Asked before any rule.

The classifier writes these headers and TLS has verified the certificate, so that on a request with a verdict this holds. If
it does not, something is wrong with us, and a forbid could fail to match: then nothing passes.
"""

from collections.abc import Iterable

from agent.envoy import pb
from agent.envoy.terms import HEADERS, PARTS, UNITS, read_argument
from policies.arguments import Argument
from policies.model import Expr, Field, PrincipalIn
from policies.simplify import leaves

FORMS = {
    Field.PURPOSE: "[a-z0-9-]+",
    Field.DATA_CLASS: "[0-4]",
    Field.SUBJECT_REGION: "[a-z0-9-]+",
    Field.PROTOCOL: "[^,]+",
    Field.METHOD: "[^,]+",
    Field.PATH: "/.*",
    Field.STREAM: "true|false",
}
CLAIMS = (Field.PURPOSE, Field.DATA_CLASS, Field.SUBJECT_REGION)
SUBJECT = "OU=tier:[0-4],.+"


def well_formed(conditions: Iterable[Expr]) -> list[pb.Predicate]:
    """What must be true of a request before these conditions mean anything."""
    asked = read(conditions)
    tests = [_present(field) for field in HEADERS if field in asked]
    return [*tests, pb.pattern(pb.SUBJECT, SUBJECT)] if asked & {*PARTS, *UNITS} else tests


def claimed_twice() -> pb.Predicate:
    """A claim came more than once, and is then joined with a comma: the classifier may have seen the first alone."""
    return pb.any_of([pb.test(pb.header(HEADERS[field]), contains=",") for field in CLAIMS])


def read(conditions: Iterable[Expr]) -> set[Field]:
    """What these conditions ask a request for."""
    return {field for when in conditions for leaf in leaves(when) for field in _fields(leaf)}


def arguments(conditions: Iterable[Expr]) -> list[pb.Predicate]:
    """What of the tool that is called must have been looked for before these conditions mean anything."""
    names = {leaf.name for when in conditions for leaf in leaves(when) if isinstance(leaf, Argument)}
    return [read_argument(name) for name in sorted(names)]


def _fields(leaf: Expr) -> set[Field]:
    if isinstance(leaf, PrincipalIn):
        return {Field.PRINCIPAL_SITE}
    return {value for name in ("field", "other") if isinstance(value := getattr(leaf, name, None), Field)}


def _present(field: Field) -> pb.Predicate:
    well = pb.pattern(pb.header(HEADERS[field]), FORMS[field])
    if field is not Field.SUBJECT_REGION:
        return well
    return pb.any_of([well, pb.none_of(pb.pattern(pb.header(HEADERS[field]), ".*"))])
