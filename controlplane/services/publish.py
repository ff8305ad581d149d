"""What is signed for the mesh, and when: trust document, heartbeat, tickets; and how a policy becomes the one in force.

1. Trust and heartbeat first: a revocation waits for no compilation.
2. A heartbeat is signed only after the store was read in this interval: a replica that is cut off keeps nobody alive.
3. A policy is staged, pushed, and only then in force; a version that agents do not hold denies nothing by accident.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from controlplane import model
from controlplane.errors import ConflictError, ControlPlaneError, InvalidError
from controlplane.model import JwtKeyRow, NodeRow, PolicySetRow, PolicyState, ResourceRow
from controlplane.services import rows
from controlplane.services.authorities import Authorities
from controlplane.services.bundles import Bundle, BundleMaker
from controlplane.services.hub import Hub
from controlplane.services.workload_documents import WorkloadDocuments
from controlplane.store.base import Store
from policies import codec, parse, payloads
from policies import documents as d
from policies.syntax import Policy

log = structlog.get_logger()
STAGE_WAIT_S = 5.0  # how long a new policy waits for agents to hold it before it is put in force
LAG_WAIT_S = 60.0  # how long it waits for them to enforce it before older versions stop counting
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
        self._policies: dict[int, tuple[Policy, ...]] = {}
        self._maker = BundleMaker()
        self._made_bundles: dict[int, dict[str, Bundle]] = {}
        self._tickets: dict[tuple[str, int], tuple[tuple[str, str], bytes]] = {}
        self.workloads = WorkloadDocuments(store, made)
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
        jwt_keys = await rows.every(self._store, JwtKeyRow, rows.JWT_AUTHORITIES)
        document = d.TrustDocument(
            trust_domain=self._made.trust_domain,
            generation=generation,
            roots=(self._made.root,),
            node_cas=(self._made.node_ca.certificate,),
            control_plane_cas=(self._made.control_plane_ca.certificate,),
            floors={str(stored.row.spiffe_id): _floor(stored.row) for stored in floors},
            policy_min=policy.minimum,
            policy_now=policy.now,
            jwt_keys=tuple(bytes.fromhex(stored.row.public) for stored in jwt_keys),
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
        versions = sorted({state.now, state.staged or state.now})
        self._maker.forget_before(state.now)
        fresh = {v: self._maker.make(v, await self.policies(v), nodes, resources) for v in versions}
        generation = self.issue.generation if self.issue else 0
        issued = {
            spiffe_id: self._node_issue(spiffe_id, {v: fresh[v][spiffe_id] for v in versions}, generation)
            for spiffe_id in fresh[state.now]
        }
        changed = [spiffe_id for spiffe_id, issue in issued.items() if issue != self.nodes.get(spiffe_id)]
        self.nodes = issued
        for spiffe_id in changed + await self.workloads.refresh():
            self.hub.wake(spiffe_id)

    def _node_issue(self, spiffe_id: str, bundles: dict[int, Bundle], generation: int) -> NodeIssue:
        tickets = tuple(
            self._ticket(spiffe_id, version, bundle, generation) for version, bundle in bundles.items()
        )
        blobs = {
            codec.digest(blob): blob for bundle in bundles.values() for blob in (bundle.rules, bundle.peers)
        }
        return NodeIssue(tickets=tickets, blobs=blobs)

    def _ticket(self, spiffe_id: str, version: int, bundle: Bundle, generation: int) -> bytes:
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
            features=FEATURES,
        )
        sealed = payloads.seal(
            d.TYPE_TICKET, payloads.dump_ticket(ticket), self._made.document_signer()
        ).to_json()
        self._tickets[spiffe_id, version] = (bundle.digests, sealed)
        return sealed

    # --- policies --------------------------------------------------------------------------------------------

    async def policies(self, version: int) -> tuple[Policy, ...]:
        """The policies of a version, parsed once. Version 0: none, so everything is denied."""
        if version not in self._policies:
            if version == 0:
                return ()
            key = rows.policy_key(version)
            stored = await rows.read(self._store, PolicySetRow, key, f"policy version `{version}`")
            self._policies[version] = parse.load(stored.row.files)
        return self._policies[version]

    async def apply_policy(
        self, files: dict[str, str], by: str, *, now: bool, dry_run: bool
    ) -> tuple[int, int, int]:
        """(version, number of policies, number of bundles). PolicyError refuses everything before anything is stored."""
        policies = parse.load(files)
        if sum(len(text) for text in files.values()) > 900_000:  # noqa: PLR2004 - a store value's bound, with room
            raise InvalidError("a policy set is at most 900 kB")
        state = await rows.policy_state(self._store)
        version = max(state.row.now, state.row.staged) + 1
        nodes = {stored.row.short: stored.row for stored in await rows.every(self._store, NodeRow, "node/")}
        resources = [stored.row for stored in await rows.every(self._store, ResourceRow, "resource/")]
        bundles = BundleMaker().make(version, policies, nodes, resources)
        if dry_run:
            return version, len(policies), len(bundles)
        stored_set = PolicySetRow(version=version, files=files, applied_at=int(self._clock()), applied_by=by)
        await self._store.commit(
            expect={rows.POLICY: state.revision, rows.policy_key(version): 0},
            put={
                rows.policy_key(version): model.dump(stored_set),
                rows.POLICY: model.dump(replace(state.row, staged=version)),
                rows.MESH: b"{}",
            },
        )
        self._policies[version] = policies
        await self.refresh()
        await self.refresh_bundles()
        await self._until(
            lambda: all(version in agent.staged for agent in self.hub.connected()), STAGE_WAIT_S
        )
        await self._raise(version, minimum=version if now else None)
        return version, len(policies), len(bundles)

    async def finish_rollout(self, version: int) -> None:
        """Let older versions stop counting once every connected agent enforces this one."""
        if await self._until(
            lambda: all(a.policy_version >= version for a in self.hub.connected()), LAG_WAIT_S
        ):
            await self._raise(version, minimum=version)

    async def _raise(self, version: int, minimum: int | None) -> None:
        state = await rows.policy_state(self._store)
        if state.row.now > version:
            return None  # a newer policy overtook this one
        raised = PolicyState(minimum=max(state.row.minimum, minimum or 0), now=version, staged=0)
        if raised == state.row:
            return None
        try:
            await self._store.commit(
                expect={rows.POLICY: state.revision}, put={rows.POLICY: model.dump(raised), rows.MESH: b"{}"}
            )
        except ConflictError:
            return await self._raise(version, minimum)
        await self.refresh()
        return None

    async def _until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for agents to get somewhere; False when they did not in time."""
        try:
            async with asyncio.timeout(timeout_s), self.hub.moved:
                await self.hub.moved.wait_for(reached)
        except TimeoutError:
            return False
        return True


def _floor(row: NodeRow) -> int | None:
    return None if row.state in {model.REVOKED, model.LOCKED} else row.floor
