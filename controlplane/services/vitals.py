"""What a control plane says of itself to those who watch it: whether it is ready, and its numbers. Pure: facts in.

Ready is red when this replica keeps nobody alive (it signs no heartbeat, because it cannot read the store), and when its
CA has less time left than the certificates that it issues: agents and operators then go to another replica. A list of the root
that has ended turns nothing red: only others read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane import model
from controlplane.api.exposition import Metric, by_label, counter, gauge
from controlplane.services.overview import ROOT_CRL, AuthorityEnd, Overview
from controlplane.store.base import Health

MISSED_BEATS = 3
STATES = (model.INVITED, model.ENROLLED, model.QUARANTINED, model.REVOKED, model.LOCKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """This replica at one moment."""

    version: str
    beat_age_s: float | None  # None: none was signed yet
    heartbeat_s: float
    lease_s: int
    svid_lifetime_s: int
    authorities: Sequence[AuthorityEnd]
    evidence_refused: Mapping[str, int] = field(default_factory=dict)
    """Evidence that enrolled nobody, by kind."""
    arriving: int = 0  # streams that began and are not served yet
    refused: int = 0  # agents that were told to come back
    store: Health | None = None  # None: not examined yet
    evidence_writable: bool = True
    """Whether what operators do can be recorded; if not, they are refused, and nodes are served: that is no reason to go."""


def not_ready(vitals: Vitals, now: float) -> list[str]:
    """Why nobody should be sent here; empty when all is well."""
    reasons = []
    if vitals.beat_age_s is None:
        reasons.append("no heartbeat was signed yet")
    elif vitals.beat_age_s > MISSED_BEATS * vitals.heartbeat_s:
        reasons.append(f"no heartbeat was signed for {vitals.beat_age_s:.0f} s: can the store be read?")
    reasons += [
        f"`{end.kind}` ends in {end.not_after - now:.0f} s"
        for end in vitals.authorities
        if end.kind != ROOT_CRL and end.not_after - now < vitals.svid_lifetime_s
    ]
    return reasons


def metrics(vitals: Vitals, seen: Overview, now: float) -> list[Metric]:
    """Everything in docs/metrics.md that begins with `writ_controlplane_`."""
    live = [view.agent for view in seen.nodes if view.agent is not None]
    policy = {"min": seen.wanted.policy_min, "now": seen.wanted.policy_now}
    worst = vitals.svid_lifetime_s + vitals.lease_s
    states = {**dict.fromkeys(STATES, 0), **seen.by_state}
    ends = {end.kind: max(0.0, end.not_after - now) for end in vitals.authorities}
    age = -1.0 if vitals.beat_age_s is None else vitals.beat_age_s
    return [
        gauge("writ_controlplane_info", "Version, as a label.", 1, version=vitals.version),
        gauge("writ_controlplane_ready", "1 when /ready is green.", int(not not_ready(vitals, now))),
        gauge("writ_controlplane_heartbeat_age_seconds", "Since this replica last signed a heartbeat; -1: never.", age),
        gauge("writ_controlplane_generation", "Generation that every agent should enforce.", seen.wanted.generation),
        by_label("gauge", "writ_controlplane_policy_version", "Policy versions that count: from min to now.", "is", policy),
        by_label("gauge", "writ_controlplane_nodes", "Nodes by state.", "state", states),
        gauge("writ_controlplane_agents_connected", "Agents with an open stream.", seen.connected),
        gauge("writ_controlplane_agents_arriving", "Streams that began and are not served yet.", vitals.arriving),
        counter("writ_controlplane_agents_refused_total", "Calls of agents that were told to come back later.", vitals.refused),
        gauge("writ_controlplane_agents_lagging", "Connected agents that do not enforce generation and policy wanted.", seen.connected - seen.enforcing),
        gauge("writ_controlplane_agents_evidence_unwritable", "Agents that cannot write records, and deny.", sum(a.evidence_unwritable for a in live)),
        gauge("writ_controlplane_agents_cannot_cut", "Agents that cannot cut single streams.", sum(a.cannot_cut for a in live)),
        gauge("writ_controlplane_streams_not_cut", "Streams that should have ended and could not be cut.", sum(len(a.not_cut) for a in live)),
        gauge("writ_controlplane_evidence_gaps", "Gap records that connected agents wrote since they started.", sum(a.gaps for a in live)),
        by_label("gauge", "writ_controlplane_node_certificates", "Certificates of enrolled nodes by seconds left, up to; `0`: ended.", "up_to", _bounds(seen.expiry)),
        by_label("gauge", "writ_controlplane_authority_seconds", "Seconds until root, CAs and delegation end.", "kind", ends),
        by_label("counter", "writ_controlplane_evidence_refused_total", "Evidence that enrolled nobody, by kind.", "kind", vitals.evidence_refused),
        gauge("writ_controlplane_lease_seconds", "How long an agent may act on what it last heard.", vitals.lease_s),
        gauge("writ_controlplane_evidence_writable", "0: what operators do cannot be recorded, so they are refused.", int(vitals.evidence_writable)),
        *_store(vitals.store),
        gauge("writ_controlplane_worst_case_authority_seconds", "How long a node that is cut off and revoked can act at most: certificate and lease.", worst),
    ]  # fmt: skip


def _store(health: Health | None) -> list[Metric]:
    """How the store is, member by member."""
    if health is None:
        return []
    up = {one.name: int(one.up) for one in health.members}
    sizes = {one.name: one.size for one in health.members if one.up}
    errors = {one.name: len(one.errors) for one in health.members}
    return [
        by_label("gauge", "writ_controlplane_store_up", "1 when this member of the store answers.", "member", up),
        gauge("writ_controlplane_store_leader", "1 when a member of the store leads.", int(any(one.leads for one in health.members))),
        by_label("gauge", "writ_controlplane_store_bytes", "Size on disk.", "member", sizes),
        by_label("gauge", "writ_controlplane_store_errors", "What a member says of itself: alarms, a missing leader.", "member", errors),
        gauge("writ_controlplane_store_room_bytes", "Left on the device of an embedded store; -1: not known.", health.room),
    ]  # fmt: skip


def _bounds(expiry: dict[int, int]) -> dict[str, float]:
    return {"later" if bound < 0 else str(bound): count for bound, count in expiry.items()}
