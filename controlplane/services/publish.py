"""What is signed for the mesh, and when: trust document, heartbeat, tickets. How a policy comes into force: `rollout`.

1. Trust and heartbeat first: a revocation waits for no compilation.
2. A heartbeat is signed only after the store was read in this interval: a replica that is cut off keeps nobody alive.
3. A shadow's ticket needs a feature of its own: an agent that does not know shadows refuses it, and none enforces it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from controlplane import model
from controlplane.errors import ControlPlaneError
from controlplane.model import NodeRow, ResourceRow
from controlplane.services import rows
from controlplane.services.authorities import Authorities
from controlplane.services.bundles import Bundle, BundleMaker
from controlplane.services.hub import Hub
from controlplane.services.versions import Plan, Versions
from controlplane.store.base import Store
from policies import codec, payloads
from policies import documents as d

log = structlog.get_logger()
FEATURES = ("rules-v1",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One signed state for everybody: bytes as they go on the wire."""

    generation: int
    trust: bytes
    trust_digest: str
    heartbeat: bytes
    lease_until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIssue:
    """Tickets of one node, and the blobs they name."""

    tickets: tuple[bytes, ...]
    blobs: dict[str, bytes]
    shadow: bytes = b""  # the ticket of the shadow policy, for agents that know what that is


class Publisher:
    """Owns the newest signed state. `refresh` is safe to call from anywhere; runs do not overlap."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        hub: Hub,
        *,
        lease_s: int,
        heartbeat_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._made, self.hub = store, made, hub
        self._lease_s, self._heartbeat_s, self._clock = lease_s, heartbeat_s, clock
        self._lock, self._bundles_due = asyncio.Lock(), asyncio.Event()
        self.versions = Versions(store)
        self._maker = BundleMaker()
        self._made_bundles: dict[int, dict[str, Bundle]] = {}
        self._tickets: dict[tuple[str, int], tuple[tuple[str, str], bytes]] = {}
        self.issue: Issue | None = None
        self.nodes: dict[str, NodeIssue] = {}
        self.lease_s = lease_s

    # --- trust and heartbeat ---------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Sign the newest trust document and wake everybody; bundles follow in the background."""
        async with self._lock:
            self.issue = await self._sign_trust()
        self.hub.wake_all()
        self._bundles_due.set()

    async def beat(self) -> None:
        """A new heartbeat, after reading the store: without an answer there is none."""
        async with self._lock:
            self.issue = await self._sign_trust()
        self.hub.wake_all()

    async def run(self) -> None:
        """Heartbeats for ever, bundles when due."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beats())
            tasks.create_task(self._bundle_runs())

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                await self.beat()
            except ControlPlaneError as exc:
                log.warning("heartbeat_withheld", reason=str(exc))

    async def _sign_trust(self) -> Issue:
        now = int(self._clock())
        mesh = await self._store.get(rows.MESH)
        generation = mesh.revision if mesh else 0
        if self.issue is not None and generation == self.issue.generation:
            return self._with_heartbeat(self.issue, now)
        floors = await rows.every(self._store, NodeRow, "floor/")
        policy = (await rows.policy_state(self._store)).row
        document = d.TrustDocument(
            trust_domain=self._made.trust_domain,
            generation=generation,
            roots=(self._made.root,),
            node_cas=(self._made.node_ca.certificate,),
            control_plane_cas=(self._made.control_plane_ca.certificate,),
            floors={str(stored.row.spiffe_id): _floor(stored.row) for stored in floors},
            policy_min=policy.minimum,
            policy_now=policy.now,
        )
        payload = payloads.dump_trust(document)
        sealed = payloads.seal(d.TYPE_TRUST, payload, self._made.document_signer()).to_json()
        issue = Issue(
            generation=generation,
            trust=sealed,
            trust_digest=codec.digest(payload),
            heartbeat=b"",
            lease_until=0,
        )
        return self._with_heartbeat(issue, now)

    def _with_heartbeat(self, issue: Issue, now: int) -> Issue:
        beat = d.Heartbeat(
            trust_domain=self._made.trust_domain,
            generation=issue.generation,
            trust=issue.trust_digest,
            at=now,
            until=now + self._lease_s,
        )
        sealed = payloads.seal(d.TYPE_HEARTBEAT, payloads.dump_heartbeat(beat), self._made.document_signer())
        return replace(issue, heartbeat=sealed.to_json(), lease_until=beat.until)

    # --- bundles ---------------------------------------------------------------------------------------------

    async def _bundle_runs(self) -> None:
        while True:
            await self._bundles_due.wait()
            self._bundles_due.clear()
            try:
                await self.refresh_bundles()
            except ControlPlaneError as exc:
                log.warning("bundles_withheld", reason=str(exc))

    async def refresh_bundles(self) -> None:
        """Make the bundles of every version that counts, sign tickets for those that changed, wake their nodes."""
        state = (await rows.policy_state(self._store)).row
        nodes = {stored.row.short: stored.row for stored in await rows.every(self._store, NodeRow, "node/")}
        resources = [stored.row for stored in await rows.every(self._store, ResourceRow, "resource/")]
        plan = await self.versions.plan(state, {row.site for row in nodes.values()})
        self._maker.keep(plan.needed)
        fresh = {
            v: self._maker.make(v, await self.versions.policies(v), nodes, resources) for v in plan.needed
        }
        generation = self.issue.generation if self.issue else 0
        issued = {
            str(row.spiffe_id): self._node_issue(str(row.spiffe_id), plan, row.site, fresh, generation)
            for row in nodes.values()
            if row.state == model.ENROLLED
        }
        changed = [spiffe_id for spiffe_id, issue in issued.items() if issue != self.nodes.get(spiffe_id)]
        self.nodes = issued
        for spiffe_id in changed:
            self.hub.wake(spiffe_id)

    def _node_issue(
        self,
        spiffe_id: str,
        plan: Plan,
        site: str,
        fresh: Mapping[int, Mapping[str, Bundle]],
        generation: int,
    ) -> NodeIssue:
        bundles = {version: fresh[source][spiffe_id] for version, source in plan.at(site)}
        shadow = plan.shadow_at(site)
        tickets = tuple(
            self._ticket(spiffe_id, version, bundle, generation, FEATURES)
            for version, bundle in bundles.items()
        )
        aside = b""
        if shadow:
            bundles[shadow] = fresh[shadow][spiffe_id]
            aside = self._ticket(spiffe_id, shadow, bundles[shadow], generation, (*FEATURES, d.SHADOW))
        blobs = {
            codec.digest(blob): blob for bundle in bundles.values() for blob in (bundle.rules, bundle.peers)
        }
        return NodeIssue(tickets=tickets, blobs=blobs, shadow=aside)

    def _ticket(
        self, spiffe_id: str, version: int, bundle: Bundle, generation: int, features: tuple[str, ...]
    ) -> bytes:
        """A signed ticket; the one from before as long as it says the same."""
        kept = self._tickets.get((spiffe_id, version))
        if kept and kept[0] == bundle.digests:
            return kept[1]
        rules, peers = bundle.digests
        ticket = d.Ticket(
            trust_domain=self._made.trust_domain,
            node=spiffe_id,
            generation=generation,
            policy_version=version,
            issued_at=int(self._clock()),
            rules=rules,
            peers=peers,
            features=features,
        )
        sealed = payloads.seal(
            d.TYPE_TICKET, payloads.dump_ticket(ticket), self._made.document_signer()
        ).to_json()
        self._tickets[spiffe_id, version] = (bundle.digests, sealed)
        return sealed


def _floor(row: NodeRow) -> int | None:
    return None if row.state in {model.REVOKED, model.LOCKED} else row.floor
