"""Remarks about policies that can be applied but are hardly meant. Warnings all; `CODES` says what each is.

What is said without a mesh holds for every mesh there could be. What is too large to decide is left out: a remark is never
a guess.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from policies import coverage, parse, space
from policies.compile import compile_ingress
from policies.errors import Finding, PolicyError
from policies.mesh import Mesh
from policies.model import Effect, Expr, PolicyId, Principal, Rule
from policies.satisfy import Domains, UndecidedError, witness
from policies.syntax import Policy

CODES = {
    "W-SIZE": "a file is too large",
    "W-COUNT": "too many policies",
    "W-ENCODING": "a file is not UTF-8",
    "W-SYNTAX": "not Cedar",
    "W-TEMPLATE": "a template",
    "W-ID": "`@id` is missing, malformed or taken",
    "W-ANNOTATION": "an annotation is unknown or malformed",
    "W-SCHEMA": "not valid against the schema",
    "W-UNSUPPORTED": "a construct that cannot be enforced in the proxy",
    "W-COMPLEX": "a condition is too large or too deep",
    "W-WIDE": "permits any action to any principal",
    "W-DUPLICATE": "says the same as another policy",
    "W-CONTRADICTION": "its conditions can never be true together",
    "W-SHADOWED": "changes no decision: another policy covers it",
    "W-UNREACHABLE": "matches no request for any declared resource",
    "W-NO-NODE": "matches no request of any known node",
}
"""Every code a finding can have, and what it means in a few words. Stable: scripts match on them."""


def lint(files: Mapping[str, str | bytes], mesh: Mesh | None = None) -> list[Finding]:
    """Every error, or where there is none, every warning. Unreachable and no node are said over `mesh`."""
    try:
        policies = parse.load(files)
    except PolicyError as exc:
        return list(exc.findings)
    return remarks(policies, mesh)


def remarks(policies: Sequence[Policy], mesh: Mesh | None = None) -> list[Finding]:
    """Every warning."""
    doubled = dict(_doubled(policies))
    findings = [_doubles(policy, doubled[policy.id]) for policy in policies if policy.id in doubled]
    findings += _wide(policies)
    left = [policy for policy in policies if policy.id not in doubled]
    findings += _never_or_covered(left)
    if mesh is not None:
        said = {finding.policy for finding in findings if finding.code == "W-CONTRADICTION"}
        findings += _unmet([policy for policy in policies if policy.id not in said], mesh)
    return sorted(findings, key=lambda finding: (finding.file, finding.line, finding.code))


def _wide(policies: Sequence[Policy]) -> Iterator[Finding]:
    for policy in policies:
        if policy.effect is Effect.PERMIT and policy.principal is None and policy.any_action:
            yield _warning("W-WIDE", policy, "permits any action to any principal", "name a group or actions")


def _doubled(policies: Sequence[Policy]) -> Iterator[tuple[PolicyId, Policy]]:
    first: dict[object, Policy] = {}
    for policy in policies:
        says = (policy.effect, policy.actions, policy.principal, policy.resource, policy.clauses)
        other = first.setdefault(says, policy)
        if other is not policy:
            yield policy.id, other


def _doubles(policy: Policy, other: Policy) -> Finding:
    return _warning("W-DUPLICATE", policy, f"says the same as policy `{other.id}`", "remove one")


def _never_or_covered(policies: Sequence[Policy]) -> Iterator[Finding]:
    """A policy that no request matches; and one that, wherever it matches, another makes idle."""
    by_id, matching = {policy.id: policy for policy in policies}, coverage.Matching(policies)
    for policy in policies:
        with contextlib.suppress(UndecidedError):
            match = coverage.example(policy)
            if match is None:
                message = "its conditions can never be true together"
                yield _warning("W-CONTRADICTION", policy, message, "look for two values of one attribute")
                continue
            beside = sorted(matching.at(match) - {policy.id})
            yield from _covered(policy, [by_id[other] for other in beside])


def _covered(policy: Policy, beside: Sequence[Policy]) -> Iterator[Finding]:
    """`beside` match one request that the policy matches: only they can match all of them."""
    forbids_first = sorted(beside, key=lambda other: (other.effect is Effect.PERMIT, other.id))
    for other in forbids_first:
        if policy.effect is Effect.FORBID and other.effect is Effect.PERMIT:
            continue
        with contextlib.suppress(UndecidedError):
            if coverage.covers(other, policy):
                does = "forbids" if other.effect is Effect.FORBID else "permits"
                message = f"changes no decision: policy `{other.id}` {does} all that it matches"
                yield _warning("W-SHADOWED", policy, message, "remove it, or narrow the other")
                return


def _unmet(policies: Sequence[Policy], mesh: Mesh) -> Iterator[Finding]:
    """Policies that nothing in this mesh can meet."""
    rules: dict[PolicyId, list[Rule]] = {}
    for rule in compile_ingress(policies, mesh.resources).rules:
        rules.setdefault(rule.id, []).append(rule)
    callers = [caller for caller, _ in mesh.alike(policies) if caller.purposes]
    for policy in policies:
        if policy.id not in rules:
            message = "can match no request for any declared resource"
            yield _warning("W-UNREACHABLE", policy, message, "declare the resource, or mend its name")
        elif not any(_met(rule, caller) for caller in callers for rule in rules[policy.id]):
            message = "can match no request of any known node"
            yield _warning(
                "W-NO-NODE", policy, message, "mend the name, or enrol the node with these attributes"
            )


def _met(rule: Rule, caller: Principal) -> bool:
    if all(key.node == caller.node for key in rule.resources):
        return False  # what stays on a node passes no sidecar
    return _can_hold(space.of(rule.when, caller), space.claims(caller))


def _can_hold(when: Expr, claims: Domains) -> bool:
    try:
        return witness(when, claims) is not None
    except UndecidedError:
        return True


def _warning(code: str, policy: Policy, message: str, hint: str) -> Finding:
    return Finding(
        code=code,
        severity="warning",
        file=policy.file,
        line=policy.line,
        policy=policy.id,
        message=message,
        hint=hint,
    )
