"""What `writ policy explain` explains: a request or a record, by files or by what the control plane has."""

from collections.abc import Mapping
from pathlib import Path

from controlplane.cli import policy_input, policy_versions
from controlplane.cli.errors import CliError, Exit
from policies import cases
from policies.errors import InputError
from policies.explain import ClauseValue, Explanation, Trace, explain
from policies.mesh import Mesh
from policies.model import Code, Decision, PolicyId, Principal, Request
from policies.recorded import DECIDED, Recorded


def of_request(
    fields: Mapping[str, object], policy_files: list[Path], context_file: Path | None
) -> Explanation:
    """`fields` is what a case file has under `request`."""
    try:
        asked = cases.asked(dict(fields), "request")
    except InputError as exc:
        raise CliError(str(exc), code=Exit.USAGE, hint=exc.hint) from exc
    mesh = policy_input.known_mesh(context_file)
    request = asked.request(_node(mesh, asked.caller))
    if request is None:
        refused = Decision(code=Code.CLAIM_NOT_ALLOWED, because=())
        return Explanation(decision=refused, traces=(), nearest=None)
    return _explain(request, mesh, policy_files, version=0)


def arguments(given: list[str]) -> dict[str, str]:
    """Of `NAME=VALUE`."""
    found: dict[str, str] = {}
    for text in given:
        name, is_there, value = text.partition("=")
        if not is_there or name in found:
            raise CliError(f"`{text[:80]}` is not NAME=VALUE, once for each name", code=Exit.USAGE)
        found[name] = value
    return found


def of_record(recorded: Recorded, policy_files: list[Path], context_file: Path | None) -> Explanation:
    """By the version that decided it, unless files are given; with the attributes that its caller has now."""
    if recorded.code not in DECIDED:
        return Explanation(decision=Decision(code=Code(recorded.code), because=()), traces=(), nearest=None)
    mesh = policy_input.known_mesh(context_file)
    request = recorded.request(_node(mesh, recorded.caller))
    if request is None:
        raise CliError("the record does not say what was asked for: no policy saw the request")
    return _explain(request, mesh, policy_files, version=recorded.policy_version)


def decided_again(said: Explanation, recorded: Recorded) -> bool:
    """False where policies ask for what no record keeps, an argument or an address: then what it says stands."""
    return said.decision.code is not Code.UNEVALUABLE or recorded.code == Code.UNEVALUABLE.value


def verdict(said: Explanation, recorded: Recorded | None) -> Decision:
    """What was decided now, or if that cannot be, then."""
    if recorded is None or decided_again(said, recorded):
        return said.decision
    because = (PolicyId(recorded.policy),) if recorded.policy else ()
    return Decision(code=Code(recorded.code) if recorded.code else None, because=because)


def _explain(request: Request, mesh: Mesh, policy_files: list[Path], *, version: int) -> Explanation:
    """By both ends, where they differ: who is denied by one is denied."""
    callee = request.resource.node.partition(".")[2] if request.resource else ""
    if policy_files:
        ends = [policy_input.policies(policy_files)]
    else:
        ends = policy_versions.at_both_ends(version, request.principal.site, callee)
    said = [explain(policies, mesh.resources, request) for policies in ends]
    return next((one for one in said if not one.decision.allowed), said[0])


def document(said: Explanation, recorded: Recorded | None) -> dict[str, object]:
    decision = verdict(said, recorded)
    found: dict[str, object] = {
        "decision": "allow" if decision.allowed else "deny",
        "code": decision.code.value if decision.code else "",
        "because": list(decision.because),
        "policies": [_trace(trace) for trace in said.traces],
        "nearest": None if said.nearest is None else _nearest(said.nearest),
    }
    if recorded is not None:
        found["recorded"] = {
            "decision": "allow" if recorded.allowed else "deny",
            "code": recorded.code,
            "policy": recorded.policy,
            "policy_version": recorded.policy_version,
            "reproduced": recorded.became(said.decision),
        }
    return found


def _trace(trace: Trace) -> dict[str, object]:
    return {
        "policy": trace.id,
        "effect": trace.effect.value,
        "file": trace.file,
        "line": trace.line,
        "matches": trace.matches,
        "clauses": [_clause(clause) for clause in trace.clauses],
    }


def _nearest(trace: Trace) -> dict[str, object]:
    return {"policy": trace.id, "failing": [_clause(clause) for clause in trace.failing]}


def _clause(clause: ClauseValue) -> dict[str, object]:
    return {"text": clause.text, "value": clause.word}


def _node(mesh: Mesh, name: str) -> Principal:
    found = mesh.node(name)
    if found is None:
        raise CliError(f"there is no node `{name}`", code=Exit.NOT_FOUND, hint="writ node list")
    return found
