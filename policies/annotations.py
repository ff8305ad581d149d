"""`@id`, `@reason`, `@severity`: what a policy may say about itself. Others would be ignored silently, so they are refused."""

import functools
from collections.abc import Iterator, Mapping

from policies import grammar
from policies.errors import Finding

MAX_REASON = 512
SEVERITIES = ("low", "medium", "high", "critical")
ANNOTATIONS = frozenset({"id", "reason", "severity"})


def judge(file: str, line: int, annotations: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong with the annotations of one policy."""
    at = functools.partial(Finding, file=file, line=line)
    policy = annotations.get("id", "")
    if not policy:
        yield at(code="W-ID", policy="", message="policy has no id", hint='write `@id("…")` above it')
    elif not grammar.POLICY_ID.fullmatch(policy):
        yield at(
            code="W-ID", policy="", message=f"id `{policy[:80]}` does not match `{grammar.POLICY_ID.pattern}`"
        )
    for key in sorted(set(annotations) - ANNOTATIONS):
        yield at(code="W-ANNOTATION", policy=policy, message=f"unknown annotation `@{key}`")
    reason = annotations.get("reason", "")
    if len(reason) > MAX_REASON or not reason.isprintable():
        message = f"`@reason` must be one line of at most {MAX_REASON} printable characters"
        yield at(code="W-ANNOTATION", policy=policy, message=message)
    if annotations.get("severity", SEVERITIES[0]) not in SEVERITIES:
        yield at(
            code="W-ANNOTATION", policy=policy, message=f"`@severity` must be one of {', '.join(SEVERITIES)}"
        )
