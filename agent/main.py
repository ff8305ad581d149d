"""Composition root of the agent: settings -> objects -> one TaskGroup. Wiring only."""

import asyncio
import contextlib
import json
import random
import signal
import time
from importlib import metadata
from pathlib import Path

import grpc
import structlog

from agent import channel, enrol, files, identity
from agent import state as states
from agent.config import Config
from agent.cutter import Cutter
from agent.documents import DocumentStore
from agent.enforcing import Enforcing
from agent.envoy import bootstrap, process
from agent.envoy.ads import AdsServer
from agent.envoy.dataplane import DataPlane
from agent.envoy.process import Backoff, EnvoyProcess
from agent.envoy.settings import EnvoySettings
from agent.errors import AgentError, EnrolError
from agent.evidence.keeper import Keeper, Owner
from agent.evidence.tail import Tail
from agent.identity import Identity
from agent.statements import Statements
from agent.sync import Hooks, Received, Sync, features
from agent.workload.service import Around, WorkloadApi
from audit.tally import Tallies
from certs.renewal import renew_at
from controlplane.api.gen import sync_pb2
from policies.trusted import TrustedDocuments

log = structlog.get_logger()
RENEW_RETRY_S, MAX_RENEW_RETRY_S = 1.0, 60.0
GRACE_S = 0.5
ANY_HOST = "0.0.0.0"  # noqa: S104 - compared with, not bound
FLUSH_MS = 20  # how long a record may wait in Envoy's buffer: what a killed Envoy had there is lost


class Agent:
    """One node. Built from settings and an identity; `run` lives until a signal."""

    def __init__(self, config: Config, mine: Identity, root: bytes, ca: bytes) -> None:
        self._config, self._identity, self._root, self._ca = config, mine, root, ca
        self._changed, self._renew_now, self._stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
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
        hooks = Hooks(
            changed=self._documents_changed,
            renew=self._asked_to_renew,
            hello=self._hello,
            health=self._health,
        )
        self._sync = Sync(self._received, self._store, hooks, config.lease_max_s)
        self._workloads = self._workload_api(root)
        self._channel: grpc.aio.Channel | None = None
        self._ports: dict[str, int] = {}
        self._keeper: Keeper | None = None
        self._enforcing: Enforcing | None = None
        self._plane: DataPlane | None = None

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
                        self._renewals(),
                        self._sync.run(self._open_channel),
                        *((self._workloads.run(),) if self._workloads else ()),
                    )
                ]
                await self._stop.wait()
                for task in running:
                    task.cancel()
        finally:
            if self._stop_envoy:
                self._envoy.stop()
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
        ports = json.dumps({**self._ports, "envoy": run.pid}).encode()
        files.write(self._config.state_dir / "ports.json", ports)
        return tail

    def _start_envoy(self) -> process.Run:
        boot = process.new_boot()
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

    def _workload_api(self, root: bytes) -> WorkloadApi | None:
        if self._config.workload_socket is None:
            return None
        around = Around(
            sync=self._sync,
            root=root,
            directory=self._config.state_dir / "workloads",
            identity=lambda: self._identity,
            channel=self._open_channel,
        )
        return WorkloadApi(self._config.workload_socket, self._config.state_dir / "workload.sock", around)

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
            if states.narrowed_below_floor(self._identity, trusted.trust):
                self._renew_now.set()
            if not await self._enforcing.enforce(state):
                await asyncio.sleep(GRACE_S)
                self._changed.set()

    def _documents_changed(self) -> None:
        """Something to enforce, or somebody else to be."""
        self._changed.set()
        if self._workloads:
            self._workloads.look_again()

    async def _wait_changed(self) -> None:
        """A change, or the end of the lease: then open streams must end too."""
        left = self._received.lease.until - time.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left if left > 0 else None):
                await self._changed.wait()
        self._changed.clear()

    async def _renewals(self) -> None:
        retry = RENEW_RETRY_S
        while True:
            due = renew_at(self._identity.not_before, self._identity.not_after, random.uniform(-1, 1))  # noqa: S311 - jitter
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.time())):
                    await self._renew_now.wait()
            self._renew_now.clear()
            try:
                await self._renew_once()
                self._renew_now.clear()  # what was asked for meanwhile was asked of the old certificate
                retry = RENEW_RETRY_S
            except (EnrolError, AgentError) as exc:
                log.warning("renewal_failed", reason=str(exc), not_after=self._identity.not_after)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(retry * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                        await self._renew_now.wait()
                retry = min(retry * 2, MAX_RENEW_RETRY_S)
                self._renew_now.set()

    def _asked_to_renew(self, serial: str) -> None:
        if serial == f"{self._identity.serial:x}":
            self._renew_now.set()

    async def _renew_once(self) -> None:
        now = int(time.time())
        if now >= self._identity.not_after:
            made = await enrol.renew_expired(
                self._config.state_dir, self._identity, self._root, self._ca, now
            )
        else:
            made = await enrol.renew(self._config.state_dir, self._open_channel(), self._root, now)
        self._identity = made
        self._statements.renewed(made)
        old, self._channel = self._channel, None
        if old is not None:
            await old.close(None)
        self._documents_changed()
        log.info("renewed", serial=f"{made.serial:x}", epoch=made.epoch, not_after=made.not_after)

    # --- talking to the control plane --------------------------------------------------------------------------

    def _open_channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            trust = self._received.trusted.trust
            cas = trust.control_plane_cas if trust else (self._ca,)
            domain = self._identity.spiffe_id.trust_domain
            self._channel = channel.mutual(self._config.control_plane, domain, cas, self._identity)
        return self._channel

    async def _cosign(self, old: int, proof: list[bytes], text: str, tallies: Tallies) -> str:
        if not self._sync.connected:
            raise AgentError("the control plane has not been told the key of this log yet")
        return await self._statements.cosign(self._open_channel(), old, proof, text, tallies)

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
        )

    def _health(self) -> sync_pb2.Health:
        keeper = self._keep()
        return sync_pb2.Health(
            lease_until=self._received.lease.until,
            records=keeper.records,
            gaps=keeper.gaps,
            not_cut=list(self._cutter.not_cut.values()),
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
