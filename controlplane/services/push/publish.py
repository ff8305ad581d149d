"""What is signed for the mesh, and when: trust document, heartbeat, tickets. How a policy comes into force: `rollout`.

1. Trust and heartbeat first: a revocation waits for no compilation.
2. A heartbeat is signed only after the store was read in this interval: a replica that is cut off keeps nobody alive.
3. Nothing is signed from a store that is older than what the mesh has acted on (`mark`).
4. A shadow's ticket needs a feature of its own: an agent that does not know shadows refuses it, and none enforces it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from controlplane import model
from controlplane.authority_rows import CaRow, JwtKeyRow, ReplicaRow, RootChangeRow
from controlplane.errors import ControlPlaneError, RolledBackError
from controlplane.model import NodeRow, PolicyState, ResourceRow
from controlplane.services import rows
from controlplane.services.authority import ca_rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.identity import workload_documents
from controlplane.services.identity.workload_documents import WorkloadDocuments
from controlplane.services.mesh import replicas
from controlplane.services.mesh.replicas import Anchors
from controlplane.services.policy.versions import Plan, Versions
from controlplane.services.push import bundles
from controlplane.services.push.bundles import Bundle, BundleMaker
from controlplane.services.push.hub import AgentState, Hub
from controlplane.services.push.issued import Issue, NodeIssue
from controlplane.services.push.unchanged import Unchanged
from controlplane.services.restore.held import Held, proven
from controlplane.services.restore.mark import Mark
from controlplane.services.rows import Stored
from controlplane.store.base import Item, Store
from policies import codec, payloads
from policies import documents as d

log = structlog.get_logger()
TRUST_PREFIXES = (
    rows.MESH,
    rows.FLOORS,
    rows.POLICY,
    rows.ROOT_CHANGES,
    "replica/",
    rows.CA_AUTHORITIES,
    rows.JWT_AUTHORITIES,
    rows.DELEGATION,
)
BUNDLE_PREFIXES = ("node/", "resource/", rows.POLICY, *workload_documents.PREFIXES)
SPREAD_S = 5.0  # a heartbeat reaches all agents within so long, or half its interval
MAX_REST_S = 2.0
BREATH = 32  # bundles made in one go: a revocation must not wait for ten thousand
FEATURES = ("rules-v1",)


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
        mark: Mark | None = None,
    ) -> None:
        self._store, self._made, self.hub = store, made, hub
        self._mark, self._doubted = mark or Mark(), asyncio.Event()
        self._lease_s, self._heartbeat_s, self._clock = lease_s, heartbeat_s, clock
        self._lock, self.bundles_due = asyncio.Lock(), asyncio.Event()
        self._bundle_lock = asyncio.Lock()
        self._asked = self._covered = 0
        self._floors, self._replicas = rows.Parsed(NodeRow), rows.Parsed(ReplicaRow)
        self._cas, self._jwt_keys = rows.Parsed(CaRow), rows.Parsed(JwtKeyRow)
        self._root_changes = rows.Parsed(RootChangeRow)
        self._ours: list[Stored[CaRow]] | None = None  # rows of our CAs, as they were followed last
        self._nodes, self._resources = rows.Parsed(NodeRow), rows.Parsed(ResourceRow)
        self._renew_floors: dict[str, int | None] = {}
        self._apart: frozenset[str] = frozenset()  # SPIFFE IDs of the quarantined
        self.anchors = replicas.alone(made)
        self.versions = Versions(store)
        self._maker, self._unchanged = BundleMaker(), Unchanged()
        self._tickets: dict[tuple[str, int], tuple[tuple[str, str], bytes]] = {}
        self.workloads = WorkloadDocuments(made)
        self.issue: Issue | None = None
        self.nodes: dict[str, NodeIssue] = {}
        self.lease_s = lease_s

    # --- trust and heartbeat ---------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Sign the newest trust document and wake everybody; bundles follow in the background.

        Whoever asks while one is being signed shares the next: it covers what was committed before it began.
        """
        self._asked += 1
        mine = self._asked
        async with self._lock:
            if self._covered >= mine:
                return
            covers = self._asked
            self.issue = await self._sign_trust()
            self._covered = covers
        self.hub.wake_all()
        self.bundles_due.set()

    async def beat(self) -> None:
        """A new heartbeat, after reading the store: without an answer there is none."""
        async with self._lock:
            before, self.issue = self.issue, await self._sign_trust()
        if before is None or before.generation != self.issue.generation:
            self.hub.wake_all()
            self.bundles_due.set()
        else:
            await self.hub.wake_in_turn(min(self._heartbeat_s / 2, SPREAD_S))

    async def shown(self, held: Held) -> None:
        """What an agent holds. RolledBackError, and the end of this replica, when it proves that our store is older."""
        known = self.issue.generation if self.issue else 0
        generation = proven(held, self._made.roots, self.anchors.delegation, known)
        if not generation:
            return
        self._mark.reach(generation)
        try:
            await self.refresh()
        except RolledBackError:
            self._doubted.set()
            raise

    def accuse(self, what: str) -> None:
        """Something that was signed here is not in the store: this replica ends."""
        self._mark.accuse(what)
        self._doubted.set()

    def may_go_on(self, spiffe_id: str, epoch: int) -> bool:
        """Is a session of this node, begun with a certificate of this epoch, still wanted? As of the newest generation."""
        floor = self._renew_floors.get(spiffe_id, 1)
        return floor is not None and epoch >= floor

    def agents(self) -> list[AgentState]:
        """Connected agents that are given policy. The quarantined are not, and nobody waits for them."""
        return [agent for agent in self.hub.connected() if agent.spiffe_id not in self._apart]

    async def run(self) -> None:
        """Heartbeats for ever, bundles when due."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beats())
            tasks.create_task(self._bundle_runs())

    async def _beats(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            due = max(due + self._heartbeat_s, clock())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._doubted.wait()
            self._doubted.clear()
            try:
                await self.beat()
            except RolledBackError:
                raise  # ends this replica: nothing that it says may count
            except ControlPlaneError as exc:
                log.warning("heartbeat_withheld", reason=str(exc))

    async def _sign_trust(self) -> Issue:
        now = int(self._clock())
        reached = self._mark.generation  # before the store is read: later proofs are of later states
        mesh = await self._store.get(rows.MESH)
        generation = mesh.revision if mesh else 0
        self._mark.check(generation, reached)
        if self.issue is not None and generation == self.issue.generation:
            return self._with_heartbeat(self.issue, now)
        (mesh_items, floor_items, policy_items, root_items, *anchor_items), _ = await self._store.snapshot(
            TRUST_PREFIXES
        )
        generation = mesh_items[0].revision if mesh_items else 0
        floors = self._floors(floor_items)
        policy = model.load(PolicyState, policy_items[0].value) if policy_items else PolicyState()
        if self._made.stand([one.row for one in self._root_changes(root_items)]):
            self._ours = None  # a root more or less: other CAs may count
        self.anchors = self._anchors(*anchor_items)
        document = d.TrustDocument(
            trust_domain=self._made.trust_domain,
            generation=generation,
            roots=self._made.roots,
            node_cas=self.anchors.node_cas,
            control_plane_cas=self.anchors.control_plane_cas,
            workload_cas=self.anchors.workload_cas,
            floors=self._take_floors(floors),
            policy_min=policy.minimum,
            policy_now=policy.now,
            jwt_keys=self.anchors.jwt_keys,
        )
        payload = payloads.dump_trust(document)
        sealed = payloads.seal(d.TYPE_TRUST, payload, *self._made.document_signers()).to_json()
        await asyncio.to_thread(self._mark.reach, generation)
        issue = Issue(
            generation=generation,
            trust=sealed,
            trust_digest=codec.digest(payload),
            heartbeat=b"",
            lease_until=0,
        )
        return self._with_heartbeat(issue, now)

    def _take_floors(self, floors: Sequence[Stored[NodeRow]]) -> dict[str, int | None]:
        """What peers are told of them, and for ourselves: who may renew, and who is given no policy."""
        by_name = {str(one.row.spiffe_id): one.row for one in floors}
        self._renew_floors = {
            name: None if row.state in model.ENDED else row.renew_floor for name, row in by_name.items()
        }
        self._apart = frozenset(name for name, row in by_name.items() if row.state == model.QUARANTINED)
        return {name: None if row.state in model.SHUT_OUT else row.floor for name, row in by_name.items()}

    def _anchors(
        self,
        replica_items: Sequence[Item],
        ca_items: Sequence[Item],
        jwt_key_items: Sequence[Item],
        delegation: Sequence[Item],
    ) -> Anchors:
        known, cas = self._replicas(replica_items), self._cas(ca_items)
        if not known:
            return replicas.alone(self._made)
        mine = {one.row.name for one in known if one.row.document_key == self._made.document_key.hex()}
        ours = [one for one in cas if one.row.replica in mine]
        if ours != self._ours:  # verifying takes longer than a revocation should wait
            self._ours = ours
            self._made.follow(ca_rows.issuing(ours, self._made))
        return replicas.anchors(known, cas, self._jwt_keys(jwt_key_items), delegation, self._made)

    def _with_heartbeat(self, issue: Issue, now: int) -> Issue:
        beat = d.Heartbeat(
            trust_domain=self._made.trust_domain,
            generation=issue.generation,
            trust=issue.trust_digest,
            at=now,
            until=now + self._lease_s,
        )
        sealed = payloads.seal(
            d.TYPE_HEARTBEAT, payloads.dump_heartbeat(beat), *self._made.document_signers()
        )
        return replace(
            issue, heartbeat=sealed.to_json(), lease_until=beat.until, spread_ms=self.hub.spread_ms
        )

    # --- bundles ---------------------------------------------------------------------------------------------

    async def _bundle_runs(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self.bundles_due.wait()
            self.bundles_due.clear()
            started = clock()
            try:
                await self.refresh_bundles()
            except ControlPlaneError as exc:
                log.warning("bundles_withheld", reason=str(exc))
            # As long as it took: while thousands of agents come, each with its address, there is time for them too.
            await asyncio.sleep(min(clock() - started, MAX_REST_S))

    async def refresh_bundles(self) -> None:
        """Make the bundles of every version that counts, sign tickets for those that changed, wake their nodes."""
        async with self._bundle_lock:
            snapshot, revision = await self._store.snapshot(BUNDLE_PREFIXES)
            node_items, resource_items, policy_items, *workload_items = snapshot
            state = model.load(PolicyState, policy_items[0].value) if policy_items else PolicyState()
            nodes = {stored.row.short: stored.row for stored in self._nodes(node_items)}
            resources = [stored.row for stored in self._resources(resource_items)]
            plan = await self.versions.plan(state, {row.site for row in nodes.values()})
            self._maker.keep(plan.needed)
            groups = rows.groups(state)
            drafts = {
                v: self._maker.plan(v, await self.versions.policies(v), nodes, resources, groups)
                for v in plan.needed
            }
            alive = [row for row in nodes.values() if row.state == model.ENROLLED]
            due = self._unchanged.due(alive, (plan, {v: draft.shared for v, draft in drafts.items()}))
            for number, row in enumerate(due):
                if number % BREATH == 0:
                    await asyncio.sleep(0)
                self._unchanged.keep(row, self._node_issue(row, plan, drafts, revision))
            issued = self._unchanged.issues()
            changed = [name for name, issue in issued.items() if issue is not self.nodes.get(name)]
            self.nodes = issued
            changed += self.workloads.take(*workload_items)
        for spiffe_id in changed:
            self.hub.wake(spiffe_id)

    def _node_issue(
        self, row: NodeRow, plan: Plan, drafts: Mapping[int, bundles.Plan], generation: int
    ) -> NodeIssue:
        spiffe_id, shadow = str(row.spiffe_id), plan.shadow_at(row.site)
        made = {version: self._maker.bundle(drafts[source], row) for version, source in plan.at(row.site)}
        tickets = tuple(
            self._ticket(spiffe_id, version, bundle, generation, FEATURES) for version, bundle in made.items()
        )
        aside = b""
        if shadow:
            made[shadow] = self._maker.bundle(drafts[shadow], row)
            aside = self._ticket(spiffe_id, shadow, made[shadow], generation, (*FEATURES, d.SHADOW))
        blobs = {
            codec.digest(blob): blob for bundle in made.values() for blob in (bundle.rules, bundle.peers)
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
            d.TYPE_TICKET, payloads.dump_ticket(ticket), *self._made.document_signers()
        ).to_json()
        self._tickets[spiffe_id, version] = (bundle.digests, sealed)
        return sealed
