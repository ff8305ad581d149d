"""Remarks about policies that can be applied but are hardly meant: too wide, unreachable, doubled. Warnings all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from policies import parse, syntax
from policies.compile import compile_ingress
from policies.errors import Finding, PolicyError
from policies.model import Effect, PolicyId
from policies.operands import ResourceFacts


def lint(files: Mapping[str, str | bytes], declared: Sequence[ResourceFacts] = ()) -> list[Finding]:
    """Every error, or where there is none, every warning. Unreachable is said over what is `declared`, if anything."""
    try:
        policies = parse.load(files)
    except PolicyError as exc:
        return list(exc.findings)
    findings = [*_wide(policies), *_doubled(policies)]
    if declared:
        findings += _unreachable(policies, {rule.id for rule in compile_ingress(policies, declared).rules})
    return sorted(findings, key=lambda finding: (finding.file, finding.line, finding.code))


def _wide(policies: Iterable[syntax.Policy]) -> Iterator[Finding]:
    for policy in policies:
        if policy.effect is Effect.PERMIT and policy.principal is None and policy.any_action:
            yield _warning("W-WIDE", policy, "permits any action to any principal", "name a group or actions")


def _unreachable(policies: Iterable[syntax.Policy], reachable: set[PolicyId]) -> Iterator[Finding]:
    for policy in policies:
        if policy.id not in reachable:
            yield _warning("W-UNREACHABLE", policy, "can match no request for any declared resource", "")


def _doubled(policies: Iterable[syntax.Policy]) -> Iterator[Finding]:
    first: dict[object, syntax.Policy] = {}
    for policy in policies:
        says = (policy.effect, policy.actions, policy.principal, policy.resource, policy.clauses)
        other = first.setdefault(says, policy)
        if other is not policy:
            yield _warning("W-DUPLICATE", policy, f"says the same as policy `{other.id}`", "remove one")


def _warning(code: str, policy: syntax.Policy, message: str, hint: str) -> Finding:
    return Finding(
        code=code,
        severity="warning",
        file=policy.file,
        line=policy.line,
        policy=policy.id,
        message=message,
        hint=hint,
    )
