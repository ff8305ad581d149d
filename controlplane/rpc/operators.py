"""What every part of Admin shares: all that it can reach. Operators only; each change is logged."""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import structlog

from controlplane.api.gen import admin_pb2_grpc
from controlplane.rpc.account import Account
from controlplane.rpc.caller import calling
from controlplane.rpc.peer import Peers
from controlplane.services.admin.approvals import Approvals
from controlplane.services.admin.operators import Operators
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.lifecycle import Lifecycle
from controlplane.services.authority.tainting import Tainting
from controlplane.services.evidence.recording import Recording
from controlplane.services.evidence.witness import Witness
from controlplane.services.federation.relationships import Federation
from controlplane.services.identity.attestation import Configured
from controlplane.services.identity.nodes import Nodes
from controlplane.services.identity.workloads import Registry
from controlplane.services.mesh.root_again import RootAgain
from controlplane.services.mesh.root_rotation import RootRotation
from controlplane.services.policy import explanation, policy_sets
from controlplane.services.policy.resources import Resources
from controlplane.services.policy.rollout import Rollout
from controlplane.services.push.publish import Publisher

log = structlog.get_logger()
READS = {
    "site_list",
    "node_list",
    "node_show",
    "resource_list",
    "policy_list",
    "policy_show",
    "policy_status",
    "status",
    "witnessed",
    "workload_list",
    "authority_list",
    "anchors_show",
    "root_list",
    "bundle_show",
    "root_request",
    "attestor_list",
    "operator_list",
    "approval_list",
    "evidence_read",
    "federation_list",
    "federation_show",
}
Context = grpc.aio.ServicerContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """All that the part about identities can reach."""

    made: Authorities
    workloads: Registry
    lifecycle: Lifecycle
    root_rotation: RootRotation
    tainting: Tainting
    root_again: RootAgain
    reissue_within_s: int
    publisher: Publisher
    attestors: Mapping[str, Configured]
    federation: Federation
    endpoint: tuple[str, str]
    """Profile and SPIFFE ID of our own bundle endpoint; empty: we serve none, or are verified like a web site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """All that Admin can reach."""

    peers: Peers
    made: Authorities
    nodes: Nodes
    resources: Resources
    publisher: Publisher
    rollout: Rollout
    policy_sets: policy_sets.PolicySets
    explanation: explanation.Explaining
    witness: Witness
    identities: Identities
    operators: Operators
    approvals: Approvals
    account: Account
    recording: Recording
    servicers: dict[str, object]  # every service of operators by its full name, for what was approved
    enrolment_address: str


class OperatorsOnly(admin_pb2_grpc.AdminServicer):
    """Knows who calls: `rpc.administration` has found out, permitted it, and recorded it."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._c = collaborators

    def _operator(self, context: Context, act: str, **facts: object) -> str:
        del context
        name = calling().name
        (log.debug if act in READS else log.info)("admin", act=act, operator=name, **facts)
        return name
