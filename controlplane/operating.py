"""What operators call, put together: once, and served to certificates on one port and to tokens on another."""

import time
from dataclasses import dataclass

import grpc

from controlplane import listening
from controlplane.api.gen import admin_pb2_grpc, overview_pb2_grpc, revocation_pb2_grpc
from controlplane.listening import ServerTls
from controlplane.parts import Parts
from controlplane.rpc import server
from controlplane.rpc.admin_api import AdminServicer
from controlplane.rpc.operators import Collaborators, Identities
from controlplane.rpc.overview_api import OverviewServicer
from controlplane.rpc.revocation_api import Reach, RevocationServicer
from controlplane.services.authority import ca_rows
from controlplane.services.authority.tainting import Tainting
from controlplane.services.identity.revocation import Revocation
from controlplane.services.identity.workloads import Registry
from controlplane.services.mesh.root_again import RootAgain
from controlplane.services.policy import explanation, policy_sets
from controlplane.services.policy.resources import Resources


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


def made_of(parts: Parts, enrolment_port: int) -> ForOperators:
    """Also told to whoever does what was approved."""
    collaborators = _collaborators(parts, enrolment_port)
    overview = OverviewServicer(parts.overviews, parts.pulse, parts.config, parts.made)
    operators = ForOperators(AdminServicer(collaborators), _revocation(parts), overview)
    parts.desk.servicers.update(operators.by_name())
    return operators


def _collaborators(parts: Parts, enrolment_port: int) -> Collaborators:
    config, made, desk = parts.config, parts.made, parts.desk
    address = config.enrolment_address or f"{config.enrolment_listen.rpartition(':')[0]}:0"
    host, _, port = address.rpartition(":")
    return Collaborators(
        peers=desk.peers,
        made=made,
        nodes=parts.nodes,
        resources=Resources(parts.store, parts.publisher.versions, parts.publisher.refresh),
        publisher=parts.publisher,
        rollout=desk.rollout,
        policy_sets=policy_sets.PolicySets(parts.store),
        explanation=explanation.Explaining(parts.store, parts.publisher),
        witness=desk.witness,
        identities=_identities(parts),
        operators=desk.operators,
        approvals=desk.approvals,
        account=desk.account,
        recording=desk.recording,
        servicers=desk.servicers,
        enrolment_address=address if int(port) else f"{host}:{enrolment_port}",
    )


def _identities(parts: Parts) -> Identities:
    store, refresh = parts.store, parts.publisher.refresh
    return Identities(
        made=parts.made,
        workloads=Registry(store, refresh),
        lifecycle=parts.lifecycle,
        root_again=RootAgain(store, parts.made, refresh),
        root_rotation=parts.root_rotation,
        tainting=Tainting(store, parts.lifecycle, changed=refresh, clock=time.time),
        reissue_within_s=ca_rows.reissue_within_s(parts.config.svid_lifetime_s),
        publisher=parts.publisher,
        attestors=parts.attestation.configured,
        federation=parts.federating.service,
        endpoint=parts.federating.told,
    )


def _revocation(parts: Parts) -> RevocationServicer:
    publisher = parts.publisher
    revocation = Revocation(
        parts.store,
        parts.nodes,
        clock=lambda: int(time.time()),
        believed=lambda: (*publisher.anchors.node_cas, *publisher.anchors.workload_cas),
    )
    return RevocationServicer(
        Reach(nodes=parts.nodes, revocation=revocation, crls=parts.crls, hub=publisher.hub)
    )


def bearer_server(
    parts: Parts, operators: ForOperators, tls: ServerTls
) -> tuple[list[grpc.aio.Server], dict[str, int]]:
    """The port for tokens, where an issuer is configured."""
    if parts.desk.by_token is None:
        return [], {}
    made = server.bearer_server(parts.desk.by_token)
    port = listening.bind(made, parts.config.oidc.listen, server.anonymous(tls.current))
    operators.add_to(server.Handlers(made))
    return [made], {"operators": port}
