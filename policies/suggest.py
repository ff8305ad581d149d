"""The least policy that allows what was recorded as allowed: exactly these callers, actions, resources and claims.

Every allowed request is a point (caller, resource, action, purpose, class, region). Points are merged along one of these at
a time where all others agree: the boxes hold the same points and no more. Protocol, method, path and streaming are left
open: an action says already what they may be.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from policies import grammar, render, syntax
from policies.model import ACTIONS
from policies.recorded import Recorded

_Words = frozenset[str]
CALLER, RESOURCE, ACTION, PURPOSE, CLASS, REGION = range(6)
_MERGED = (CLASS, REGION, PURPOSE, ACTION, RESOURCE, CALLER)
"""In this order: what reads best together first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """All combinations of its sides were seen, in `requests` requests. An empty region: none was claimed."""

    kind: str
    sides: tuple[_Words, ...]
    requests: int
    last_ms: int

    def words(self, side: int) -> list[str]:
        return sorted(self.sides[side])


def boxes(records: Iterable[Recorded]) -> list[Box]:
    """What was allowed. The two ends' records of one request count once."""
    seen: dict[tuple[str, tuple[_Words, ...]], tuple[set[str], int]] = {}
    for number, record in enumerate(records):
        point = _point(record)
        if point is not None:
            requests, last = seen.setdefault(point, (set(), 0))
            requests.add(record.request_id or f"#{number}")
            seen[point] = (requests, max(last, record.time_ms))
    found = [
        Box(kind=kind, sides=sides, requests=len(requests), last_ms=last)
        for (kind, sides), (requests, last) in seen.items()
    ]
    for side in _MERGED:
        found = _merge(found, side)
    return sorted(
        found, key=lambda box: (box.words(CALLER), box.words(RESOURCE), box.words(ACTION), str(box))
    )


def cedar(found: Sequence[Box]) -> str:
    """As a Cedar file that can be applied."""
    head = "// Suggested from recorded requests: allows exactly these, from these nodes, with these claims.\n"
    return head + "".join(f"\n{_policy(number, box)}\n" for number, box in enumerate(found, 1))


def _point(record: Recorded) -> tuple[str, tuple[_Words, ...]] | None:
    if not record.allowed or record.resource is None or record.data_class is None:
        return None
    if record.action not in ACTIONS or not grammar.NODE_NAME.fullmatch(record.caller):
        return None
    claims = [record.purpose, *([] if record.region is None else [record.region])]
    if not all(grammar.WORD.fullmatch(claim) for claim in claims):
        return None
    sides = (record.caller, record.resource.uid, record.action, record.purpose, str(record.data_class))
    return record.resource.kind, tuple(frozenset({word}) for word in (*sides, record.region or ""))


def _merge(found: Iterable[Box], side: int) -> list[Box]:
    """Boxes that agree on all but one side become one."""
    alike: dict[tuple[str, tuple[_Words, ...]], list[Box]] = {}
    for box in found:
        others = (*box.sides[:side], frozenset[str](), *box.sides[side + 1 :])
        alike.setdefault((box.kind, others), []).append(box)
    return [
        Box(
            kind=kind,
            sides=(*others[:side], _all(box.sides[side] for box in same), *others[side + 1 :]),
            requests=sum(box.requests for box in same),
            last_ms=max(box.last_ms for box in same),
        )
        for (kind, others), same in alike.items()
    ]


def _all(sides: Iterable[_Words]) -> _Words:
    return frozenset(word for side in sides for word in side)


def _policy(number: int, box: Box) -> str:
    seen = datetime.fromtimestamp(box.last_ms / 1000, UTC).date().isoformat()
    principal, who = _scope("principal", "Node", box.words(CALLER))
    resource, what = _scope("resource", box.kind, box.words(RESOURCE))
    actions = ", ".join(_entity("Action", action) for action in box.words(ACTION))
    action = f"action == {actions}" if len(box.sides[ACTION]) == 1 else f"action in [{actions}]"
    purpose = _one_of("context.purpose", map(_quoted, box.words(PURPOSE)))
    data_class = _one_of("context.data_class", box.words(CLASS))
    conditions = " &&\n  ".join([*who, *what, purpose, data_class, _region(box)])
    return (
        f"// {box.requests} {'request' if box.requests == 1 else 'requests'}, the last on {seen}\n"
        f'@id("suggested-{number}")\n'
        f"permit (\n  {principal},\n  {action},\n  {resource}\n) when {{\n  {conditions}\n}};"
    )


def _scope(name: str, kind: str, ids: list[str]) -> tuple[str, list[str]]:
    """One entity stands in the scope; several in a condition."""
    if len(ids) == 1:
        return f"{name} == {_entity(kind, ids[0])}", []
    some = ", ".join(_entity(kind, id_) for id_ in ids)
    return name if kind == "Node" else f"{name} is {kind}", [f"{name} in [{some}]"]


def _region(box: Box) -> str:
    absent = "!(context has subject_region)"
    words = [_quoted(word) for word in box.words(REGION) if word]
    if not words:
        return absent
    said = f"context has subject_region && {_one_of('context.subject_region', words)}"
    return f"({absent} || {said})" if "" in box.sides[REGION] else said


def _one_of(field: str, values: Iterable[str]) -> str:
    some = list(values)
    return f"{field} == {some[0]}" if len(some) == 1 else f"[{', '.join(some)}].contains({field})"


def _entity(kind: str, id_: str) -> str:
    return render.text(syntax.Entity(kind, id_))


def _quoted(value: str) -> str:
    return render.text(syntax.Lit(value))
