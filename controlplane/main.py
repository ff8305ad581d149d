"""Composition root of the control plane: settings -> objects -> serve. Wiring only."""

import asyncio
import hashlib
import json
import signal
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc

from certs import spiffe
from certs.profile import Profile
from controlplane import administering, attestors, opening
from controlplane.administering import Desk
from controlplane.api.gen import (
    admin_pb2_grpc,
    enrolment_pb2_grpc,
    evidence_pb2_grpc,
    identity_pb2_grpc,
    overview_pb2_grpc,
    replica_pb2_grpc,
    revocation_pb2_grpc,
)
from controlplane.attest.challenges import Challenges
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
from controlplane.rpc.replica_api import ReplicaServicer
from controlplane.rpc.revocation_api import Reach, RevocationServicer
from controlplane.rpc.sync_api import SyncServicer
from controlplane.rpc.watching import Watching
from controlplane.services import authorities, ca_rows, duties, epochs, explanation, policy_sets, setup
from controlplane.services.acknowledged import Acknowledged
from controlplane.services.admission import Admission
from controlplane.services.attestation import Attestation, StoredInvitations
from controlplane.services.authorities import Authorities
from controlplane.services.ca_authorities import CaAuthorities
from controlplane.services.crls import Crls
from controlplane.services.duties import Duty, Housekeeping
from controlplane.services.endings import Endings
from controlplane.services.enrolment import Enrolment
from controlplane.services.following import Following
from controlplane.services.hub import Hub
from controlplane.services.issuance import Issuance
from controlplane.services.jwt_authorities import JwtAuthorities
from controlplane.services.lifecycle import Lifecycle
from controlplane.services.mark import FILE, Mark
from controlplane.services.nodes import Nodes
from controlplane.services.overview import Overviews
from controlplane.services.own_certificate import OwnCertificate
from controlplane.services.publish import Publisher
from controlplane.services.pulse import Pulse
from controlplane.services.replicas import Replicas
from controlplane.services.resources import Resources
from controlplane.services.revocation import Revocation
from controlplane.services.rotation import Pace, Rotation
from controlplane.services.tainting import Tainting
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
    cas = CaAuthorities(
        store,
        made,
        signer,
        config.replica,
        acknowledged=Acknowledged(publisher.hub, links.complete),
        changed=publisher.refresh,
        clock=time.time,
        lifetime_s=config.ca_lifetime_s,
        grace_s=config.grace_s,
    )
    await cas.begin()
    desk = administering.made_of(config, store, made, signer, publisher)
    admission = Admission()
    enrolment_server, api = server.enrolment_server(), server.api_server(admission, desk.by_certificate)
    root_pem = setup.pem(made.root)
    enrolment_port = _bind(enrolment_server, config.enrolment_listen, server.anonymous(tls.current, root_pem))
    api_port = _bind(api, config.listen, server.mutual(tls.current))
    address = config.replica_address or f"{config.listen.rpartition(':')[0]}:{api_port}"
    shared = config.store.kind == "etcd"
    await replicas.register(address, witness=signer.shared_key(made.witness_key_name) if shared else None)
    await administering.appoint(desk, config.state_dir)
    jwt_keys = JwtAuthorities(
        store, made, config.replica, publisher.hub, linked=links.complete, changed=publisher.refresh
    )
    await jwt_keys.ensure()
    await publisher.refresh()
    await publisher.refresh_bundles()
    following = Following(store, publisher, links.changed.set)
    overviews = Overviews(store, made, publisher, config.svid_lifetime_s)
    pulse = Pulse(store)
    await pulse.look()
    crls = Crls(store, made, _now, cas.signed)
    watching = Watching(config, publisher, overviews, crls, attestation, admission, pulse)
    federating = Federating(config, store, made, publisher)
    parts = Parts(
        config=config,
        store=store,
        made=made,
        publisher=publisher,
        replicas=replicas,
        lifecycle=Lifecycle(cas, jwt_keys),
        following=following,
        overviews=overviews,
        attestation=attestation,
        challenges=challenges,
        crls=crls,
        desk=desk,
        federating=federating,
        admission=admission,
        pulse=pulse,
    )
    operators = _register(parts, api, enrolment_server, enrolment_port)
    health_pb2_grpc.add_HealthServicer_to_server(watching.health, api)
    bearers, bearer_ports = _bearer_server(parts, operators, tls)
    for one in (api, enrolment_server, *bearers):
        await one.start()
    ports = {**bearer_ports, **await watching.start(), **await federating.start()}
    _write_ports(config.state_dir, api=api_port, enrolment=enrolment_port, **ports)
    log.info(
        "serving",
        api=api_port,
        enrolment=enrolment_port,
        trust_domain=made.trust_domain,
        replica=config.replica,
        store=config.store.kind,
    )
    work = _work(parts, links, watching)
    try:
        await _until(stop, work, (api, *bearers), enrolment_server)
    finally:
        await desk.recording.close()


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


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services of one replica are made of."""

    config: Config
    store: Store
    made: Authorities
    publisher: Publisher
    replicas: Replicas
    lifecycle: Lifecycle
    following: Following
    overviews: Overviews
    attestation: Attestation
    challenges: Challenges
    crls: Crls
    desk: Desk
    federating: Federating
    admission: Admission
    pulse: Pulse


async def _work(parts: Parts, links: Links, watching: Watching) -> None:
    """Everything that goes on beside calls. What ends here ends the replica."""
    config, publisher = parts.config, parts.publisher
    generation = publisher.issue.generation if publisher.issue else 0
    duty = Duty(parts.store, duties.NAME, config.replica)
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


def _register(
    parts: Parts, api: grpc.aio.Server, enrolment_server: grpc.aio.Server, enrolment_port: int
) -> "ForOperators":
    """What operators call, for the port on which they show tokens."""
    config, store, made, publisher = parts.config, parts.store, parts.made, parts.publisher
    nodes = Nodes(store, made.trust_domain, publisher.refresh)
    profile = Profile(lifetime_s=config.svid_lifetime_s)
    within_s = ca_rows.reissue_within_s(config.svid_lifetime_s)
    enrolment = Enrolment(
        store,
        made,
        Issuance(store, made, profile, parts.replicas.check_issues),
        nodes,
        parts.attestation,
        parts.challenges,
        grace_s=config.grace_s,
        clock=_now,
        node_cas=lambda: publisher.anchors.node_cas,
        known=parts.following.node,
    )
    svids = WorkloadSvids(
        store,
        made,
        parts.lifecycle.jwt_keys,
        profile,
        may_issue=parts.replicas.check_issues,
        clock=_now,
    )
    peers = parts.desk.peers
    address = config.enrolment_address or f"{config.enrolment_listen.rpartition(':')[0]}:0"
    host, _, port = address.rpartition(":")
    ending = Revocation(
        store,
        nodes,
        clock=_now,
        believed=lambda: (*publisher.anchors.node_cas, *publisher.anchors.workload_cas),
    )
    reach = Reach(nodes=nodes, revocation=ending, crls=parts.crls, hub=publisher.hub)
    revocation = RevocationServicer(reach)
    collaborators = Collaborators(
        peers=peers,
        made=made,
        nodes=nodes,
        resources=Resources(store, publisher.refresh),
        publisher=publisher,
        rollout=parts.desk.rollout,
        policy_sets=policy_sets.PolicySets(store),
        explanation=explanation.Explaining(store, publisher),
        witness=parts.desk.witness,
        identities=Identities(
            made=made,
            workloads=Registry(store, publisher.refresh),
            lifecycle=parts.lifecycle,
            tainting=Tainting(store, parts.lifecycle, changed=publisher.refresh, clock=time.time),
            reissue_within_s=within_s,
            publisher=publisher,
            attestors=parts.attestation.configured,
            federation=parts.federating.service,
            endpoint=parts.federating.told,
        ),
        operators=parts.desk.operators,
        approvals=parts.desk.approvals,
        account=parts.desk.account,
        recording=parts.desk.recording,
        servicers=parts.desk.servicers,
        root_sha256=hashlib.sha256(made.root).hexdigest(),
        enrolment_address=address if int(port) else f"{host}:{enrolment_port}",
    )
    issuing = EnrolmentServicer(enrolment, made.root, lambda: publisher.anchors.delegation)
    behind_mtls = server.Handlers(api)
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(issuing, enrolment_server)
    identity_pb2_grpc.add_IdentityServicer_to_server(IdentityServicer(enrolment, svids, peers), behind_mtls)
    evidence_pb2_grpc.add_EvidenceServicer_to_server(
        EvidenceServicer(collaborators.witness, peers), behind_mtls
    )
    replica_pb2_grpc.add_ReplicaServicer_to_server(ReplicaServicer(peers, publisher.hub), behind_mtls)
    overview = OverviewServicer(
        parts.overviews, parts.pulse, config, made.trust_domain, collaborators.root_sha256
    )
    operators = ForOperators(AdminServicer(collaborators), revocation, overview)
    operators.add_to(behind_mtls)
    sync = SyncServicer(peers, publisher, nodes, parts.admission, within_s)
    api.add_generic_rpc_handlers((sync.handler(),))
    parts.desk.servicers.update(operators.by_name())
    return operators


@dataclass(frozen=True, slots=True)
class ForOperators:
    """What operators call, whatever they prove themselves with."""

    admin: AdminServicer
    revocation: RevocationServicer
    overview: OverviewServicer

    def add_to(self, of: server.Handlers) -> None:
        admin_pb2_grpc.add_AdminServicer_to_server(self.admin, of)
        revocation_pb2_grpc.add_RevocationServicer_to_server(self.revocation, of)
        overview_pb2_grpc.add_OverviewServicer_to_server(self.overview, of)

    def by_name(self) -> dict[str, object]:
        """For what was approved and is done now."""
        return {
            "writ.v1.Admin": self.admin,
            "writ.v1.Revocation": self.revocation,
            "writ.v1.Overview": self.overview,
        }


def _bearer_server(
    parts: Parts, operators: "ForOperators", tls: "ServerTls"
) -> tuple[list[grpc.aio.Server], dict[str, int]]:
    """The port for tokens, where an issuer is configured."""
    if parts.desk.by_token is None:
        return [], {}
    made = server.bearer_server(parts.desk.by_token)
    port = _bind(made, parts.config.oidc.listen, server.anonymous(tls.current))
    operators.add_to(server.Handlers(made))
    return [made], {"operators": port}


def _now() -> int:
    return int(time.time())


class ServerTls:
    """Our certificate as a control plane, and whom to believe: every handshake asks for the newest."""

    def __init__(self, made: Authorities, replica: str, publisher: Publisher) -> None:
        self._publisher = publisher
        self._certificate = OwnCertificate(made, spiffe.control_plane_id(made.trust_domain, replica))
        self._last: tuple[object, bytes, server.Tls] | None = None

    def current(self) -> server.Tls:
        key, chain = self._certificate.current()
        anchors = self._publisher.anchors
        if self._last is None or self._last[0] is not anchors or self._last[1] != chain:
            control_plane_cas = setup.pem(*anchors.control_plane_cas)
            newest = server.Tls(
                key=key,
                chain=chain,
                client_cas=setup.pem(*anchors.node_cas) + control_plane_cas,
                control_plane_cas=control_plane_cas,
            )
            self._last = anchors, chain, newest  # asked for by every handshake of thousands
        return self._last[2]


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
