"""What the control plane asserts of a node, as parts of its certificate's subject.

DER order: CN, O, serialNumber, L, C, then the OUs sorted. Envoy renders a subject as RFC 2253, reversed: the OUs come
first, every part that is matched is followed by a comma, and the text up to and including `L=<site>,` is the whole
attribute class. Values are `[a-z0-9-]`, so nothing is ever escaped.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from certs import der
from certs.errors import ChainError, ProfileError
from certs.spiffe import SpiffeId

DIGIT_MAX = 4
VALUE = re.compile(r"[a-z0-9-]{1,48}")
EPOCH = re.compile(r"[1-9][0-9]{0,8}")
DIGIT = re.compile(r"[0-4]")  # one spelling per value: `tier:02` is no tier
MAX_VALUES = 64  # of each kind: a subject stays below what TLS stacks and headers carry
DIGITS = {"tier": "tier", "class-floor": "class_floor", "class-ceiling": "class_ceiling"}
SETS = {"group": "groups", "purpose": "purposes", "region": "regions"}
RENDERED = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.LOCALITY_NAME: "L",
    NameOID.COUNTRY_NAME: "C",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """A node's attributes. Digits are 0 to 4; values `[a-z0-9-]{1,48}`; at most 64 of each kind."""

    tier: int = 0
    groups: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    class_floor: int = 0
    class_ceiling: int = 0

    def __post_init__(self) -> None:
        for name in DIGITS.values():
            if not 0 <= getattr(self, name) <= DIGIT_MAX:
                raise ProfileError(f"{name} `{getattr(self, name)}` is not 0 to {DIGIT_MAX}")
        for name in SETS.values():
            values = getattr(self, name)
            if len(values) > MAX_VALUES:
                raise ProfileError(f"{name}: `{len(values)}` values, at most {MAX_VALUES}")
            for value in values:
                if not VALUE.fullmatch(value):
                    raise ProfileError(f"{name}: `{value[:64]}` is not 1 to 48 of a-z 0-9 -")
        if self.class_floor > self.class_ceiling:
            raise ProfileError(
                f"class floor `{self.class_floor}` is above the ceiling `{self.class_ceiling}`"
            )

    def units(self) -> list[str]:
        """The OU values, sorted."""
        digits = [f"{unit}:{getattr(self, name)}" for unit, name in DIGITS.items()]
        return sorted(
            digits + [f"{unit}:{value}" for unit, name in SETS.items() for value in getattr(self, name)]
        )


def subject(spiffe_id: SpiffeId, epoch: int, attributes: Attributes) -> x509.Name:
    """The subject of a node's certificate, or of a workload's below it."""
    # A trust domain may be longer than X.520's 64 for O: the bound matters to no verifier we meet.
    return x509.Name(
        [
            x509.NameAttribute(oid, value, _type(oid), _validate=False)
            for oid, value in _parts(spiffe_id, epoch, attributes)
        ]
    )


def subject_der(spiffe_id: SpiffeId, epoch: int, attributes: Attributes) -> bytes:
    """The bytes of `subject` in less than half the time: verifying and issuing need no more. A test compares both."""
    parts = _parts(spiffe_id, epoch, attributes)
    return der.sequence(*(_encoded(oid, value) for oid, value in parts))


def _parts(
    spiffe_id: SpiffeId, epoch: int, attributes: Attributes
) -> Sequence[tuple[x509.ObjectIdentifier, str]]:
    if not EPOCH.fullmatch(str(epoch)):
        raise ProfileError(f"epoch `{epoch}` is not 1 to 999999999")
    return [
        (NameOID.COMMON_NAME, spiffe_id.workload or spiffe_id.node),
        (NameOID.ORGANIZATION_NAME, spiffe_id.trust_domain),
        (NameOID.SERIAL_NUMBER, str(epoch)),
        (NameOID.LOCALITY_NAME, spiffe_id.site),
        (NameOID.COUNTRY_NAME, spiffe_id.jurisdiction),
        *((NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in attributes.units()),
    ]


def _type(oid: x509.ObjectIdentifier) -> _ASN1Type:
    printable = {NameOID.COUNTRY_NAME, NameOID.SERIAL_NUMBER}
    return _ASN1Type.PrintableString if oid in printable else _ASN1Type.UTF8String


@lru_cache(maxsize=1024)  # site, country, trust domain and units are those of many nodes
def _encoded(oid: x509.ObjectIdentifier, value: str) -> bytes:
    """One part of a name: a set of one pair."""
    pair = der.sequence(der.oid(oid.dotted_string), der.tlv(_type(oid).value, value.encode()))
    return der.tlv(0x31, pair)


def rendered(name: x509.Name) -> str:
    """As Envoy gives a subject to matchers and logs."""
    return ",".join(f"{RENDERED[part.oid]}={part.value!s}" for part in reversed(list(name)))


def from_subject(name: x509.Name, spiffe_id: SpiffeId) -> tuple[int, Attributes]:
    """(epoch, attributes) of a subject that is exactly what `subject` makes; ChainError for any other."""
    values = list(_values(name))
    numbers = [value for oid, value in values if oid == NameOID.SERIAL_NUMBER]
    if len(numbers) != 1 or not EPOCH.fullmatch(numbers[0]):
        raise ChainError("subject must hold exactly one epoch")
    epoch = int(numbers[0])
    attributes = _parse_units([value for oid, value in values if oid == NameOID.ORGANIZATIONAL_UNIT_NAME])
    # As bytes: names that differ only in how parts are grouped or typed compare equal, and Envoy renders them differently.
    if subject_der(spiffe_id, epoch, attributes) != name.public_bytes():
        raise ChainError("subject is not the one this SPIFFE ID and these attributes have")
    return epoch, attributes


def from_rendered(text: str) -> tuple[int, Attributes]:
    """(epoch, attributes) of a subject as Envoy gives it; only for subjects that TLS has already verified."""
    parts = [part.partition("=") for part in text.split(",")]
    numbers = [value for kind, _, value in parts if kind == "serialNumber"]
    if len(numbers) != 1 or not EPOCH.fullmatch(numbers[0]):
        raise ChainError("subject must hold exactly one epoch")
    return int(numbers[0]), _parse_units([value for kind, _, value in parts if kind == "OU"])


def _values(name: x509.Name) -> Iterator[tuple[x509.ObjectIdentifier, str]]:
    for part in name:
        if not isinstance(part.value, str):
            raise ChainError("subject holds bytes where text belongs")
        yield part.oid, part.value


def _parse_units(units: list[str]) -> Attributes:
    digits: dict[str, int] = {}
    sets: dict[str, set[str]] = {name: set() for name in SETS.values()}
    for unit in units:
        kind, _, value = unit.partition(":")
        if kind in DIGITS and DIGITS[kind] not in digits and DIGIT.fullmatch(value):
            digits[DIGITS[kind]] = int(value)
        elif kind in SETS and value not in sets[SETS[kind]]:
            sets[SETS[kind]].add(value)
        else:
            raise ChainError(f"subject holds the unknown or repeated unit `{unit[:64]}`")
    if set(digits) != set(DIGITS.values()):
        raise ChainError("subject lacks tier, class-floor or class-ceiling")
    try:
        return Attributes(**digits, **{name: frozenset(values) for name, values in sets.items()})  # type: ignore[arg-type]
    except ProfileError as exc:
        raise ChainError(f"subject: {exc}") from exc


def within(wanted: Attributes, limit: Attributes) -> Attributes:
    """As much of `wanted` as `limit` holds: what a workload may be below a node; ProfileError if nothing is left of it."""
    regions = wanted.regions & limit.regions
    if limit.regions and not regions:  # no region at all would say less, and so allow more
        raise ProfileError("no region is left within those of the node")
    return Attributes(
        tier=limit.tier,
        groups=wanted.groups & limit.groups,
        purposes=wanted.purposes & limit.purposes,
        regions=regions,
        class_floor=max(wanted.class_floor, limit.class_floor),
        class_ceiling=min(wanted.class_ceiling, limit.class_ceiling),
    )


def narrowed(old: Attributes, new: Attributes) -> bool:
    """May `new` be allowed less than `old`? Then certificates that say `old` must die.

    Any change of groups counts: a forbid may name the group that was added (`quarantine`).
    """
    less = old.groups != new.groups or bool(old.purposes - new.purposes)
    # Fewer regions narrow; more than one where there was one only asks for a claim, which cannot widen what is claimed.
    regions = bool(old.regions - new.regions) or (not old.regions and bool(new.regions))
    digits = new.tier < old.tier or new.class_ceiling < old.class_ceiling or new.class_floor > old.class_floor
    return less or regions or digits


assert {f.name for f in fields(Attributes)} == {*DIGITS.values(), *SETS.values()}  # noqa: S101 - both tables are complete
