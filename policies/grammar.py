"""The spelling of every word that crosses a boundary: names, ids, digests. One place, so that all ends agree."""

import re

from policies.model import CARRIED, Field

DIGEST = re.compile(r"[0-9a-f]{64}")
RESOURCE_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
"""One grammar for declared names, path segments and the body's `model`: no escapes, no confusables."""
NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""`<node>.<site>`."""
POLICY_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
COUNTRY = re.compile(r"[A-Z]{2}")
WORD = re.compile(r"[a-z0-9-]{1,48}")

KINDS = {"Node": NODE_NAME, "Site": LABEL, "Jurisdiction": COUNTRY, "Group": WORD}
"""What a principal can be in. The proxy compares pieces of the rendered subject: an id outside its grammar, such as
`clinical,OU=tier:4`, would there match two attributes at once. No principal has such an id, so it is never true."""

FIELDS = {
    Field.PRINCIPAL_SITE: LABEL,
    Field.PRINCIPAL_JURISDICTION: COUNTRY,
    Field.PRINCIPAL_PURPOSES: WORD,
    Field.PRINCIPAL_REGIONS: WORD,
    Field.PURPOSE: WORD,
    Field.SUBJECT_REGION: WORD,
}
"""What these fields can hold; the others are free text."""


MAX_POLICIES = 10_000
MAX_DEPTH = 32
MAX_SOURCE_DEPTH = 16
MAX_ITEMS = 4096
"""How deep and how large one condition may be: a proxy must be able to evaluate it per request. The compiler
holds these bounds and every reader checks them. Protobuf readers stop at 100 levels, CEL takes two for each of ours. What
asks for an address is matched outside CEL, within the levels that the matcher tree leaves."""


MAX_ONLY = 49
MAX_WILDCARDS = 5
MAX_PATTERN = 48
"""What a proxy's regular expressions can hold (measured; Envoy bounds their programs): characters of a spelled-out set, each
value with its comma; wildcards and characters of a pattern that is not simple."""


_PARTS = {
    LABEL: re.compile(r"[a-z0-9-]*"),
    COUNTRY: re.compile(r"[A-Z]{0,2}"),
    WORD: re.compile(r"[a-z0-9-]*"),
}


def possible_part(field: Field, part: str) -> bool:
    """Whether a request can bring a value that holds this text."""
    pattern = FIELDS.get(field)
    return pattern is None or _PARTS[pattern].fullmatch(part) is not None


def is_simple(field: Field, parts: tuple[str, ...]) -> bool:
    """Patterns that need no regular expression: `a*`, `*b`; on what a request carries also `a*b`, `*c*`."""
    carried = field in CARRIED
    if len(parts) == 3:  # noqa: PLR2004  # two wildcards
        return carried and not parts[0] and not parts[-1]
    return len(parts) <= 2 and (carried or not all(parts))  # noqa: PLR2004  # at most one wildcard


def enforceable(field: Field, parts: tuple[str, ...]) -> bool:
    """Whether a proxy can match a pattern."""
    small = len(parts) - 1 <= MAX_WILDCARDS and sum(map(len, parts)) <= MAX_PATTERN
    return small or is_simple(field, parts)


def is_prefix(parts: tuple[str, ...]) -> bool:
    """`a*`, and `*`."""
    return len(parts) == 2 and not parts[1]  # noqa: PLR2004  # one wildcard


def enforceable_argument(parts: tuple[str, ...]) -> bool:
    """The same for an argument of a tool: only a prefix needs no regular expression."""
    return is_prefix(parts) or (len(parts) - 1 <= MAX_WILDCARDS and sum(map(len, parts)) <= MAX_PATTERN)


def disjoint(field: Field, other: Field) -> bool:
    """Whether two fields can never hold the same string: one is upper case, the other lower."""
    patterns = {FIELDS.get(field), FIELDS.get(other)}
    return None not in patterns and COUNTRY in patterns and len(patterns) > 1


def possible(field: Field, value: str) -> bool:
    """Whether a request can bring this value at all."""
    pattern = FIELDS.get(field)
    return pattern is None or pattern.fullmatch(value) is not None
