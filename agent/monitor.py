"""What the agent says of itself to those who watch it: whether it is ready, and its numbers. Pure: facts in.

Ready is red *before* authority ends: while heartbeats stay away or renewal fails there is time left to act. A node that is
not ready may still enforce; one that denies everything never says it is ready.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.api.exposition import Metric, by_label, counter, gauge

RED_SHARE = 0.2
"""Of a lease or a certificate: red when less is left. Both are renewed long before (every heartbeat; half of the life)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time that ends: Unix seconds."""

    begins: float
    ends: float

    def left(self, now: float) -> float:
        return max(0.0, self.ends - now)

    def short(self, now: float) -> bool:
        return self.left(now) < RED_SHARE * (self.ends - self.begins) or now >= self.ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The agent at one moment."""

    node: str
    version: str
    envoy_version: str
    certificate: Span
    lease: Span
    connected: bool
    revoked: bool
    received: int  # generation
    enforced: (
        tuple[int, int] | None
    )  # generation, policy version; None: Envoy holds nothing that may be enforced
    evidence_writable: bool
    can_cut: bool
    records: int
    gaps: int
    decisions: Mapping[str, int]  # denial code, or `allowed`
    open_streams: int
    not_cut: int
    envoy_starts: int


def not_ready(facts: Facts, now: float) -> list[str]:
    """Why this node should not get traffic; empty when it may."""
    reasons = {
        "not enforcing": facts.enforced is None,
        "revoked": facts.revoked and not facts.connected,
        "quarantined": facts.revoked and facts.connected,  # to the revoked nobody talks
        "evidence cannot be written": not facts.evidence_writable,
        f"lease ends in {facts.lease.left(now):.0f} s": facts.lease.short(now),
        f"certificate ends in {facts.certificate.left(now):.0f} s": facts.certificate.short(now),
    }
    return [reason for reason, holds in reasons.items() if holds]


def metrics(facts: Facts, now: float) -> list[Metric]:
    """Everything in docs/metrics.md that begins with `writ_agent_`."""
    generation, version = facts.enforced or (0, 0)
    return [
        gauge("writ_agent_info", "Versions, as labels.", 1, node=facts.node, version=facts.version, envoy=facts.envoy_version),
        gauge("writ_agent_ready", "1 when /ready is green.", int(not not_ready(facts, now))),
        gauge("writ_agent_connected", "1 while the stream to a control plane is up.", int(facts.connected)),
        by_label("gauge", "writ_agent_generation", "Generation of the mesh, received and enforced.", "is", {"received": facts.received, "enforced": generation}),
        gauge("writ_agent_policy_version", "Policy version that Envoy enforces; 0: none.", version),
        gauge("writ_agent_lease_seconds", "Seconds until this node denies, unless it hears of the control plane.", facts.lease.left(now)),
        gauge("writ_agent_certificate_seconds", "Seconds until the certificate ends.", facts.certificate.left(now)),
        gauge("writ_agent_budget_seconds", "Seconds that this node can still act if it hears nothing more: the shorter of both.", min(facts.lease.left(now), facts.certificate.left(now))),
        gauge("writ_agent_evidence_writable", "0: records cannot be written, so the gate denies.", int(facts.evidence_writable)),
        counter("writ_agent_records_total", "Entries written to the evidence log since start.", facts.records),
        counter("writ_agent_gaps_total", "Gap records written since start: evidence was lost, and says so.", facts.gaps),
        by_label("counter", "writ_agent_decisions_total", "Requests decided, by denial code or `allowed`.", "code", {"allowed": 0, **facts.decisions}),
        gauge("writ_agent_open_streams", "Streams that are open through this sidecar.", facts.open_streams),
        gauge("writ_agent_streams_not_cut", "Streams that should have ended and could not be cut.", facts.not_cut),
        gauge("writ_agent_can_cut", "1 when single streams can be cut (CAP_NET_ADMIN).", int(facts.can_cut)),
        counter("writ_agent_envoy_starts_total", "Times that Envoy was started by this agent.", facts.envoy_starts),
    ]  # fmt: skip
