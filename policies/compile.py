"""Policies -> `Rules` for one sidecar and one direction: exact, or refused with file, line and reason.

At ingress the resources are known and the principal is not; at egress both are. What is left of a policy after
folding those facts becomes its rules; what folds to false is dropped. Which policies are refused never depends on
the facts: `check` says it for all nodes at once, when a policy is applied.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from policies import addresses, asking, simplify, specialise, syntax
from policies.bounds import too_complex
from policies.errors import Finding, PolicyError
from policies.grammar import MAX_POLICIES
from policies.model import (
    ACTION_GROUPS,
    RESOURCE_KINDS,
    Effect,
    Expr,
    Principal,
    ResourceKey,
    Rule,
    Rules,
)
from policies.operands import Known, Refused, ResourceFacts
from policies.simplify import FALSE, TRUE

__all__ = ["KINDS_OF", "ResourceFacts", "check", "compile_egress", "compile_ingress"]

KINDS_OF: dict[str, frozenset[str]] = {
    **dict.fromkeys(ACTION_GROUPS["infer"], frozenset({"Model"})),
    "media": frozenset({"Model", "Service"}),
    **dict.fromkeys(("embed", "train"), frozenset({"Model"})),
    **dict.fromkeys((*ACTION_GROUPS["federate"], "admin"), frozenset({"Service", "Model"})),
    **dict.fromkeys(ACTION_GROUPS["transfer"], frozenset({"Dataset", "Model", "Service"})),
    **dict.fromkeys(("message", "connect"), frozenset({"Service"})),
    "tool": frozenset({"Tool"}),
    "discover": frozenset(RESOURCE_KINDS),
}
"""Which kinds of resource an action applies to, as the schema says."""

_ANY_ACTION = "chat"
_SAMPLE = ResourceFacts(
    key=ResourceKey(kind="Model", name="sample", node="sample.sample"),
    groups=frozenset(),
    owner="",
    max_class=0,
    site="sample",
    jurisdiction="AA",
)
_UNASKED = Known(resource=_SAMPLE, action=_ANY_ACTION, principal=None)


def check(policies: Iterable[syntax.Policy]) -> tuple[Finding, ...]:
    """Why policies cannot be compiled; empty when all can, for every node and resource."""
    known = tuple(policies)
    return (*(finding for policy in known for finding in _shape(policy).findings), *asking.check(known))


def compile_ingress(policies: Sequence[syntax.Policy], served: Sequence[ResourceFacts]) -> Rules:
    """What the callee enforces on the resources that it serves; raises PolicyError."""
    _refuse_unsupported(policies)
    rules = tuple(_compile(policies, served, None))
    return Rules(rules=rules, resources=frozenset(facts.key for facts in served))


def compile_egress(
    policies: Sequence[syntax.Policy], principal: Principal, remote: Sequence[ResourceFacts]
) -> Rules:
    """What the caller enforces on resources of its peers; those that no permit reaches are left out."""
    _refuse_unsupported(policies)
    permits = [policy for policy in policies if policy.effect is Effect.PERMIT]
    reached = frozenset(key for rule in _compile(permits, remote, principal) for key in rule.resources)
    kept = [facts for facts in remote if facts.key in reached]
    return Rules(rules=tuple(_compile(policies, kept, principal)), resources=reached)


def _without_source(rule: Rule) -> Iterator[Rule]:
    """A caller's sidecar cannot know the address that its peer will see: it refuses what no address would allow."""
    when = addresses.assume(rule.when, met=rule.effect is Effect.PERMIT)
    if when != FALSE:
        yield replace(rule, when=when)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What can be said about a policy without any facts."""

    findings: tuple[Finding, ...]
    by_resource: bool
    by_action: bool
    anywhere: Expr | None
    """What is left of it at every callee, where it asks neither for the resource nor for the action."""


@functools.lru_cache(maxsize=2 * MAX_POLICIES)
def _shape(policy: syntax.Policy) -> _Shape:
    """Remembered: the same policies are compiled for every node."""
    asked = syntax.variables(*(node for node, _ in _conditions(policy)))
    by_resource, by_action = "resource" in asked, "action" in asked
    if too_complex(policy, asks_source="context.source_ip" in asked):  # and may take as long to compile
        message = "the condition is too large or too deep for a proxy to evaluate"
        found = _finding("W-COMPLEX", policy, policy.line, message, "split it")
        return _Shape((found,), by_resource, by_action, None)
    left, findings = _left(policy)
    anywhere = None if findings or by_resource or by_action else left
    return _Shape(tuple(findings), by_resource, by_action, anywhere)


def _refuse_unsupported(policies: Sequence[syntax.Policy]) -> None:
    findings = check(policies)
    if findings:
        raise PolicyError(*findings)


def _conditions(policy: syntax.Policy) -> list[tuple[syntax.Node, bool]]:
    """What must hold for a policy to match, and whether it is negated; but for its resource and actions."""
    scope = [] if policy.principal is None else [(policy.principal, False)]
    return [*scope, *((clause.node, clause.negated) for clause in policy.clauses)]


def _left(policy: syntax.Policy) -> tuple[Expr, list[Finding]]:
    """What is left of a policy for the sample. Everything is visited, and what is refused is told."""
    when: Expr = TRUE
    findings = list(_refused_scope(policy))
    for node, negated in _conditions(policy):
        try:
            part = specialise.condition(node, _UNASKED)
        except Refused as exc:
            findings.append(_unsupported(policy, exc))
        else:
            when = simplify.both(when, simplify.negate(part) if negated else part)
    return when, findings


def _refused_scope(policy: syntax.Policy) -> Iterator[Finding]:
    try:
        if policy.resource is not None:
            specialise.condition(policy.resource, _UNASKED)
    except Refused as exc:
        yield _unsupported(policy, exc)


def _unsupported(policy: syntax.Policy, exc: Refused) -> Finding:
    return _finding("W-UNSUPPORTED", policy, policy.line_of(exc.token), exc.message, exc.hint)


def _finding(code: str, policy: syntax.Policy, line: int, message: str, hint: str) -> Finding:
    return Finding(code=code, file=policy.file, line=line, policy=policy.id, message=message, hint=hint)


def _compile(
    policies: Sequence[syntax.Policy], resources: Sequence[ResourceFacts], principal: Principal | None
) -> Iterator[Rule]:
    ordered = sorted(resources, key=lambda facts: facts.key)
    scopes: dict[syntax.Node | None, list[ResourceFacts]] = {None: ordered}
    for policy in sorted(policies, key=lambda policy: policy.id):
        # Thousands of policies share a few resource scopes: each is matched against the resources once.
        in_scope = scopes.get(policy.resource)
        if in_scope is None:
            in_scope = [facts for facts in ordered if _in_scope(policy.resource, facts)]
            scopes[policy.resource] = in_scope
        if in_scope and policy.actions:
            rules = _rules(policy, _residues(policy, in_scope, principal))
            yield from (
                rules if principal is None else (one for rule in rules for one in _without_source(rule))
            )


def _in_scope(scope: syntax.Node | None, facts: ResourceFacts) -> bool:
    known = Known(resource=facts, action=_ANY_ACTION, principal=None)
    return scope is None or specialise.condition(scope, known) != FALSE


_Residues = dict[Expr, dict[str, set[ResourceKey]]]


def _residues(
    policy: syntax.Policy, in_scope: Sequence[ResourceFacts], principal: Principal | None
) -> _Residues:
    """What is left of the policy -> action -> the resources for which just this is left."""
    shape = _shape(policy)
    actions = sorted(policy.actions)
    groups = [[action] for action in actions] if shape.by_action else [actions]
    residues: _Residues = {}
    last: Expr | None = None
    by_action: dict[str, set[ResourceKey]] = {}
    for group in groups:
        when = shape.anywhere if principal is None else None
        for facts in in_scope:
            if when is None or shape.by_resource:
                when = _residue(policy, Known(resource=facts, action=group[0], principal=principal))
            if when == FALSE:
                continue
            if when is not last:  # conditions are large: each is looked up once
                last, by_action = when, residues.setdefault(when, {})
            for action in group:
                if facts.key.kind in KINDS_OF[action]:
                    by_action.setdefault(action, set()).add(facts.key)
    return {when: found for when, found in residues.items() if found}


def _residue(policy: syntax.Policy, known: Known) -> Expr:
    when: Expr = TRUE
    for node, negated in _conditions(policy):
        if when == FALSE:
            return FALSE  # `check` has visited the rest
        part = specialise.condition(node, known)
        when = simplify.both(when, simplify.negate(part) if negated else part)
    return when


def _rules(policy: syntax.Policy, residues: _Residues) -> Iterator[Rule]:
    for when, by_action in residues.items():
        merged: dict[frozenset[ResourceKey], set[str]] = {}
        for action, keys in by_action.items():
            merged.setdefault(frozenset(keys), set()).add(action)
        for on, actions in merged.items():
            yield Rule(
                id=policy.id,
                effect=policy.effect,
                actions=frozenset(actions),
                resources=on,
                when=when,
                reason=policy.reason,
            )
