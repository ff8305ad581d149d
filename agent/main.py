"""Composition root of the agent: settings -> objects -> one TaskGroup. Wiring only."""

import asyncio
import contextlib
import json
import signal
import time
from importlib import metadata
from pathlib import Path

import structlog

from agent import enrol, files, held, identity
from agent import state as states
from agent.config import Config
from agent.controlplanes import ControlPlanes
from agent.cutter import Cutter
from agent.documents import DocumentStore
from agent.enforcing import Enforcing
from agent.envoy import bootstrap, cut, process
from agent.envoy.ads import AdsServer
from agent.envoy.dataplane import DataPlane
from agent.envoy.process import Backoff, EnvoyProcess
from agent.envoy.settings import EnvoySettings
from agent.errors import AgentError
from agent.evidence.keeper import Keeper, Owner
from agent.evidence.tail import Tail
from agent.identity import Identity
from agent.monitor import Facts, Span
from agent.reach import Reach
from agent.renewing import Renewing
from agent.shadow import Shadow
from agent.statements import Statements
from agent.sync import Hooks, Received, Sync, features
from agent.watching import Watching
from agent.workload.service import Around, WorkloadApi
from audit.tally import Tallies
from controlplane.api.gen import sync_pb2
from policies.documents import Peer
from policies.trusted import TrustedDocuments

log = structlog.get_logger()
GRACE_S = 0.5
ANY_HOST = "0.0.0.0"  # noqa: S104 - compared with, not bound
FLUSH_MS = 20  # how long a record may wait in Envoy's buffer: what a killed Envoy had there is lost


class Agent:
    """One node. Built from settings and an identity; `run` lives until a signal."""

    def __init__(self, config: Config, mine: Identity, root: bytes, ca: bytes) -> None:
        self._config, self._identity, self._root, self._ca = config, mine, root, ca
        self._changed, self._stop = asyncio.Event(), asyncio.Event()
        self._stop_envoy = False
        directory = config.state_dir / "envoy"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._binary = process.find_binary(config.envoy_path)
        self._envoy_version = process.check_version(self._binary)
        self._envoy = EnvoyProcess(self._binary, directory, config.envoy_concurrency, FLUSH_MS)
        self._ads = AdsServer(directory / "xds.sock")
        self._store = DocumentStore(config.state_dir / "documents")
        self._statements = Statements(config.state_dir, mine)
        self._received = self._restore()
        self._control_planes = ControlPlanes(config.control_planes, self._who, self._believed)
        self._renewing = Renewing(config.state_dir, root, self._control_planes, self._who, self._become)
        hooks = Hooks(
            changed=self._look_again, renew=self._renewing.asked, hello=self._hello, health=self._health
        )
        self._sync = Sync(self._received, self._store, hooks, config.lease_max_s)
        around = Around(
            sync=self._sync,
            root=root,
            state_dir=config.state_dir,
            identity=self._who,
            control_planes=self._control_planes,
        )
        self._workloads = WorkloadApi(config.workload_socket, around)
        self._ports: dict[str, int] = {}
        self._keeper: Keeper | None = None
        self._enforcing: Enforcing | None = None
        self._plane: DataPlane | None = None
        self._shadow: Shadow | None = None
        self._envoy_starts, self._can_cut = 0, cut.can_cut()
        self._watching, self._reach = Watching(self._facts), Reach(self._peers)

    # --- starting ----------------------------------------------------------------------------------------------

    def _restore(self) -> Received:
        now = int(time.time())
        mine = self._identity.spiffe_id
        trusted = TrustedDocuments(
            root=self._root, trust_domain=mine.trust_domain, node=str(mine), highest=self._store.highest()
        )
        delegation = files.read(self._config.state_dir / "documents" / "delegation.json")
        bundles = self._store.restore(
            trusted, delegation or files.read(self._config.state_dir / enrol.DELEGATION) or b"", now
        )
        received = Received(trusted=trusted, bundles=bundles, blobs=self._store.blobs())
        if trusted.heartbeat is not None:
            beat, short = trusted.heartbeat, self._config.lease_max_s
            until = min(beat.until, beat.at + short) if short else beat.until
            boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
            received.lease = states.Lease(until=until, boottime_until=boottime + until - now)
        return received

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
                self._envoy.stop()
            await self._watching.stop()
            await self._ads.stop()
            log.info("stopped", envoy="stopped" if self._stop_envoy else "left running")

    def _interrupted(self) -> None:
        self._stop_envoy = True
        self._stop.set()

    async def _begin_run(self) -> Tail:
        """Adopt the Envoy that is there, or start one; then keep its evidence."""
        adopted = self._envoy.adopt()
        run = adopted or self._start_envoy()
        self._plane = self._plane or DataPlane(self._ads, self._settings(run.boot))
        if not adopted:
            self._plane.close(self._identity)  # Envoy serves, and denies, before anything is known
        self._ports = await self._envoy.listening()
        log.info("envoy", pid=run.pid, adopted=adopted is not None, **self._ports)
        if self._keeper is None:
            self._keeper = self._make_keeper()
            self._enforcing = Enforcing(self._plane, self._keeper, self._cutter, self._sync, self._statements)
        tail = Tail(self._access_log(run.boot))
        self._keeper.begin(run.boot, self._envoy_version)
        if adopted:
            self._keeper.skip(tail, run.boot)
        ports = json.dumps({**self._ports, **self._watching.ports, "envoy": run.pid}).encode()
        files.write(self._config.state_dir / "ports.json", ports)
        return tail

    def _start_envoy(self) -> process.Run:
        boot = process.new_boot()
        self._envoy_starts += 1
        return self._envoy.start(bootstrap.render(self._settings(boot)), boot)

    def _settings(self, boot: str) -> EnvoySettings:
        """Ports stay what they were when Envoy is started again: peers know them."""
        ingress_host, _, ingress_port = self._config.ingress_listen.rpartition(":")
        egress_host, _, egress_port = self._config.egress_listen.rpartition(":")
        return EnvoySettings(
            directory=self._config.state_dir / "envoy",
            access_log=self._access_log(boot),
            trust_domain=self._identity.spiffe_id.trust_domain,
            spiffe_id=str(self._identity.spiffe_id),
            boot=boot,
            ingress_host=ingress_host,
            ingress_port=self._ports.get("ingress", int(ingress_port)),
            egress_host=egress_host,
            egress_port=self._ports.get("egress", int(egress_port)),
            max_body_bytes=self._config.max_body_bytes,
            max_stream_s=self._config.max_stream_s,
        )

    def _access_log(self, boot: str) -> Path:
        return self._config.state_dir / "envoy" / f"access-{boot}.log"

    def _make_keeper(self) -> Keeper:
        cutter = self._cutter = Cutter(self._ports["ingress"], self._config.max_stream_s)
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
            run = self._envoy.run
            following = asyncio.ensure_future(self._keep().follow(tail))
            try:
                await self._envoy.died()
            finally:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
            log.error("envoy_died", boot=run.boot if run else "")
            self._keep().end(run.boot if run else "", tail, "Envoy ended without being asked to")
            await backoff.wait()
            self._data_plane_lost()
            with contextlib.suppress(AgentError):
                tail = await self._begin_run()
                self._changed.set()

    def _data_plane_lost(self) -> None:
        """Whatever runs next has nothing; until it has, it denies."""
        if self._enforcing is not None:
            self._enforcing.forget(self._identity)

    async def _enforce(self) -> None:
        while True:
            await self._wait_changed()
            trusted = self._received.trusted
            if trusted.trust is None or self._enforcing is None:
                continue
            state = states.Enforceable(
                identity=self._identity,
                trust=trusted.trust,
                bundle=states.select(self._received.bundles, trusted.trust),
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
        self._changed.set()
        self._workloads.look_again()

    def _look_at_shadow(self) -> None:
        """Ask another shadow, or none; as long as it is the same, its counts go on."""
        wanted = self._received.shadow
        if Shadow.same(self._shadow, wanted, self._identity):
            return
        self._shadow = Shadow(wanted, self._identity) if wanted is not None else None
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

    def _believed(self) -> tuple[bytes, ...]:
        trust = self._received.trusted.trust
        return trust.control_plane_cas if trust else (self._ca,)

    async def _cosign(self, old: int, proof: list[bytes], text: str, tallies: Tallies) -> str:
        if not self._sync.connected:
            raise AgentError("the control plane has not been told the key of this log yet")
        return await self._statements.cosign(self._control_planes.channel(), old, proof, text, tallies)

    def _keep(self) -> Keeper:
        if self._keeper is None:
            raise RuntimeError("evidence is kept before anything runs")
        return self._keeper

    def _hello(self) -> sync_pb2.Hello:
        host = self._config.ingress_listen.rpartition(":")[0]
        reachable = "127.0.0.1" if host == ANY_HOST else host
        advertised = self._config.ingress_advertise or f"{reachable}:{self._ports['ingress']}"
        return sync_pb2.Hello(
            agent_version=metadata.version("writ-mesh"),
            envoy_version=self._envoy_version,
            features=features(),
            ingress_address=advertised,
            trust_digest=self._received.trusted.highest.trust_digest if self._received.trusted.trust else "",
            blob_digests=list(self._received.blobs),
            evidence_key=self._statements.evidence_statement(),
            held=held.documents(self._config.state_dir),
        )

    def _health(self) -> sync_pb2.Health:
        keeper = self._keep()
        return sync_pb2.Health(
            lease_until=self._received.lease.until,
            records=keeper.records,
            gaps=keeper.gaps,
            not_cut=list(self._cutter.not_cut.values()),
            shadow=self._shadow.report() if self._shadow is not None else None,
            cannot_cut=not self._can_cut,
            evidence_unwritable=not keeper.healthy,
            clock_ms=int(time.time() * 1000),
            unreachable=self._reach.unreachable,
        )

    def _peers(self) -> tuple[Peer, ...]:
        trust = self._received.trusted.trust
        bundle = states.select(self._received.bundles, trust) if trust else None
        return bundle.peers.peers if bundle else ()

    # --- being watched -----------------------------------------------------------------------------------------

    def _facts(self) -> Facts | None:
        now, mine, keeper = time.time(), self._identity, self._keeper
        if keeper is None:
            return None
        trusted, lease = self._received.trusted, self._received.lease
        beat, trust = trusted.heartbeat, trusted.trust
        until = lease.wall_until(now, time.clock_gettime(time.CLOCK_BOOTTIME))
        return Facts(
            node=mine.spiffe_id.short,
            version=metadata.version("writ-mesh"),
            envoy_version=self._envoy_version,
            certificate=Span(begins=mine.not_before, ends=mine.not_after),
            lease=Span(begins=beat.at if beat else 0, ends=until if beat else 0),
            connected=self._sync.connected,
            revoked=trust is not None and trust.floors.get(str(mine.spiffe_id), 1) is None,
            received=trust.generation if trust else 0,
            enforced=self._enforcing.enforced if self._enforcing else None,
            evidence_writable=keeper.healthy,
            can_cut=self._can_cut,
            records=keeper.records,
            gaps=keeper.gaps,
            decisions={code or "allowed": count for code, count in keeper.decisions.items()},
            open_streams=len(keeper.open),
            not_cut=len(self._cutter.not_cut),
            envoy_starts=self._envoy_starts,
        )


async def run(config: Config) -> None:
    """Enrol if need be, then live as that node."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.state_dir.chmod(0o700)
    now = int(time.time())
    root, ca = (files.read(config.state_dir / name) for name in (enrol.ROOT, enrol.CA))
    mine = identity.load(config.state_dir, root, now) if root else None
    if mine is None or _token_is_new(config):
        mine = await enrol.enrol(config, now)
        root, ca = (files.read(config.state_dir / name) for name in (enrol.ROOT, enrol.CA))
        log.info("enrolled", node=mine.spiffe_id.short, epoch=mine.epoch)
        _mark_token(config)
    if root is None or ca is None:
        raise RuntimeError("enrolment keeps root and CA")
    await Agent(config, mine, root, ca).run()


def _token_is_new(config: Config) -> bool:
    """A token that is not the one we enrolled with means: enrol again (after a revocation, say)."""
    if config.token_file is None or not config.token_file.exists():
        return False
    used = files.read(config.state_dir / "token.used")
    return used is not None and used != enrol.read_token(config.token_file).name


def _mark_token(config: Config) -> None:
    if config.token_file is not None:
        files.write(config.state_dir / "token.used", enrol.read_token(config.token_file).name)
