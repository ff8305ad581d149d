"""Composition root of the control plane: settings -> objects -> serve. Wiring only."""

import asyncio
import signal
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc

from controlplane import administering, attending, attestors, footprint, listening, opening, operating
from controlplane.administering import Desk
from controlplane.attest.challenges import Challenges
from controlplane.config import Config
from controlplane.federating import Federating
from controlplane.listening import ServerTls
from controlplane.parts import Parts
from controlplane.rpc import server
from controlplane.rpc.links import Links
from controlplane.rpc.watching import Watching
from controlplane.services import housekeeping
from controlplane.services.authority import authorities
from controlplane.services.authority.acknowledged import Acknowledged
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.ca_authorities import CaAuthorities
from controlplane.services.authority.crls import Crls
from controlplane.services.authority.endings import Endings
from controlplane.services.authority.jwt_authorities import JwtAuthorities
from controlplane.services.authority.lifecycle import Lifecycle
from controlplane.services.authority.rotation import Pace, Rotation
from controlplane.services.duty import Duty
from controlplane.services.housekeeping import Housekeeping
from controlplane.services.identity.admission import Admission
from controlplane.services.identity.attestation import Attestation, StoredInvitations
from controlplane.services.identity.nodes import Nodes
from controlplane.services.mesh.replicas import Replicas
from controlplane.services.mesh.root_rotation import RootRotation
from controlplane.services.overview import Overviews
from controlplane.services.pulse import Pulse
from controlplane.services.push.following import Following
from controlplane.services.push.hub import Hub
from controlplane.services.push.publish import Publisher
from controlplane.services.restore import epochs
from controlplane.services.restore.mark import FILE, Mark
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store

log = structlog.get_logger()
GRACE_S = 2.0  # for calls in flight when we stop


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    signer = opening.open_signer(config.state_dir / "keys", opening.read_passphrase(config), config.device)
    made = authorities.load(config.state_dir, signer)
    store = await opening.open_store(config, config.replica)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await _serve(config, store, made, signer, stop)
    finally:
        await store.close()


async def _serve(
    config: Config, store: Store, made: Authorities, signer: FileSigner, stop: asyncio.Event
) -> None:
    base = await _base(config, store, made, signer)
    doors = _doors(config, base)
    jwt_keys = await _appear(config, store, made, signer, base, doors.api_port)
    parts, watching = await _parts(config, store, made, base, jwt_keys)
    attending.add_to(parts, doors.api, doors.enrolment)
    operators = operating.made_of(parts, doors.enrolment_port)
    operators.add_to(server.Handlers(doors.api))
    health_pb2_grpc.add_HealthServicer_to_server(watching.health, doors.api)
    bearers, bearer_ports = operating.bearer_server(parts, operators, base.tls)
    for one in (doors.api, doors.enrolment, *bearers):
        await one.start()
    ports = {**bearer_ports, **await watching.start(), **await parts.federating.start()}
    known = {"api": doors.api_port, "enrolment": doors.enrolment_port}
    listening.write_ports(config.state_dir, **known, **ports)
    log.info(
        "serving",
        **known,
        trust_domain=made.trust_domain,
        replica=config.replica,
        store=config.store.kind,
    )
    footprint.started()
    work = _work(parts, base.links, watching)
    try:
        await _until(stop, work, (doors.api, *bearers), doors.enrolment)
    finally:
        await base.desk.recording.close()


@dataclass(frozen=True, slots=True)
class _Base:
    """What stands before anybody can connect."""

    challenges: Challenges
    attestation: Attestation
    publisher: Publisher
    replicas: Replicas
    tls: ServerTls
    links: Links
    cas: CaAuthorities
    root_rotation: RootRotation
    desk: Desk
    admission: Admission


async def _base(config: Config, store: Store, made: Authorities, signer: FileSigner) -> _Base:
    """Nothing is made of a store that is older than the mesh, and nothing issues by a CA that the store does not list."""
    mark = Mark(config.state_dir / FILE)
    await epochs.check(store, mark)
    challenges = Challenges(_now)
    accepted = attestors.configured(config.attest, StoredInvitations(store), challenges, _now)
    attestation = Attestation(store, made.trust_domain, accepted, _now)
    publisher = Publisher(
        store, made, Hub(), lease_s=config.lease_s, heartbeat_s=config.heartbeat_s, mark=mark
    )
    replicas = Replicas(store, made, config.replica, clock=time.time)
    tls = ServerTls(made, config.replica, publisher)
    links = Links(replicas, publisher.hub, tls.current, made.trust_domain)
    acknowledged = Acknowledged(publisher.hub, links.complete)
    root_rotation = RootRotation(
        store,
        made,
        signer,
        config.state_dir,
        acknowledged=acknowledged,
        changed=publisher.refresh,
        clock=time.time,
    )
    await root_rotation.begin()
    cas = CaAuthorities(
        store,
        made,
        signer,
        config.replica,
        acknowledged=acknowledged,
        changed=publisher.refresh,
        clock=time.time,
        lifetime_s=config.ca_lifetime_s,
        grace_s=config.grace_s,
    )
    await cas.begin()
    desk = administering.made_of(config, store, made, signer, publisher)
    return _Base(
        challenges, attestation, publisher, replicas, tls, links, cas, root_rotation, desk, Admission()
    )


@dataclass(frozen=True, slots=True)
class _Doors:
    """The two ports that every replica has: bound, not open yet."""

    api: grpc.aio.Server
    api_port: int
    enrolment: grpc.aio.Server
    enrolment_port: int


def _doors(config: Config, base: _Base) -> _Doors:
    enrolment, api = server.enrolment_server(), server.api_server(base.admission, base.desk.by_certificate)
    newcomers = server.anonymous(base.tls.current, newcomers=True)
    enrolment_port = listening.bind(enrolment, config.enrolment_listen, newcomers)
    api_port = listening.bind(api, config.listen, server.mutual(base.tls.current))
    return _Doors(api, api_port, enrolment, enrolment_port)


async def _appear(
    config: Config, store: Store, made: Authorities, signer: FileSigner, base: _Base, api_port: int
) -> JwtAuthorities:
    """Among the replicas, with its keys; and everything signed for the first time."""
    address = config.replica_address or f"{config.listen.rpartition(':')[0]}:{api_port}"
    shared = config.store.kind == "etcd"
    witness = signer.shared_key(made.witness_key_name) if shared else None
    await base.replicas.register(address, witness=witness)
    await administering.appoint(base.desk, config.state_dir)
    publisher, linked = base.publisher, base.links.complete
    jwt_keys = JwtAuthorities(
        store, made, config.replica, publisher.hub, linked=linked, changed=publisher.refresh
    )
    await jwt_keys.ensure()
    await publisher.refresh()
    await publisher.refresh_bundles()
    return jwt_keys


async def _parts(
    config: Config, store: Store, made: Authorities, base: _Base, jwt_keys: JwtAuthorities
) -> tuple[Parts, Watching]:
    publisher, pulse = base.publisher, Pulse(store)
    await pulse.look()
    parts = Parts(
        config=config,
        store=store,
        made=made,
        publisher=publisher,
        replicas=base.replicas,
        nodes=Nodes(store, made.trust_domain, publisher.refresh),
        lifecycle=Lifecycle(base.cas, jwt_keys),
        root_rotation=base.root_rotation,
        following=Following(store, publisher, base.links.changed.set),
        overviews=Overviews(store, made, publisher, config.svid_lifetime_s),
        attestation=base.attestation,
        challenges=base.challenges,
        crls=Crls(store, made, _now, base.cas.signed),
        desk=base.desk,
        federating=Federating(config, store, made, publisher),
        admission=base.admission,
        pulse=pulse,
    )
    watching = Watching(
        config,
        publisher,
        parts.overviews,
        parts.crls,
        parts.attestation,
        parts.admission,
        pulse,
        base.desk.recording,
    )
    return parts, watching


async def _until(
    stop: asyncio.Event,
    work: Coroutine[Any, Any, None],
    operating: Sequence[grpc.aio.Server],
    enrolment: grpc.aio.Server,
) -> None:
    """Work until told to stop, or until work ends by itself, which is an error."""
    running, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    grace = GRACE_S if stop.is_set() else 0
    await asyncio.gather(*(one.stop(grace) for one in operating), enrolment.stop(0))
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        log.info("stopped")
    except ExceptionGroup as exc:
        raise exc.exceptions[0] from exc


async def _work(parts: Parts, links: Links, watching: Watching) -> None:
    """Everything that goes on beside calls. What ends here ends the replica."""
    config, publisher = parts.config, parts.publisher
    generation = publisher.issue.generation if publisher.issue else 0
    duty = Duty(parts.store, housekeeping.NAME, config.replica)
    endings = Endings(parts.store, publisher.refresh, svid_lifetime_s=config.svid_lifetime_s)
    pace = Pace(lifetime_s=config.ca_lifetime_s, patience_s=config.lease_s)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        tasks.create_task(parts.following.run())
        tasks.create_task(links.run())
        tasks.create_task(
            Housekeeping(parts.store, publisher, duty, grace_s=config.grace_s, chores=(endings.once,)).run()
        )
        tasks.create_task(parts.replicas.activate(publisher.hub, generation, links.complete, config.lease_s))
        tasks.create_task(Rotation(parts.lifecycle, pace).run())
        tasks.create_task(watching.run())
        tasks.create_task(parts.desk.recording.run())
        tasks.create_task(parts.federating.run())
        tasks.create_task(parts.pulse.run())
        tasks.create_task(parts.root_rotation.run())


def _now() -> int:
    return int(time.time())
