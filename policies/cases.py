"""Test cases of policies: requests in a small mesh, and what must become of them. Read, run, and what no case touched.

A denial must be the one that was meant: a case that is denied before any policy speaks, because a claim is outside the
certificate or a resource is not declared, fails unless it expects that code. A typo must not pass as a denial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from policies import arguments, circumstances, entries, grammar, mesh, space
from policies.arguments import NONE, Arguments
from policies.compile import compile_egress, compile_ingress
from policies.errors import InputError
from policies.evaluate import Evaluator
from policies.mesh import Mesh
from policies.model import ACTIONS, CLASS_MAX, Code, Decision, PolicyId, Principal, Request, ResourceKey
from policies.requests import TOOL, accept_claims
from policies.syntax import Policy

BEFORE_POLICY = frozenset({Code.CLAIM_NOT_ALLOWED, Code.UNKNOWN_RESOURCE})
_CODES = {code.value: code for code in (Code.NO_PERMIT, Code.FORBIDDEN, *sorted(BEFORE_POLICY, key=str))}
_ASKED = (
    "purpose",
    "data_class",
    "region",
    "protocol",
    "method",
    "path",
    "stream",
    "at",
    "source_ip",
    "arguments",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as somebody writes it: claims may be left out, as an application may leave them out."""

    caller: str
    action: str
    resource: ResourceKey
    purpose: str | None = None
    data_class: str | None = None
    region: str | None = None
    protocol: str = ""
    method: str = ""
    path: str = ""
    stream: bool = False
    now_ms: int | None = None
    source_ip: IPv4Address | IPv6Address | None = None
    arguments: Arguments = NONE

    def request(self, caller: Principal) -> Request | None:
        """The request that policies see; None where the claims are outside the caller's certificate."""
        claims = accept_claims(caller, self.purpose, self.data_class, self.region)
        protocol, method, path = space.usual(self.action, self.resource)
        if claims is None:
            return None
        return Request(
            principal=caller,
            action=self.action,
            resource=self.resource,
            purpose=claims.purpose,
            data_class=claims.data_class,
            subject_region=claims.subject_region,
            protocol=self.protocol or protocol,
            method=self.method or method,
            path=self.path or path,
            stream=self.stream,
            now_ms=self.now_ms,
            source_ip=self.source_ip,
            arguments=self.arguments,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What must become of a request. `policies` empty and `code` None: whatever allowed or denied it."""

    name: str
    asked: Asked
    allowed: bool
    policies: frozenset[str]
    code: Code | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """The policies of a file of cases by name, its mesh (None: given apart), and its cases."""

    policies: tuple[str, ...]
    mesh: Mesh | None
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A case that was run. `wrong` is empty where it passed."""

    case: Case
    decision: Decision
    wrong: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All cases of a file, and the policies that decided none of them."""

    outcomes: tuple[Outcome, ...]
    policies: tuple[PolicyId, ...]
    untouched: tuple[PolicyId, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.wrong)


def load(document: object) -> CaseFile:
    """From decoded YAML; raises InputError."""
    optional = ("policies", "nodes", "resources", "groups")
    fields = entries.mapping(document, "", required=("cases",), optional=optional)
    cases = entries.items(fields["cases"], "cases", _case)
    names = [case.name for case in cases]
    if not cases:
        raise InputError("cases", "there are none")
    if doubled := next((name for name in names if names.count(name) > 1), ""):
        raise InputError("cases", f"two are called `{doubled}`")
    own = not fields.keys().isdisjoint({"nodes", "resources", "groups"})
    return CaseFile(
        policies=entries.items(fields.get("policies"), "policies", entries.text),
        mesh=mesh.read(fields.get("nodes"), fields.get("resources"), fields.get("groups")) if own else None,
        cases=cases,
    )


def asked(value: object, where: str) -> Asked:
    """`from`, `action`, `resource` and what else a request says."""
    fields = entries.mapping(value, where, required=("from", "action", "resource"), optional=_ASKED)
    action = entries.text(fields["action"], f"{where}.action")
    if action not in ACTIONS:
        hint = "actions: " + ", ".join(sorted(ACTIONS))
        raise InputError(f"{where}.action", f"`{action[:80]}` is no action", hint=hint)
    texts = {
        name: entries.text(fields[name], f"{where}.{name}")
        for name in ("purpose", "region", "protocol", "method", "path")
        if name in fields
    }
    data_class = fields.get("data_class")
    if data_class is not None:
        data_class = str(entries.digit(data_class, f"{where}.data_class", CLASS_MAX))
    return Asked(
        caller=entries.text(fields["from"], f"{where}.from", grammar.NODE_NAME),
        action=action,
        resource=mesh.key(entries.text(fields["resource"], f"{where}.resource"), f"{where}.resource"),
        data_class=data_class,
        stream=entries.flag(fields.get("stream", False), f"{where}.stream"),
        now_ms=circumstances.read_moment(fields.get("at"), f"{where}.at"),
        source_ip=circumstances.read_address(fields.get("source_ip"), f"{where}.source_ip"),
        arguments=_arguments(fields.get("arguments"), f"{where}.arguments", action),
        **texts,
    )


def _arguments(value: object, where: str, action: str) -> Arguments:
    """Of the tool that is called: name -> string."""
    if value is None:
        return NONE
    if not isinstance(value, dict) or len(value) > arguments.MAX_NAMES:
        raise InputError(where, f"must be a mapping of at most {arguments.MAX_NAMES} arguments")
    if action != TOOL:
        raise InputError(where, f"`{action}` has none", hint="only calls of a `tool` have")
    names = [entries.text(name, where, arguments.NAME) for name in value]
    return arguments.of(
        {name: entries.text(value[name], f"{where}.{name}", arguments.VALUE) for name in names}
    )


def run(policies: Sequence[Policy], world: Mesh, cases: Sequence[Case]) -> Report:
    """Decide every case as both ends would: who is denied by one is denied."""
    engines = _Engines(policies, world)
    outcomes = tuple(_run(case, engines) for case in cases)
    touched = {policy for outcome in outcomes for policy in outcome.decision.because}
    known = tuple(sorted(policy.id for policy in policies))
    return Report(
        outcomes=outcomes,
        policies=known,
        untouched=tuple(policy for policy in known if policy not in touched),
    )


class _Engines:
    """What the callees enforce, and each caller, compiled when it is first asked for."""

    def __init__(self, policies: Sequence[Policy], world: Mesh) -> None:
        self._policies, self.world = policies, world
        self._ingress = Evaluator(compile_ingress(policies, world.resources))
        self._egress: dict[str, Evaluator] = {}

    def decide(self, request: Request) -> Decision:
        """The callee's decision. RuntimeError if the caller's end would not send what the callee's allows."""
        caller = request.principal
        if caller.node not in self._egress:
            rules = compile_egress(self._policies, caller, self.world.resources)
            self._egress[caller.node] = Evaluator(rules)
        decision = self._ingress.decide(request)
        if decision.allowed and not self._egress[caller.node].decide(request).allowed:
            raise RuntimeError("the caller's end is stricter than the callee's")
        return decision


def _run(case: Case, engines: _Engines) -> Outcome:
    caller = engines.world.node(case.asked.caller)
    if caller is None:
        raise InputError(f"case `{case.name}`", f"there is no node `{case.asked.caller}`")
    request = case.asked.request(caller)
    refused = Decision(code=Code.CLAIM_NOT_ALLOWED, because=())
    decision = refused if request is None else engines.decide(request)
    return Outcome(case=case, decision=decision, wrong=_wrong(case, decision))


def _wrong(case: Case, decision: Decision) -> str:
    got = "allow" if decision.code is None else f"deny ({decision.code.value})"
    by = f" by {', '.join(decision.because)}" if decision.because else ""
    if decision.allowed is not case.allowed:
        return f"expected {'allow' if case.allowed else 'deny'}, got {got}{by}"
    if case.code is not None and decision.code is not case.code:
        return f"expected deny ({case.code.value}), got {got}{by}"
    if case.code is None and decision.code in BEFORE_POLICY:
        return f"denied before any policy: {decision.code.value}; if that is meant, expect this `code`"
    if case.policies - set(decision.because):
        return f"expected policy {', '.join(sorted(case.policies))}, got {got}{by}"
    return ""


def _case(value: object, where: str) -> Case:
    fields = entries.mapping(
        value, where, required=("name", "request", "expect"), optional=("policy", "code")
    )
    expect = entries.text(fields["expect"], f"{where}.expect")
    if expect not in {"allow", "deny"}:
        raise InputError(f"{where}.expect", "must be `allow` or `deny`")
    policy = fields.get("policy", [])
    return Case(
        name=entries.text(fields["name"], f"{where}.name"),
        asked=asked(fields["request"], f"{where}.request"),
        allowed=expect == "allow",
        policies=entries.words(policy if isinstance(policy, list) else [policy], f"{where}.policy"),
        code=_code(fields, where, denied=expect == "deny"),
    )


def _code(fields: Mapping[str, object], where: str, *, denied: bool) -> Code | None:
    if "code" not in fields:
        return None
    found = _CODES.get(entries.text(fields["code"], f"{where}.code"))
    if found is None or not denied:
        raise InputError(f"{where}.code", "must be the code of a denial", hint=", ".join(_CODES))
    return found
