"""Composition root of the control plane: settings -> objects -> serve. Wiring only."""

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import structlog

from certs import issue, keys, spiffe
from certs.profile import Profile
from controlplane.api.gen import admin_pb2_grpc, enrolment_pb2_grpc, evidence_pb2_grpc, identity_pb2_grpc
from controlplane.config import Config
from controlplane.errors import UnavailableError
from controlplane.rpc import server
from controlplane.rpc.admin_api import AdminServicer, Collaborators
from controlplane.rpc.evidence_api import EvidenceServicer
from controlplane.rpc.identities_api import Identities
from controlplane.rpc.nodes_api import EnrolmentServicer, IdentityServicer
from controlplane.rpc.peer import Peers
from controlplane.rpc.sync_api import SyncServicer
from controlplane.services import authorities, explanation, policy_sets, setup
from controlplane.services.authorities import Authorities
from controlplane.services.enrolment import Enrolment
from controlplane.services.hub import Hub
from controlplane.services.issuance import Issuance
from controlplane.services.jwt_authorities import JwtAuthorities
from controlplane.services.nodes import Nodes
from controlplane.services.publish import Publisher
from controlplane.services.resources import Resources
from controlplane.services.witness import Witness
from controlplane.services.workloads import Registry, WorkloadSvids
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store
from controlplane.store.sqlite import SqliteStore

log = structlog.get_logger()
SERVER_LIFETIME_S = 86400
GRACE_S = 2.0  # for calls in flight when we stop


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    signer = FileSigner(config.state_dir / "keys", _passphrase(config))
    made = authorities.load(config.state_dir, signer)
    store = SqliteStore.open(config.state_dir / "writ.db")
    hub = Hub()
    publisher = Publisher(store, made, hub, lease_s=config.lease_s, heartbeat_s=config.heartbeat_s)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await publisher.refresh()
        jwt_keys = JwtAuthorities(store, made, hub, publisher.refresh)
        await jwt_keys.ensure()
        await publisher.refresh_bundles()
        await _serve(config, store, made, publisher, jwt_keys, stop)
    finally:
        await store.close()


async def _serve(
    config: Config,
    store: Store,
    made: Authorities,
    publisher: Publisher,
    jwt_keys: JwtAuthorities,
    stop: asyncio.Event,
) -> None:
    tls = _server_tls(made)
    enrolment_server, api = server.enrolment_server(), server.api_server()
    root_pem = setup.pem(made.root)
    enrolment_port = _bind(enrolment_server, config.enrolment_listen, server.anonymous(tls, root_pem))
    api_port = _bind(api, config.listen, server.mutual(tls))
    _register(config, store, made, publisher, jwt_keys, api, enrolment_server, enrolment_port)
    await api.start()
    await enrolment_server.start()
    _write_ports(config.state_dir, api=api_port, enrolment=enrolment_port)
    log.info("serving", api=api_port, enrolment=enrolment_port, trust_domain=made.trust_domain)
    publishing = asyncio.ensure_future(publisher.run())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({publishing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(api.stop(GRACE_S if stop.is_set() else 0), enrolment_server.stop(0))
    publishing.cancel()
    try:
        await publishing
    except asyncio.CancelledError:
        log.info("stopped")


def _register(
    config: Config,
    store: Store,
    made: Authorities,
    publisher: Publisher,
    jwt_keys: JwtAuthorities,
    api: grpc.aio.Server,
    enrolment_server: grpc.aio.Server,
    enrolment_port: int,
) -> None:
    nodes = Nodes(store, made.trust_domain, publisher.refresh)
    profile = Profile(lifetime_s=config.svid_lifetime_s)
    enrolment = Enrolment(
        store,
        made,
        Issuance(store, made, profile),
        nodes,
        grace_s=config.grace_s,
        clock=lambda: int(time.time()),
    )
    svids = WorkloadSvids(store, made, jwt_keys, profile, clock=lambda: int(time.time()))
    peers = Peers(store, made)
    address = config.enrolment_address or f"{config.enrolment_listen.rpartition(':')[0]}:0"
    host, _, port = address.rpartition(":")
    collaborators = Collaborators(
        peers=peers,
        made=made,
        nodes=nodes,
        resources=Resources(store, publisher.refresh),
        publisher=publisher,
        policy_sets=policy_sets.PolicySets(store),
        explanation=explanation.Explaining(store, publisher),
        witness=Witness(store, made),
        identities=Identities(
            made=made,
            workloads=Registry(store, publisher.refresh),
            jwt_keys=jwt_keys,
            publisher=publisher,
        ),
        root_sha256=hashlib.sha256(made.root).hexdigest(),
        enrolment_address=address if int(port) else f"{host}:{enrolment_port}",
    )
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(EnrolmentServicer(enrolment, made), enrolment_server)
    identity_pb2_grpc.add_IdentityServicer_to_server(IdentityServicer(enrolment, svids, peers), api)
    evidence_pb2_grpc.add_EvidenceServicer_to_server(EvidenceServicer(collaborators.witness, peers), api)
    admin_pb2_grpc.add_AdminServicer_to_server(AdminServicer(collaborators), api)
    sync = SyncServicer(peers, publisher, nodes, publisher.hub, made.delegation)
    api.add_generic_rpc_handlers((sync.handler(),))


def _server_tls(made: Authorities) -> Callable[[], server.Tls]:
    """A server certificate, made in memory and made again at half of its life; its key is never stored."""
    made_at: list[tuple[float, server.Tls]] = []

    def current() -> server.Tls:
        if not made_at or time.time() - made_at[-1][0] > SERVER_LIFETIME_S / 2:
            made_at.append((time.time(), _server_certificate(made)))
        return made_at[-1][1]

    return current


def _server_certificate(made: Authorities) -> server.Tls:
    key = keys.generate_p256()
    prepared = issue.prepare_control_plane(
        Profile(lifetime_s=SERVER_LIFETIME_S),
        spiffe.control_plane_id(made.trust_domain, "replica-1"),
        public_key=key.public_key(),
        issuer=made.control_plane_ca,
        serial=int.from_bytes(os.urandom(15), "big") + 1,
        now=int(time.time()),
    )
    leaf = issue.sign(prepared, made.signing(prepared.key_name))
    cas = setup.pem(made.node_ca.certificate, made.control_plane_ca.certificate)
    chain = setup.pem(leaf, made.control_plane_ca.certificate)
    return server.Tls(key=keys.dump_private(key, None), chain=chain, client_cas=cas)


def _passphrase(config: Config) -> bytes:
    path = Path(os.environ.get("WRIT_KEY_PASSPHRASE_FILE") or config.passphrase_file)
    try:
        return path.read_bytes().strip()
    except OSError as exc:
        hint = "set keys.passphrase_file or WRIT_KEY_PASSPHRASE_FILE"
        raise UnavailableError(f"cannot read the key passphrase `{path}`: {exc.strerror}", hint=hint) from exc


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
