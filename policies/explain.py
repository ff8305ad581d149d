"""Why a request is allowed or denied: per policy each clause's text and value, and the permit that came nearest.

The decision itself is `evaluate`'s on the rules of `compile`; this only shows what led to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies import render, specialise, syntax
from policies.arguments import Argument
from policies.compile import KINDS_OF, compile_ingress
from policies.evaluate import READ, Evaluator, holds
from policies.model import And, Code, Decision, Effect, Expr, InRange, Is, Like, Not, Or, PolicyId, Request
from policies.operands import Known, ResourceFacts


@dataclass(frozen=True, slots=True)
class ClauseValue:
    """One condition that must be true for its policy to match. None: it cannot be evaluated on this request."""

    text: str
    value: bool | None

    @property
    def word(self) -> str:
        """`true`, `false` or `error`."""
        return "error" if self.value is None else str(self.value).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One policy on one request. It matches iff all clauses are true."""

    id: PolicyId
    effect: Effect
    file: str
    line: int
    reason: str
    clauses: tuple[ClauseValue, ...]

    @property
    def matches(self) -> bool:
        return all(clause.value is True for clause in self.clauses)

    @property
    def failing(self) -> tuple[ClauseValue, ...]:
        return tuple(clause for clause in self.clauses if clause.value is not True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`traces` of all policies whose scope names the action, those that decided first."""

    decision: Decision
    traces: tuple[Trace, ...]
    nearest: Trace | None
    """Where no permit matched: the one with the fewest clauses that are not true."""


def explain(
    policies: Sequence[syntax.Policy], declared: Sequence[ResourceFacts], request: Request
) -> Explanation:
    """Decide `request` on what is declared, and say why."""
    decision = Evaluator(compile_ingress(policies, declared)).decide(request)
    facts = next((item for item in declared if item.key == request.resource), None)
    if facts is None:
        return Explanation(decision=decision, traces=(), nearest=None)
    known = Known(resource=facts, action=request.action, principal=request.principal)
    applicable = facts.key.kind in KINDS_OF[request.action]
    traces = [
        _trace(policy, request, known)
        for policy in policies
        if applicable and request.action in policy.actions
    ]
    traces.sort(key=lambda trace: (trace.id not in decision.because, not trace.matches, trace.id))
    nearest = None
    if decision.code is Code.NO_PERMIT:
        permits = [trace for trace in traces if trace.effect is Effect.PERMIT]
        nearest = min(permits, key=lambda trace: (len(trace.failing), trace.id), default=None)
    return Explanation(decision=decision, traces=tuple(traces), nearest=nearest)


def truth(expr: Expr, request: Request) -> bool | None:
    """The value of a condition, or None where it reads what the request does not have."""
    match expr:
        case Is(field, _) | Like(field, _) if READ[field](request) is None:
            return None
        case Argument(name, _) if request.arguments is None or not request.arguments.tell((name,)):
            return None
        case InRange() if request.source_ip is None:
            return None
        case Not(item):
            value = truth(item, request)
            return None if value is None else not value
        case And(items) | Or(items):
            # In order, like Cedar: what decides ends it, and an error before that is the value.
            deciding = isinstance(expr, Or)
            for item in items:
                value = truth(item, request)
                if value is None or value is deciding:
                    return value
            return not deciding
        case _:
            return holds(expr, request)


def _trace(policy: syntax.Policy, request: Request, known: Known) -> Trace:
    return Trace(
        id=policy.id,
        effect=policy.effect,
        file=policy.file,
        line=policy.line,
        reason=policy.reason,
        clauses=tuple(_clauses(policy, request, known)),
    )


def _clauses(policy: syntax.Policy, request: Request, known: Known) -> Iterator[ClauseValue]:
    for scope in (policy.principal, policy.resource):
        if scope is not None:
            yield ClauseValue(render.text(scope), truth(specialise.condition(scope, known), request))
    for clause in policy.clauses:
        if clause.negated:
            value = truth(specialise.condition(clause.node, known), request)
            yield ClauseValue(f"unless {render.text(clause.node)}", None if value is None else not value)
            continue
        for node in _conjuncts(clause.node):
            yield ClauseValue(render.text(node), truth(specialise.condition(node, known), request))


def _conjuncts(node: syntax.Node) -> Iterator[syntax.Node]:
    if isinstance(node, syntax.Call) and node.op == "and":
        for arg in node.args:
            yield from _conjuncts(arg)
    else:
        yield node
