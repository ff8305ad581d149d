"""Replay recorded decisions against another policy set: what would be newly allowed, what newly denied, by flow.

Callers are replayed with the attributes that they have in the mesh now, and every record by itself: nothing is cached, and
what cannot be replayed is counted with its reason, never guessed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from policies.compile import compile_ingress
from policies.evaluate import Evaluator
from policies.mesh import Mesh, shown
from policies.model import Code, Field, PolicyId
from policies.recorded import DECIDED, Recorded
from policies.syntax import Attr, Policy, Var, children

UNKEPT = "the record does not keep what the policies ask for: an argument, an address"
ALLOWED, DENIED = "newly allowed", "newly denied"
_PATH = Field.PATH.value.removeprefix("context.")


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """Who asks what of whom."""

    caller: str
    action: str
    resource: str


@dataclass(slots=True)
class Moved:
    """Requests of one flow whose verdict changes: their ids, the newest record, and what decides now."""

    requests: set[str] = field(default_factory=set)
    example: str = ""
    because: tuple[PolicyId, ...] = ()
    code: str = ""


@dataclass(slots=True)
class Simulation:
    """What a replay found. `moved` is by (`ALLOWED` or `DENIED`, flow); counts are of records."""

    records: int = 0
    same: int = 0
    masked: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    moved: dict[tuple[str, Flow], Moved] = field(default_factory=dict)

    def requests(self, what: str) -> int:
        return sum(len(moved.requests) for (kind, _), moved in self.moved.items() if kind == what)


def simulate(policies: Sequence[Policy], mesh: Mesh, records: Iterable[Recorded]) -> Simulation:
    """Every record once, in any order."""
    engine = Evaluator(compile_ingress(policies, mesh.resources))
    callers = {node.node: node for node in mesh.nodes}
    declared = {facts.key for facts in mesh.resources}
    by_path = any(_asks_path(policy) for policy in policies)
    found = Simulation()
    for record in records:
        found.records += 1
        caller = callers.get(record.caller)
        request = record.request(caller) if caller is not None else None
        if record.code not in DECIDED:
            found.skipped[f"decided before any policy: {record.code}"] += 1
        elif caller is None:
            found.skipped["the caller is not a known node"] += 1
        elif request is None:
            found.skipped["the record does not say what was asked"] += 1
        elif request.resource not in declared:
            found.skipped["the resource is not declared"] += 1
        else:
            found.masked += by_path and record.masked
            decision = engine.decide(request)
            if decision.code is Code.UNEVALUABLE:
                found.skipped[UNKEPT] += 1
                continue
            if decision.allowed is record.allowed:
                found.same += 1
                continue
            moved = found.moved.setdefault(_place(record), Moved())
            moved.requests.add(record.request_id or f"#{found.records}")
            moved.example = f"{record.request_id}/{record.direction}"
            moved.because, moved.code = decision.because, decision.code.value if decision.code else ""
    return found


def _place(record: Recorded) -> tuple[str, Flow]:
    resource = shown(record.resource) if record.resource else ""
    return DENIED if record.allowed else ALLOWED, Flow(record.caller, record.action, resource)


def _asks_path(policy: Policy) -> bool:
    pending = [clause.node for clause in policy.clauses]
    while pending:
        node = pending.pop()
        if node == Attr(Var("context"), _PATH):
            return True
        pending += children(node)
    return False
