"""What nodes call: Enrolment, without a certificate, and Identity, with one."""

from collections.abc import Callable

import grpc

from controlplane.api.gen import enrolment_pb2, enrolment_pb2_grpc, identity_pb2, identity_pb2_grpc
from controlplane.attest.base import JOIN_TOKEN, Evidence
from controlplane.rpc import convert
from controlplane.rpc.peer import Peers
from controlplane.services.authority.authorities import Authorities
from controlplane.services.identity.enrolment import Enrolment
from controlplane.services.identity.issuance import Issued
from controlplane.services.identity.workloads import WorkloadSvids
from controlplane.services.mesh.replicas import Anchors

Context = grpc.aio.ServicerContext


class EnrolmentServicer(enrolment_pb2_grpc.EnrolmentServicer):
    """Evidence and expired certificates."""

    def __init__(self, service: Enrolment, made: Authorities, anchors: Callable[[], Anchors]) -> None:
        self._service, self._made, self._anchors = service, made, anchors

    async def Enrol(
        self, request: enrolment_pb2.EnrolRequest, context: Context
    ) -> enrolment_pb2.EnrolResponse:
        shown = convert.evidence(request.evidence, request.csr, request.token)
        shown = shown or Evidence(
            kind=JOIN_TOKEN, csr=request.csr
        )  # nothing is refused like a token that is wrong
        issued = await self._service.enrol(shown, request.idempotency_key, _source(context))
        return self._response(issued)

    async def Challenge(
        self, request: enrolment_pb2.ChallengeRequest, context: Context
    ) -> enrolment_pb2.ChallengeResponse:
        nonce = self._service.challenge(request.leaf, _source(context))
        return enrolment_pb2.ChallengeResponse(nonce=nonce)

    async def RenewExpired(
        self, request: enrolment_pb2.RenewExpiredRequest, context: Context
    ) -> enrolment_pb2.EnrolResponse:
        del context
        issued = await self._service.renew_expired(
            request.leaf,
            request.csr,
            request.nonce,
            request.signature,
            request.idempotency_key,
            convert.evidence(request.evidence, request.csr),
        )
        return self._response(issued)

    async def ListRootChanges(
        self, request: enrolment_pb2.ListRootChangesRequest, context: Context
    ) -> enrolment_pb2.ListRootChangesResponse:
        del request, context
        return enrolment_pb2.ListRootChangesResponse(changes=self._anchors().root_changes)

    def _response(self, issued: Issued) -> enrolment_pb2.EnrolResponse:
        root, delegation = self._made.roots[0], self._anchors().delegation
        return enrolment_pb2.EnrolResponse(chain=issued.chain, root=root, delegation=delegation)


class IdentityServicer(identity_pb2_grpc.IdentityServicer):
    """Renewal, and what the workloads of a node are given."""

    def __init__(self, service: Enrolment, workloads: WorkloadSvids, peers: Peers) -> None:
        self._service, self._workloads, self._peers = service, workloads, peers

    async def Renew(self, request: identity_pb2.RenewRequest, context: Context) -> identity_pb2.RenewResponse:
        caller = self._peers.presented(context)
        shown = convert.evidence(request.evidence, request.csr)
        issued = await self._service.renew(caller, request.csr, request.idempotency_key, shown)
        return identity_pb2.RenewResponse(chain=issued.chain)

    async def Challenge(
        self, request: enrolment_pb2.ChallengeRequest, context: Context
    ) -> enrolment_pb2.ChallengeResponse:
        caller = self._peers.presented(context)
        nonce = self._service.challenge(request.leaf, str(caller.spiffe_id))
        return enrolment_pb2.ChallengeResponse(nonce=nonce)

    async def IssueWorkload(
        self, request: identity_pb2.IssueWorkloadRequest, context: Context
    ) -> identity_pb2.IssueWorkloadResponse:
        caller = await self._peers.node(context)
        chain = await self._workloads.issue(caller, request.workload, request.csr)
        return identity_pb2.IssueWorkloadResponse(chain=chain)

    async def MintJwt(
        self, request: identity_pb2.MintJwtRequest, context: Context
    ) -> identity_pb2.MintJwtResponse:
        caller = await self._peers.node(context)
        token, expires_at = await self._workloads.mint(caller, request.workload, request.audience)
        return identity_pb2.MintJwtResponse(token=token, expires_at=expires_at)


def _source(context: Context) -> str:
    """The caller's address without its port: what refusals and challenges are counted by."""
    return str(context.peer()).rpartition(":")[0]
