"""A shadow policy: asked about every ended request, beside what was enforced, and never enforcing.

It is asked by its rules alone, after the request, about what the filters had decided on: once for all requests that are alike
(`evidence.lines`). What no policy decided (a lease, a floor, a claim, a body) no shadow is asked about.
"""

from dataclasses import dataclass

from agent import judge
from agent.evidence import lines
from agent.evidence.lines import Line, Seen
from agent.identity import Identity
from audit.record import DecisionRecord
from certs.errors import CertError
from controlplane.api.gen import sync_pb2
from policies.evaluate import Evaluator
from policies.model import Code
from policies.trusted import TrustedBundle

ALLOW = "allow"
ASKED = frozenset({"", *(c.value for c in (Code.NO_PERMIT, Code.FORBIDDEN, Code.UNKNOWN_RESOURCE))})
MAX_FLOWS, MAX_REPORTED = 10_000, 32


@dataclass(frozen=True, slots=True)
class _Flow:
    """Requests that one verdict of the shadow counts for."""

    direction: str
    peer: str
    action: str
    resource: str
    was_allowed: bool
    verdict: str
    policy: str

    @property
    def differs(self) -> bool:
        return self.was_allowed is not (self.verdict == ALLOW)


class Shadow:
    """One shadow version at one node. Counts from when it was first asked."""

    def __init__(self, bundle: TrustedBundle, mine: Identity) -> None:
        self._bundle, self._mine = bundle, mine
        self._rules = {"in": Evaluator(bundle.rules.ingress), "out": Evaluator(bundle.rules.egress)}
        self._flows: dict[_Flow, Seen] = {}

    @classmethod
    def next(cls, now: "Shadow | None", wanted: TrustedBundle | None, mine: Identity) -> "Shadow | None":
        """What is to be asked: `now` as long as it asks the same of the same, so that its counts go on."""
        if wanted is None:
            return None
        asks = (wanted.ticket.rules, wanted.ticket.policy_version, mine.attributes)
        return now if now is not None and now._asks == asks else cls(wanted, mine)  # noqa: SLF001 - its own

    @property
    def _asks(self) -> tuple[object, ...]:
        return self._bundle.ticket.rules, self._version, self._mine.attributes

    @property
    def _version(self) -> int:
        return self._bundle.ticket.policy_version

    def consider(self, line: Line, enforced: DecisionRecord) -> Seen | None:
        """What the shadow says of a request, to be counted by whoever records it."""
        if enforced.code not in ASKED or not enforced.action:
            return None
        try:
            asked = judge.request(lines.open_stream(line), self._mine, enforced.time_ms)
        except (CertError, ValueError):
            return None
        decision = self._rules[line.dir].decide(asked)
        if decision.code is Code.UNEVALUABLE:  # it asks for an address: lines of ended requests have none
            return None
        verdict = ALLOW if decision.code is None else decision.code.value
        policy = decision.because[0] if decision.because else ""
        flow = _Flow(
            line.dir, enforced.peer, enforced.action, enforced.resource, enforced.allowed, verdict, policy
        )
        if flow not in self._flows and len(self._flows) >= MAX_FLOWS:
            return Seen(verdict, policy, self._version)  # recorded, and not counted by flow
        return self._flows.setdefault(flow, Seen(verdict, policy, self._version))

    def report(self) -> sync_pb2.Shadow:
        """What was decided otherwise so far, and the most frequent flows of it."""
        moved = sorted(
            ((flow, seen.count) for flow, seen in self._flows.items() if flow.differs),
            key=lambda one: -one[1],
        )
        flows = [
            sync_pb2.Difference(
                direction=flow.direction,
                peer=flow.peer,
                action=flow.action,
                resource=flow.resource,
                allowed=flow.verdict == ALLOW,
                policy=flow.policy,
                count=count,
            )
            for flow, count in moved[:MAX_REPORTED]
        ]
        return sync_pb2.Shadow(
            version=self._version,
            decided=sum(seen.count for seen in self._flows.values()),
            newly_allowed=sum(count for flow, count in moved if flow.verdict == ALLOW),
            newly_denied=sum(count for flow, count in moved if flow.verdict != ALLOW),
            flows=flows,
        )
