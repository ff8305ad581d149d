"""Why a request is decided as it is: every policy about it, clause by clause, and which ones decided.

Explains the policies as written, on the same folding and evaluation that enforcement uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from policies import evaluate, fold
from policies.compile import KINDS_OF, ResourceFacts, actions_of, compile_ingress
from policies.model import Decision, Request
from policies.syntax import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseValue:
    """One clause of one policy, and whether it holds for the request. `scope` stands for principal, action, resource."""

    policy: str
    effect: str
    text: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision with its reasons; policies that are about other actions or resources are left out."""

    decision: Decision
    clauses: tuple[ClauseValue, ...]


def explain(policies: Sequence[Policy], facts: Sequence[ResourceFacts], request: Request) -> Explanation:
    """Decide `request` on the resources of `facts`, and say why."""
    decision = evaluate.Evaluator(compile_ingress(policies, facts)).decide(request)
    asked = next((fact for fact in facts if fact.key == request.resource), None)
    if asked is None:
        return Explanation(decision=decision, clauses=())
    clauses = [
        value
        for policy in policies
        if request.action in actions_of(policy) and asked.key.kind in KINDS_OF[request.action]
        for value in _clauses(policy, asked, request)
    ]
    return Explanation(decision=decision, clauses=tuple(clauses))


def _clauses(policy: Policy, facts: ResourceFacts, request: Request) -> list[ClauseValue]:
    folder = fold.Folder(action=request.action, facts=facts, principal=None)
    parts = [folder.truth(part) for part in (policy.principal, policy.resource) if part is not None]
    scope = all(evaluate.holds(part, request) for part in parts)
    found = [ClauseValue(policy=policy.id, effect=policy.effect.value, text="scope", holds=scope)]
    for clause in policy.clauses:
        value = evaluate.holds(folder.truth(clause.body), request) is not clause.negated
        word = "unless" if clause.negated else "when"
        text = f"{word} {{ {clause.text} }}"
        found.append(ClauseValue(policy=policy.id, effect=policy.effect.value, text=text, holds=value))
    return found
