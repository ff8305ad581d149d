"""Which process is which workload of a node. No clock, no I/O.

A registration names a workload and the selectors that all must hold of a process, as the kernel tells them. A selector has
one spelling. There is none for a program's path or hash: a process can connect first and become that program
afterwards, so it would tell nothing.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from certs import spiffe
from certs.attributes import DIGIT_MAX, MAX_VALUES, SETS, VALUE, Attributes
from certs.errors import ProfileError, SpiffeIdError
from certs.spiffe import LABEL
from policies import decode
from policies.errors import ContentError

MAX_WORKLOADS = 256  # on one node
MAX_SELECTORS = 8
MAX_HINT = 256
MAX_FEDERATED = 16  # trust domains that the workloads of one node federate with, all together
SELECTOR = re.compile(
    r"unix:uid:(0|[1-9][0-9]{0,9})|unix:gid:(0|[1-9][0-9]{0,9})"
    r"|k8s:pod-uid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One registration."""

    name: str
    selectors: tuple[str, ...]  # sorted, at least one
    hint: str = ""  # tells a process with several identities which is which
    attributes: Attributes | None = None  # None: all that its node has
    federates_with: tuple[str, ...] = ()  # trust domains whose bundles it is given; sorted


def check(workload: Workload) -> Workload:
    """The same, or ContentError."""
    if not LABEL.fullmatch(workload.name):
        raise ContentError(f"workload `{workload.name[:64]}` is not a DNS label")
    if not 1 <= len(workload.selectors) <= MAX_SELECTORS:
        raise ContentError(f"workload `{workload.name}` needs 1 to {MAX_SELECTORS} selectors")
    for selector in workload.selectors:
        if not SELECTOR.fullmatch(selector):
            raise ContentError(
                f"`{selector[:80]}` is no selector: unix:uid:N, unix:gid:N or k8s:pod-uid:UUID"
            )
    if list(workload.selectors) != sorted(set(workload.selectors)):
        raise ContentError(f"selectors of workload `{workload.name}` are not sorted and distinct")
    if len(workload.hint.encode()) > MAX_HINT or not workload.hint.isprintable():
        raise ContentError(f"hint of workload `{workload.name}` is not one line of at most {MAX_HINT} bytes")
    try:
        named = sorted(set(map(spiffe.trust_domain, workload.federates_with)))
    except SpiffeIdError as exc:
        raise ContentError(f"workload `{workload.name}`: {exc}") from exc
    if list(workload.federates_with) != named:
        raise ContentError(f"trust domains of workload `{workload.name}` are not sorted and distinct")
    return workload


def check_all(workloads: Sequence[Workload]) -> tuple[Workload, ...]:
    """All of a node's, in the order in which they were registered: the first that a process is stays its default.

    Names and hints are distinct, so that a client can choose by either; ContentError otherwise.
    """
    if len(workloads) > MAX_WORKLOADS:
        raise ContentError(f"a node has at most {MAX_WORKLOADS} workloads")
    checked = tuple(map(check, workloads))
    names = [workload.name for workload in checked]
    hints = [workload.hint for workload in checked if workload.hint]
    if len(set(names)) != len(names):
        raise ContentError("a workload is named twice")
    if len(set(hints)) != len(hints):
        raise ContentError("two workloads of a node have one hint")
    if len(federated(checked)) > MAX_FEDERATED:
        raise ContentError(f"a node's workloads federate with at most {MAX_FEDERATED} trust domains")
    return checked


def federated(workloads: Iterable[Workload]) -> frozenset[str]:
    """The trust domains whose bundles these are given."""
    return frozenset(name for workload in workloads for name in workload.federates_with)


def dump(workload: Workload) -> dict[str, object]:
    """As plain JSON."""
    told = workload.attributes
    attributes: dict[str, object] | None = None
    if told is not None:
        sets = {name: sorted(getattr(told, name)) for name in SETS.values()}
        attributes = {**sets, "class_floor": told.class_floor, "class_ceiling": told.class_ceiling}
    return {
        "name": workload.name,
        "selectors": list(workload.selectors),
        "hint": workload.hint,
        "attributes": attributes,
        "federates_with": list(workload.federates_with),
    }


def load(value: object) -> Workload:
    """The inverse of `dump`; ContentError for anything else. `check_all` judges what it says."""
    fields = decode.record(value, "workload", "name", "selectors", "hint", "attributes", "federates_with")
    told = fields["attributes"]
    return Workload(
        name=decode.text(fields["name"], "name"),
        selectors=decode.items(
            fields["selectors"], "selectors", lambda one: decode.text(one, "selector"), most=MAX_SELECTORS
        ),
        hint=decode.text(fields["hint"], "hint"),
        attributes=None if told is None else _load_attributes(told),
        federates_with=decode.items(
            fields["federates_with"],
            "federates_with",
            lambda one: decode.text(one, "trust domain"),
            most=MAX_FEDERATED,
        ),
    )


def _load_attributes(value: object) -> Attributes:
    fields = decode.record(value, "attributes", *SETS.values(), "class_floor", "class_ceiling")
    sets = {name: _values(fields[name], name) for name in SETS.values()}
    digits = {
        name: decode.integer(fields[name], name, most=DIGIT_MAX) for name in ("class_floor", "class_ceiling")
    }
    try:
        return Attributes(**sets, **digits)  # type: ignore[arg-type]  # the names are those of the fields
    except ProfileError as exc:
        raise ContentError(str(exc)) from exc


def _values(value: object, what: str) -> frozenset[str]:
    return frozenset(decode.items(value, what, lambda one: decode.text(one, what, VALUE), most=MAX_VALUES))


def matching(workloads: Iterable[Workload], selectors: frozenset[str]) -> tuple[Workload, ...]:
    """The workloads that a process with these selectors is; in the order given, so that the first stays the first."""
    return tuple(workload for workload in workloads if selectors.issuperset(workload.selectors))
