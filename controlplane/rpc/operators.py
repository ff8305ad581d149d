"""What every part of Admin shares: all that it can reach, and who is calling. Operators only; each change is logged."""

from dataclasses import dataclass

import grpc
import structlog

from controlplane.api.gen import admin_pb2_grpc
from controlplane.rpc.peer import Peers
from controlplane.services import explanation, policy_sets
from controlplane.services.authorities import Authorities
from controlplane.services.federation import Federation
from controlplane.services.jwt_authorities import JwtAuthorities
from controlplane.services.nodes import Nodes
from controlplane.services.publish import Publisher
from controlplane.services.resources import Resources
from controlplane.services.rollout import Rollout
from controlplane.services.witness import Witness
from controlplane.services.workloads import Registry

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
    "bundle_show",
    "federation_list",
    "federation_show",
}
Context = grpc.aio.ServicerContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """All that the part about identities can reach."""

    made: Authorities
    workloads: Registry
    jwt_keys: JwtAuthorities
    publisher: Publisher
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
    root_sha256: str
    enrolment_address: str


class OperatorsOnly(admin_pb2_grpc.AdminServicer):
    """Knows who calls."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._c = collaborators

    def _operator(self, context: Context, act: str, **facts: object) -> str:
        name = self._c.peers.operator(context).path[-1]
        (log.debug if act in READS else log.info)("admin", act=act, operator=name, **facts)
        return name
