"""Composition root of the agent: settings -> objects -> one TaskGroup. Wiring only."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Collection

import structlog

from agent import roots, starting, telling
from agent import state as states
from agent.config import Config
from agent.controlplanes import ControlPlanes
from agent.cutter import Cutter
from agent.documents import DocumentStore
from agent.enforcing import Enforcing
from agent.envoy import cut
from agent.envoy.ads import AdsServer
from agent.envoy.dataplane import DataPlane
from agent.envoy.process import Backoff
from agent.envoy.sidecar import Sidecar
from agent.errors import AgentError
from agent.evidence.keeper import Keeper, Owner
from agent.evidence.tail import Tail
from agent.identity import Identity
from agent.introduction import Introduction
from agent.monitor import Facts
from agent.reach import Reach
from agent.renewing import Renewing
from agent.shadow import Shadow
from agent.statements import Statements
from agent.sync import Hooks, Sync
from agent.telling import Standing
from agent.watching import Watching
from agent.workload.service import Around, WorkloadApi
from audit.tally import Tallies
from controlplane.api import files
from controlplane.api.gen import sync_pb2
from policies.documents import Peer
from policies.roots import Roots

log = structlog.get_logger()
GRACE_S = 0.5


class Agent:
    """One node. Built from settings and an identity; `run` lives until a signal."""

    def __init__(self, config: Config, mine: Identity, known: Roots, ca: bytes) -> None:
        self._config, self._identity, self._ca = config, mine, ca
        self._changed, self._stop = asyncio.Event(), asyncio.Event()
        self._stop_envoy = False
        self._sidecar = Sidecar(config, mine.spiffe_id)
        self._ads = AdsServer(self._sidecar.directory / "xds.sock")
        self._store = DocumentStore(config.state_dir / "documents")
        self._statements = Statements(config.state_dir, mine)
        self._received = starting.received(config, mine, known, self._store)
        self._introduction = Introduction(
            config.state_dir,
            self._received.roots,
            lost=self._lost,
            known=self._known,
            changed=lambda: self._control_planes.move(),  # noqa: PLW0108 - made below
        )
        self._control_planes = ControlPlanes(config.control_planes, self._who, self._introduction.believed)
        self._renewing = Renewing(config, self._received.roots, self._control_planes, self._who, self._become)
        hooks = Hooks(
            changed=self._look_again,
            renew=self._renewing.asked,
            reissue=self._reissue,
            roots=lambda known: roots.keep(config.state_dir, known),
            hello=self._hello,
            health=self._health,
        )
        self._sync = Sync(self._received, self._store, hooks, config.lease_max_s)
        around = Around(
            sync=self._sync,
            roots=self._received.roots,
            state_dir=config.state_dir,
            identity=self._who,
            control_planes=self._control_planes,
        )
        self._workloads = WorkloadApi(config.workload_socket, around)
        self._keeper: Keeper | None = None
        self._enforcing: Enforcing | None = None
        self._plane: DataPlane | None = None
        self._shadow: Shadow | None = None
        self._can_cut = cut.can_cut()
        self._watching, self._reach = Watching(self._facts), Reach(self._peers)

    # --- starting ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve what is on disk to Envoy first, then take new documents; one task group holds everything."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        await self._ads.start()
        await self._watching.start(self._config.metrics_listen)
        tail = await self._begin_run()
        self._changed.set()  # what is on disk counts at once: the control plane may be away
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(one)
                    for one in (
                        self._supervise(tail),
                        self._keep().checkpoints(),
                        self._keep().mend(),
                        self._enforce(),
                        self._renewing.run(),
                        self._introduction.run(),
                        self._reach.run(),
                        self._workloads.run(),
                        self._sync.run(self._control_planes.channel, self._control_planes.move),
                    )
                ]
                await self._stop.wait()
                for task in running:
                    task.cancel()
        finally:
            if self._stop_envoy:
                self._sidecar.process.stop()
            await self._watching.stop()
            await self._ads.stop()
            log.info("stopped", envoy="stopped" if self._stop_envoy else "left running")

    def _interrupted(self) -> None:
        self._stop_envoy = True
        self._stop.set()

    async def _begin_run(self) -> Tail:
        """Adopt the Envoy that is there, or start one; then keep its evidence."""
        run, adopted = self._sidecar.adopt_or_start()
        self._plane = self._plane or DataPlane(self._ads, self._sidecar.settings(run.boot))
        if not adopted:
            self._plane.close(self._identity)  # Envoy serves, and denies, before anything is known
        ports = await self._sidecar.listening()
        log.info("envoy", pid=run.pid, adopted=adopted, **ports)
        if self._keeper is None:
            self._keeper = self._make_keeper()
            self._enforcing = Enforcing(self._plane, self._keeper, self._cutter, self._sync, self._statements)
        tail = Tail(self._sidecar.access_log(run.boot))
        self._keeper.begin(run.boot, self._sidecar.version)
        if adopted:
            self._keeper.skip(tail, run.boot)
        known = json.dumps({**ports, **self._watching.ports, "envoy": run.pid}).encode()
        files.write(self._config.state_dir / "ports.json", known)
        return tail

    def _make_keeper(self) -> Keeper:
        cutter = self._cutter = Cutter(self._sidecar.ports["ingress"], self._config.max_stream_s)
        owner = Owner(
            node=str(self._identity.spiffe_id),
            directory=self._config.state_dir / "evidence",
            key=self._statements.evidence_key,
            sign=self._statements.sign_evidence,
            cosign=self._cosign,
            opened=cutter.opened,
            health_changed=self._changed.set,
        )
        return Keeper(owner)

    # --- running -----------------------------------------------------------------------------------------------

    async def _supervise(self, tail: Tail) -> None:
        """Keep an Envoy running and its log followed. An end we did not ask for leaves a gap record."""
        backoff = Backoff()
        while True:
            run = self._sidecar.process.run
            following = asyncio.ensure_future(self._keep().follow(tail))
            try:
                await self._sidecar.process.died()
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
            log.error("envoy_died", boot=run.boot if run else "")
            self._keep().end(run.boot if run else "", tail, "Envoy ended without being asked to")
            await backoff.wait()
            if self._enforcing is not None:  # whatever runs next has nothing; until it has, it denies
                self._enforcing.forget(self._identity)
            with contextlib.suppress(AgentError):
                tail = await self._begin_run()
                self._changed.set()

    async def _enforce(self) -> None:
        while True:
            await self._wait_changed()
            trusted = self._received.trusted
            if trusted.trust is None or self._enforcing is None:
                continue
            state = states.Enforceable(
                identity=self._identity,
                trust=trusted.trust,
                bundle=self._received.chosen(),
                lease=self._received.lease,
            )
            self._look_at_shadow()
            if states.narrowed_below_floor(self._identity, trusted.trust):
                self._renewing.soon()
            if not await self._enforcing.enforce(state):
                await asyncio.sleep(GRACE_S)
                self._changed.set()

    def _look_again(self) -> None:
        """Something to enforce, or somebody else to be."""
        if self._enforcing is not None:
            self._enforcing.holding()
        self._changed.set()
        self._workloads.look_again()

    def _reissue(self, cas: Collection[bytes], within_s: int) -> None:
        """These CAs may be stolen: what they signed for this node and its workloads is to be replaced."""
        self._renewing.reissue(cas, within_s)
        self._workloads.reissue(cas, within_s)

    def _look_at_shadow(self) -> None:
        """Ask another shadow, or none."""
        before, self._shadow = self._shadow, Shadow.next(self._shadow, self._received.shadow, self._identity)
        if self._shadow is not before:
            self._keep().consider(self._shadow.consider if self._shadow is not None else None)
            self._sync.report(sync_pb2.SyncRequest(health=self._health()))  # who applied it waits for this

    async def _wait_changed(self) -> None:
        """A change, the end of the lease, or a turn of a condition on time: then open streams may have to end too."""
        now = time.time()
        turn = self._cutter.due_ms if self._keeper is not None else None
        due = [at - now for at in (self._received.lease.until, turn and turn / 1000) if at and at > now]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(due, default=None)):
                await self._changed.wait()
        self._changed.clear()

    async def _become(self, made: Identity) -> None:
        """Somebody else by certificate: what is signed, shown and enforced from now on."""
        self._identity = made
        self._statements.renewed(made)
        await self._control_planes.renewed()
        self._look_again()

    # --- talking to the control plane --------------------------------------------------------------------------

    def _who(self) -> Identity:
        return self._identity

    def _known(self) -> tuple[bytes, ...]:
        """Control planes that may be believed."""
        trust = self._received.trusted.trust
        return trust.control_plane_cas if trust else (self._ca,)

    def _lost(self) -> bool:
        lease, boottime = self._received.lease, time.clock_gettime(time.CLOCK_BOOTTIME)
        return not self._sync.connected and not lease.open(time.time(), boottime)

    async def _cosign(self, old: int, proof: list[bytes], text: str, tallies: Tallies) -> str:
        if not self._sync.connected:
            raise AgentError("the control plane has not been told the key of this log yet")
        return await self._statements.cosign(self._control_planes.channel(), old, proof, text, tallies)

    def _keep(self) -> Keeper:
        if self._keeper is None:
            raise RuntimeError("evidence is kept before anything runs")
        return self._keeper

    def _hello(self) -> sync_pb2.Hello:
        return telling.hello(self._sidecar, self._received, self._statements, self._config.state_dir)

    def _health(self) -> sync_pb2.Health:
        return telling.health(self._standing(self._keep()))

    def _peers(self) -> tuple[Peer, ...]:
        bundle = self._received.chosen()
        return bundle.peers.peers if bundle else ()

    # --- being watched -----------------------------------------------------------------------------------------

    def _facts(self) -> Facts | None:
        return telling.facts(self._standing(self._keeper)) if self._keeper is not None else None

    def _standing(self, keeper: Keeper) -> Standing:
        return Standing(
            identity=self._identity,
            sidecar=self._sidecar,
            received=self._received,
            keeper=keeper,
            cutter=self._cutter,
            enforcing=self._enforcing,
            shadow=self._shadow,
            connected=self._sync.connected,
            can_cut=self._can_cut,
            unreachable=self._reach.unreachable,
        )


async def run(config: Config) -> None:
    """Enrol if need be, then live as that node."""
    await Agent(config, *await starting.who(config)).run()
