"""What is allowed but probably not meant. Errors come from `parse`; these are warnings, each with a stable code."""

from collections.abc import Mapping

from policies import parse
from policies.compile import actions_of
from policies.errors import Finding, PolicyError
from policies.model import ACTIONS, Effect
from policies.syntax import Policy


def lint(files: Mapping[str, str]) -> list[Finding]:
    """Every error, or if there is none, every warning."""
    try:
        policies = parse.load(files)
    except PolicyError as exc:
        return list(exc.findings)
    return [finding for policy in policies for finding in _warnings(policy)]


def _warnings(policy: Policy) -> list[Finding]:
    found = []
    anybody = policy.principal is None and not policy.clauses
    if policy.effect is Effect.PERMIT and anybody:
        found.append(_warning(policy, "W201", "any principal is permitted", "name a group, or add a `when`"))
    if policy.effect is Effect.PERMIT and actions_of(policy) == ACTIONS:
        found.append(_warning(policy, "W202", "every action is permitted", "name the actions that are meant"))
    if not actions_of(policy):
        hint = "`action == ` names one action; for a group write `action in`"
        found.append(_warning(policy, "W203", "no request has this action", hint))
    return found


def _warning(policy: Policy, code: str, message: str, hint: str) -> Finding:
    return Finding(
        code=code,
        severity="warning",
        file=policy.file,
        line=policy.line,
        policy=policy.id,
        message=message,
        hint=hint,
    )
