"""A recorded decision as policies see it: who asked what of whom with which claims, and what became of it.

A record says who its caller was, not what its certificate said: attributes come from a mesh. Its path is masked where it
looked personal. Whether records are genuine was checked before (`writ audit verify`), or was not.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from certs import spiffe
from certs.errors import CertError
from policies import grammar, mesh
from policies.errors import InputError
from policies.model import ACTIONS, CLASS_MAX, Code, Decision, Principal, Request, ResourceKey

DECIDED = frozenset({"", "no_permit", "forbidden", "unevaluable", "unknown_resource", "peer_unreachable"})
"""Codes of decisions that policy could have made otherwise; others were made before it: a lease, a floor, a body."""
_TEXTS = (
    "request_id",
    "direction",
    "node",
    "peer",
    "action",
    "resource",
    "protocol",
    "method",
    "path",
    "code",
    "policy",
    "claimed_purpose",
    "claimed_data_class",
    "claimed_subject_region",
)
_CODES = frozenset({"", *(code.value for code in Code)})
_CLASSES = {str(digit): digit for digit in range(CLASS_MAX + 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One end's record of one request. `caller` is `<node>.<site>`; `resource` None: it was not known."""

    request_id: str
    direction: str
    caller: str
    action: str
    resource: ResourceKey | None
    purpose: str
    data_class: int | None
    region: str | None
    protocol: str
    method: str
    path: str
    stream: bool
    allowed: bool
    code: str
    policy: str
    policy_version: int
    time_ms: int

    @property
    def masked(self) -> bool:
        """Whether the path is not what was decided on."""
        return "***" in self.path

    def became(self, decision: Decision) -> bool:
        """Whether a decision made now is the recorded one: verdict, code, and the policy that was named."""
        code = decision.code.value if decision.code else ""
        return code == self.code and (not self.policy or self.policy in decision.because)

    def request(self, caller: Principal) -> Request | None:
        """What policies would be asked again; None where the record does not say all of it."""
        if self.resource is None or self.data_class is None or self.action not in ACTIONS:
            return None
        return Request(
            principal=caller,
            action=self.action,
            resource=self.resource,
            purpose=self.purpose,
            data_class=self.data_class,
            subject_region=self.region,
            protocol=self.protocol,
            method=self.method,
            path=self.path,
            stream=self.stream,
            now_ms=self.time_ms,
        )


def read(fields: Mapping[str, object], where: str) -> Recorded | None:
    """From a decoded record; None for what is no decision. Raises InputError."""
    if fields.get("kind") != "decision":
        return None
    texts = {name: fields.get(name) for name in _TEXTS}
    stream, allowed = fields.get("stream"), fields.get("allowed")
    version, time_ms = fields.get("policy_version"), fields.get("time_ms")
    if not all(isinstance(text, str) for text in texts.values()):
        wrong = next(name for name, text in texts.items() if not isinstance(text, str))
        raise InputError(where, f"`{wrong}` must be a string")
    if not (isinstance(stream, bool) and isinstance(allowed, bool)):
        raise InputError(where, "`stream` and `allowed` must be `true` or `false`")
    if not (isinstance(version, int) and isinstance(time_ms, int)):
        raise InputError(where, "`policy_version` and `time_ms` must be numbers")
    known = {name: str(text) for name, text in texts.items()}
    if known["code"] not in _CODES or allowed is bool(known["code"]):
        raise InputError(where, f"`{known['code'][:80]}` is no code of this decision")
    outwards = known["direction"] == "out"
    caller, callee = (known["node"], known["peer"]) if outwards else (known["peer"], known["node"])
    return Recorded(
        request_id=known["request_id"],
        direction=known["direction"],
        caller=_short(caller),
        action=known["action"],
        resource=_resource(known["resource"], _short(callee)),
        purpose=known["claimed_purpose"],
        data_class=_CLASSES.get(known["claimed_data_class"]),
        region=known["claimed_subject_region"] or None,
        protocol=known["protocol"],
        method=known["method"],
        path=known["path"],
        stream=stream,
        allowed=allowed,
        code=known["code"],
        policy=known["policy"],
        policy_version=version,
        time_ms=time_ms,
    )


@functools.lru_cache(maxsize=65_536)
def _short(spiffe_id: str) -> str:
    try:
        return spiffe.parse(spiffe_id).short
    except CertError:
        return ""


@functools.lru_cache(maxsize=65_536)
def _resource(text: str, node: str) -> ResourceKey | None:
    """`Model/ngram`, served by `node`."""
    if not grammar.NODE_NAME.fullmatch(node):
        return None
    try:
        return mesh.key(f"{text}@{node}")
    except InputError:
        return None
