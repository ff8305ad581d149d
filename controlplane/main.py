"""Composition root of the control plane: settings -> objects -> serve. Wiring only."""

import asyncio
import hashlib
import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc

from certs import spiffe
from certs.profile import Profile
from controlplane import opening
from controlplane.api.gen import (
    admin_pb2_grpc,
    enrolment_pb2_grpc,
    evidence_pb2_grpc,
    identity_pb2_grpc,
    overview_pb2_grpc,
    replica_pb2_grpc,
)
from controlplane.config import Config
from controlplane.errors import UnavailableError
from controlplane.federating import Federating
from controlplane.rpc import server
from controlplane.rpc.admin_api import AdminServicer
from controlplane.rpc.evidence_api import EvidenceServicer
from controlplane.rpc.links import Links
from controlplane.rpc.nodes_api import EnrolmentServicer, IdentityServicer
from controlplane.rpc.operators import Collaborators, Identities
from controlplane.rpc.overview_api import OverviewServicer
from controlplane.rpc.peer import Peers
from controlplane.rpc.replica_api import ReplicaServicer
from controlplane.rpc.sync_api import SyncServicer
from controlplane.rpc.watching import Watching
from controlplane.services import authorities, duties, explanation, policy_sets, setup
from controlplane.services.authorities import Authorities
from controlplane.services.duties import Duty, Housekeeping
from controlplane.services.enrolment import Enrolment
from controlplane.services.following import Following
from controlplane.services.hub import Hub
from controlplane.services.issuance import Issuance
from controlplane.services.jwt_authorities import JwtAuthorities
from controlplane.services.nodes import Nodes
from controlplane.services.overview import Overviews
from controlplane.services.own_certificate import OwnCertificate
from controlplane.services.publish import Publisher
from controlplane.services.replicas import Replicas
from controlplane.services.resources import Resources
from controlplane.services.rollout import Rollout
from controlplane.services.witness import Witness
from controlplane.services.workloads import Registry, WorkloadSvids
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
    publisher = Publisher(store, made, Hub(), lease_s=config.lease_s, heartbeat_s=config.heartbeat_s)
    replicas = Replicas(store, made, config.replica, clock=time.time)
    tls = ServerTls(made, config.replica, publisher)
    enrolment_server, api = server.enrolment_server(), server.api_server()
    root_pem = setup.pem(made.root)
    enrolment_port = _bind(enrolment_server, config.enrolment_listen, server.anonymous(tls.current, root_pem))
    api_port = _bind(api, config.listen, server.mutual(tls.current))
    address = config.replica_address or f"{config.listen.rpartition(':')[0]}:{api_port}"
    shared = config.store.kind == "etcd"
    await replicas.register(address, witness=signer.shared_key(made.witness_key_name) if shared else None)
    links = Links(replicas, publisher.hub, tls.current, made.trust_domain)
    jwt_keys = JwtAuthorities(
        store, made, config.replica, publisher.hub, linked=links.complete, changed=publisher.refresh
    )
    await jwt_keys.ensure()
    await publisher.refresh()
    await publisher.refresh_bundles()
    following = Following(store, publisher, links.changed.set)
    overviews = Overviews(store, made, publisher, config.svid_lifetime_s)
    watching = Watching(config, publisher, overviews)
    federating = Federating(config, store, made, publisher)
    parts = Parts(config, store, made, publisher, replicas, jwt_keys, following, overviews, federating)
    _register(parts, api, enrolment_server, enrolment_port)
    health_pb2_grpc.add_HealthServicer_to_server(watching.health, api)
    await api.start()
    await enrolment_server.start()
    _write_ports(
        config.state_dir,
        api=api_port,
        enrolment=enrolment_port,
        **await watching.start(),
        **await federating.start(),
    )
    log.info(
        "serving",
        api=api_port,
        enrolment=enrolment_port,
        trust_domain=made.trust_domain,
        replica=config.replica,
        store=config.store.kind,
    )
    running = asyncio.ensure_future(_work(parts, links, watching))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(api.stop(GRACE_S if stop.is_set() else 0), enrolment_server.stop(0))
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        log.info("stopped")
    except ExceptionGroup as exc:
        raise exc.exceptions[0] from exc


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services of one replica are made of."""

    config: Config
    store: Store
    made: Authorities
    publisher: Publisher
    replicas: Replicas
    jwt_keys: JwtAuthorities
    following: Following
    overviews: Overviews
    federating: Federating


async def _work(parts: Parts, links: Links, watching: Watching) -> None:
    """Everything that goes on beside calls. What ends here ends the replica."""
    config, publisher = parts.config, parts.publisher
    generation = publisher.issue.generation if publisher.issue else 0
    duty = Duty(parts.store, duties.NAME, config.replica)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        tasks.create_task(parts.following.run())
        tasks.create_task(links.run())
        tasks.create_task(Housekeeping(parts.store, publisher, duty, grace_s=config.grace_s).run())
        tasks.create_task(parts.replicas.activate(publisher.hub, generation, links.complete, config.lease_s))
        tasks.create_task(watching.run())
        tasks.create_task(parts.federating.run())


def _register(
    parts: Parts, api: grpc.aio.Server, enrolment_server: grpc.aio.Server, enrolment_port: int
) -> None:
    config, store, made, publisher = parts.config, parts.store, parts.made, parts.publisher
    nodes = Nodes(store, made.trust_domain, publisher.refresh)
    profile = Profile(lifetime_s=config.svid_lifetime_s)
    enrolment = Enrolment(
        store,
        made,
        Issuance(store, made, profile, parts.replicas.check_issues),
        nodes,
        grace_s=config.grace_s,
        clock=lambda: int(time.time()),
        node_cas=lambda: publisher.anchors.node_cas,
        known=parts.following.node,
    )
    svids = WorkloadSvids(
        store,
        made,
        parts.jwt_keys,
        profile,
        may_issue=parts.replicas.check_issues,
        clock=lambda: int(time.time()),
    )
    peers = Peers(store, made.trust_domain, publisher)
    address = config.enrolment_address or f"{config.enrolment_listen.rpartition(':')[0]}:0"
    host, _, port = address.rpartition(":")
    collaborators = Collaborators(
        peers=peers,
        made=made,
        nodes=nodes,
        resources=Resources(store, publisher.refresh),
        publisher=publisher,
        rollout=Rollout(store, publisher),
        policy_sets=policy_sets.PolicySets(store),
        explanation=explanation.Explaining(store, publisher),
        witness=Witness(store, made),
        identities=Identities(
            made=made,
            workloads=Registry(store, publisher.refresh),
            jwt_keys=parts.jwt_keys,
            publisher=publisher,
            federation=parts.federating.service,
            endpoint=parts.federating.told,
        ),
        root_sha256=hashlib.sha256(made.root).hexdigest(),
        enrolment_address=address if int(port) else f"{host}:{enrolment_port}",
    )
    issuing = EnrolmentServicer(enrolment, made.root, lambda: publisher.anchors.delegation)
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(issuing, enrolment_server)
    identity_pb2_grpc.add_IdentityServicer_to_server(IdentityServicer(enrolment, svids, peers), api)
    evidence_pb2_grpc.add_EvidenceServicer_to_server(EvidenceServicer(collaborators.witness, peers), api)
    admin_pb2_grpc.add_AdminServicer_to_server(AdminServicer(collaborators), api)
    replica_pb2_grpc.add_ReplicaServicer_to_server(ReplicaServicer(peers, publisher.hub), api)
    overview = OverviewServicer(parts.overviews, peers, config, made.trust_domain, collaborators.root_sha256)
    overview_pb2_grpc.add_OverviewServicer_to_server(overview, api)
    sync = SyncServicer(peers, publisher, nodes, publisher.hub)
    api.add_generic_rpc_handlers((sync.handler(),))


class ServerTls:
    """Our certificate as a control plane, and whom to believe: every handshake asks for the newest."""

    def __init__(self, made: Authorities, replica: str, publisher: Publisher) -> None:
        self._publisher = publisher
        self._certificate = OwnCertificate(made, spiffe.control_plane_id(made.trust_domain, replica))

    def current(self) -> server.Tls:
        key, chain = self._certificate.current()
        anchors = self._publisher.anchors
        control_plane_cas = setup.pem(*anchors.control_plane_cas)
        return server.Tls(
            key=key,
            chain=chain,
            client_cas=setup.pem(*anchors.node_cas) + control_plane_cas,
            control_plane_cas=control_plane_cas,
        )


def _bind(of: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return server.bind(of, address, credentials)
    except RuntimeError as exc:
        raise UnavailableError(f"cannot listen on `{address}`", hint="is another process using it?") from exc


def _write_ports(directory: Path, **ports: int) -> None:
    """Where we listen, for whoever started us with port 0. Written once everything answers."""
    temporary = directory / ".ports.json"
    temporary.write_text(json.dumps(ports))
    temporary.replace(directory / "ports.json")
