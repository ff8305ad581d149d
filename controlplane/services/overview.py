"""The mesh in one look: how many nodes are how, who lags, what ends when. Counted here, so that ten thousand nodes cost an
operator one small answer.

Rows are parsed when they change, not when somebody looks. What an agent says of itself counts only while it is connected.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from certs import envelope, verify
from controlplane import model
from controlplane.model import NodeRow
from controlplane.services import rows
from controlplane.services.authority import revoked_cas
from controlplane.services.authority.authorities import Authorities
from controlplane.services.push.hub import AgentState
from controlplane.services.push.publish import Publisher
from controlplane.store.base import Store

BUCKETS_S = (0, 300, 900, 1800, 3600, 6 * 3600, 86400)
CLOCK_OFF_MS = 5000
ROOT_CRL = "root-crl"
EXPIRING_SHARE = 0.2  # of its life: a certificate is renewed at half of it
URGENCY = (
    "locked",
    "copied",
    "evidence",
    "expired",
    "not_cut",
    "refused",
    "clock",
    "lagging",
    "expiring",
    "quarantined",
    "gap",
    "away",
    "unreachable",
    "cannot_cut",
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing about one node that somebody should look at."""

    kind: str  # of URGENCY
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node as it is now. `agent` is None while it is not connected."""

    row: NodeRow
    agent: AgentState | None
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What every node should be at."""

    generation: int
    policy_min: int
    policy_now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityEnd:
    """Something that all rests on, and when it ends."""

    kind: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The counts, and the nodes that need attention, most urgent first."""

    wanted: Wanted
    nodes: tuple[NodeView, ...]
    by_state: dict[str, int]
    connected: int
    enforcing: int
    expiry: dict[int, int]  # upper bound in seconds -> certificates; 0: ended, -1: later than the last bound
    attention: tuple[NodeView, ...]
    troubles: dict[str, int]  # kind -> nodes that have it


class Overviews:
    """Looks. Keeps what it parsed, by revision."""

    def __init__(self, store: Store, made: Authorities, publisher: Publisher, svid_lifetime_s: int) -> None:
        self._store, self._made, self._publisher = store, made, publisher
        self._svid_lifetime_s = svid_lifetime_s
        self._parsed: dict[str, tuple[int, NodeRow]] = {}
        self._root_crl: tuple[bytes, AuthorityEnd | None] = (b"", None)

    async def look(self, now: int) -> Overview:
        await self._look_at_root_crl()
        policy = (await rows.policy_state(self._store)).row
        issue = self._publisher.issue
        wanted = Wanted(
            generation=issue.generation if issue else 0, policy_min=policy.minimum, policy_now=policy.now
        )
        agents = self._publisher.hub.agents
        return summarise(await self._nodes(), agents, wanted, self._svid_lifetime_s, now)

    async def _look_at_root_crl(self) -> None:
        der = (await revoked_cas.known(self._store, self._made.now.signing)).der
        if der and der != self._root_crl[0]:
            listed = revoked_cas.read(der, self._made.now.signing)
            end = AuthorityEnd(kind=ROOT_CRL, not_before=listed.this_update, not_after=listed.next_update)
            self._root_crl = (der, end)

    async def _nodes(self) -> list[NodeRow]:
        items, _ = await self._store.list("node/")
        before, self._parsed = self._parsed, {}
        for item in items:
            kept = before.get(item.key)
            fresh = kept is None or kept[0] != item.revision
            self._parsed[item.key] = (item.revision, model.load(NodeRow, item.value)) if fresh else kept  # type: ignore[assignment]  # not None when not fresh
        return [row for _, row in self._parsed.values()]

    def authorities(self) -> list[AuthorityEnd]:
        """Those of this replica, and the root's; the root's list as it was when somebody looked last."""
        made = self._made
        ders = {
            "root": made.now.signing,
            "node-ca": made.node_ca.certificate,
            "control-plane-ca": made.control_plane_ca.certificate,
            "workload-ca": made.workload_ca.certificate,
        }
        return [_certificate_end(kind, der) for kind, der in ders.items()] + [
            _delegation_end(self._publisher.anchors.delegation),
            *([self._root_crl[1]] if self._root_crl[1] else []),
        ]

    def replicas(self, own: str) -> dict[str, int]:
        """How many agents are connected through each replica, as far as this one has been told."""
        through = Counter(
            state.replica or own for state in self._publisher.hub.agents.values() if state.connected
        )
        return {own: through[own], **dict(sorted(through.items()))}


def summarise(
    nodes: Iterable[NodeRow], agents: dict[str, AgentState], wanted: Wanted, svid_lifetime_s: int, now: int
) -> Overview:
    """Pure: rows and states in, counts out."""
    views = [_view(row, agents.get(str(row.spiffe_id)), wanted, svid_lifetime_s, now) for row in nodes]
    connected = [(view.row, view.agent) for view in views if view.agent is not None]
    troubled = [view for view in views if view.troubles]
    return Overview(
        wanted=wanted,
        nodes=tuple(views),
        by_state=dict(Counter(view.row.state for view in views)),
        connected=len(connected),
        enforcing=sum(not _lags(row, agent, wanted) for row, agent in connected),
        expiry=_histogram([v.row.not_after - now for v in views if v.row.state == model.ENROLLED]),
        attention=tuple(sorted(troubled, key=lambda view: URGENCY.index(view.troubles[0].kind))),
        troubles=dict(Counter(kind for view in troubled for kind in {t.kind for t in view.troubles})),
    )


def _view(row: NodeRow, agent: AgentState | None, wanted: Wanted, svid_lifetime_s: int, now: int) -> NodeView:
    live = agent if agent is not None and agent.connected else None
    found = _troubles(row, live, wanted, svid_lifetime_s, now)
    ordered = sorted(found, key=lambda trouble: URGENCY.index(trouble.kind))
    return NodeView(row=row, agent=live, troubles=tuple(ordered))


def _troubles(
    row: NodeRow, agent: AgentState | None, wanted: Wanted, svid_lifetime_s: int, now: int
) -> Iterator[Trouble]:
    if row.state == model.LOCKED:
        yield Trouble("locked", row.reason or "a copied key was seen")
    if row.state == model.QUARANTINED:
        yield Trouble("quarantined", row.reason or "kept apart by an operator")
    if row.state != model.ENROLLED:
        return
    left = row.not_after - now
    if left <= 0:
        yield Trouble("expired", f"certificate ended {-left} s ago")
    elif left < EXPIRING_SHARE * svid_lifetime_s:
        yield Trouble("expiring", f"certificate ends in {left} s and was not renewed")
    if agent is None:
        yield Trouble("away", "not connected to this control plane")
        return
    yield from _agent_troubles(row, agent, wanted)


def _agent_troubles(row: NodeRow, agent: AgentState, wanted: Wanted) -> Iterator[Trouble]:
    if agent.copied:
        yield Trouble("copied", f"its certificate before this one was used {agent.copied} times")
    if agent.evidence_unwritable:
        yield Trouble("evidence", "records cannot be written, so it denies")
    if agent.error:
        yield Trouble("refused", agent.error)
    elif _lags(row, agent, wanted):
        held = f"enforces generation {agent.generation}, policy {agent.policy_version}"
        yield Trouble("lagging", f"{held}; wanted {wanted.generation}, {wanted.policy_now}")
    if abs(agent.clock_off_ms) > CLOCK_OFF_MS:
        yield Trouble("clock", f"its clock differs by {agent.clock_off_ms / 1000:+.1f} s")
    if agent.unreachable:
        yield Trouble(
            "unreachable", f"cannot reach {', '.join(agent.unreachable[:3])}{_more(agent.unreachable)}"
        )
    if agent.gaps:
        yield Trouble("gap", f"{agent.gaps} gaps in its evidence since it started")
    for line in agent.not_cut[:1]:
        yield Trouble("not_cut", f"not cut, ends by itself: {line}")
    if agent.cannot_cut:
        yield Trouble("cannot_cut", "open streams end only at their longest duration")


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 - as many as fit a line


def _lags(row: NodeRow, agent: AgentState, wanted: Wanted) -> bool:
    policy = 0 if row.state == model.QUARANTINED else wanted.policy_now  # it is given none
    return agent.generation < wanted.generation or agent.policy_version < policy


def _histogram(left: Sequence[int]) -> dict[int, int]:
    found = dict.fromkeys((*BUCKETS_S, -1), 0)
    for seconds in left:
        found[next((bound for bound in BUCKETS_S if seconds <= bound), -1)] += 1
    return found


def _certificate_end(kind: str, der: bytes) -> AuthorityEnd:
    certificate = verify.load(der)
    return AuthorityEnd(
        kind=kind,
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
    )


def _delegation_end(delegation: bytes) -> AuthorityEnd:
    parsed = envelope.parse(delegation, len(delegation))
    expires = int(json.loads(parsed.payload)["expires"])  # our own, verified by every agent
    return AuthorityEnd(kind="delegation", not_before=0, not_after=expires)
