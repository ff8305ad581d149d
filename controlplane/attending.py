"""What nodes and other replicas call, put together: enrolment without a certificate, everything else behind one."""

import time

import grpc

from certs.profile import Profile
from controlplane.api.gen import enrolment_pb2_grpc, evidence_pb2_grpc, identity_pb2_grpc, replica_pb2_grpc
from controlplane.parts import Parts
from controlplane.rpc import server
from controlplane.rpc.evidence_api import EvidenceServicer
from controlplane.rpc.nodes_api import EnrolmentServicer, IdentityServicer
from controlplane.rpc.replica_api import ReplicaServicer
from controlplane.rpc.sync_api import SyncServicer
from controlplane.services.authority import ca_rows
from controlplane.services.identity.enrolment import Enrolment
from controlplane.services.identity.issuance import Issuance
from controlplane.services.identity.workloads import WorkloadSvids


def add_to(parts: Parts, api: grpc.aio.Server, enrolment_server: grpc.aio.Server) -> None:
    """Register it on both ports."""
    publisher, peers, behind_mtls = parts.publisher, parts.desk.peers, server.Handlers(api)
    enrolment = _enrolment(parts)
    issuing = EnrolmentServicer(enrolment, parts.made, lambda: publisher.anchors)
    identity = IdentityServicer(enrolment, _svids(parts), peers)
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(issuing, enrolment_server)
    identity_pb2_grpc.add_IdentityServicer_to_server(identity, behind_mtls)
    evidence_pb2_grpc.add_EvidenceServicer_to_server(EvidenceServicer(parts.desk.witness, peers), behind_mtls)
    replica_pb2_grpc.add_ReplicaServicer_to_server(ReplicaServicer(peers, publisher.hub), behind_mtls)
    within_s = ca_rows.reissue_within_s(parts.config.svid_lifetime_s)
    sync = SyncServicer(peers, publisher, parts.nodes, parts.admission, within_s)
    api.add_generic_rpc_handlers((sync.handler(),))


def _enrolment(parts: Parts) -> Enrolment:
    profile = Profile(lifetime_s=parts.config.svid_lifetime_s)
    return Enrolment(
        parts.store,
        parts.made,
        Issuance(parts.store, parts.made, profile, parts.replicas.check_issues),
        parts.nodes,
        parts.attestation,
        parts.challenges,
        grace_s=parts.config.grace_s,
        clock=_now,
        node_cas=lambda: parts.publisher.anchors.node_cas,
        known=parts.following.node,
    )


def _svids(parts: Parts) -> WorkloadSvids:
    return WorkloadSvids(
        parts.store,
        parts.made,
        parts.lifecycle.jwt_keys,
        Profile(lifetime_s=parts.config.svid_lifetime_s),
        may_issue=parts.replicas.check_issues,
        clock=_now,
    )


def _now() -> int:
    return int(time.time())
