"""The part of Admin that is about identities: workloads, attestors, the trust bundle that others verify them with."""

from certs import bundle
from controlplane.api.gen import admin_pb2
from controlplane.model import NodeRow
from controlplane.rpc import convert
from controlplane.rpc.operators import Collaborators, Context, OperatorsOnly
from controlplane.services.federation import own_bundle
from policies.workloads import Workload


class IdentitiesServicer(OperatorsOnly):
    """The lines of `admin.proto` about identities."""

    def __init__(self, collaborators: Collaborators) -> None:
        super().__init__(collaborators)
        self._i = collaborators.identities

    async def RegisterWorkload(self, request: admin_pb2.Workload, context: Context) -> admin_pb2.Workload:
        node = f"{request.node}.{request.site}"
        self._operator(context, "workload_register", node=node, workload=request.name)
        given = convert.attributes(request.attributes) if request.HasField("attributes") else None
        wanted = Workload(
            name=request.name,
            selectors=tuple(sorted(set(request.selectors))),
            hint=request.hint,
            attributes=given,
            federates_with=tuple(sorted(set(request.federates_with))),
        )
        spiffe_id = await self._i.workloads.register(request.node, request.site, wanted)
        made = admin_pb2.Workload(spiffe_id=str(spiffe_id))
        made.MergeFrom(request)
        return made

    async def ListWorkloads(
        self, request: admin_pb2.ListWorkloadsRequest, context: Context
    ) -> admin_pb2.ListWorkloadsResponse:
        self._operator(context, "workload_list")
        found = await self._i.workloads.all(request.node, request.site)
        return admin_pb2.ListWorkloadsResponse(workloads=[_workload(node, one) for node, one in found])

    async def RemoveWorkload(
        self, request: admin_pb2.RemoveWorkloadRequest, context: Context
    ) -> admin_pb2.RemoveWorkloadResponse:
        node = f"{request.node}.{request.site}"
        self._operator(context, "workload_remove", node=node, workload=request.name)
        await self._i.workloads.remove(request.node, request.site, request.name)
        return admin_pb2.RemoveWorkloadResponse()

    async def ListAttestors(
        self, request: admin_pb2.ListAttestorsRequest, context: Context
    ) -> admin_pb2.ListAttestorsResponse:
        del request
        self._operator(context, "attestor_list")
        found = [convert.attestor(kind, known) for kind, known in self._i.attestors.items()]
        return admin_pb2.ListAttestorsResponse(attestors=found)

    async def GetBundle(self, request: admin_pb2.GetBundleRequest, context: Context) -> admin_pb2.Bundle:
        del request
        self._operator(context, "bundle_show")
        return admin_pb2.Bundle(document=bundle.dump(own_bundle.newest(self._i.made, self._i.publisher)))


def _workload(node: NodeRow, workload: Workload) -> admin_pb2.Workload:
    message = admin_pb2.Workload(
        node=node.node,
        site=node.site,
        name=workload.name,
        selectors=workload.selectors,
        hint=workload.hint,
        spiffe_id=f"{node.spiffe_id}/{workload.name}",
        federates_with=workload.federates_with,
    )
    told = workload.attributes
    if told is not None:
        message.attributes.CopyFrom(
            admin_pb2.Attributes(
                tier=node.effective_tier,
                groups=sorted(told.groups),
                purposes=sorted(told.purposes),
                regions=sorted(told.regions),
                class_floor=told.class_floor,
                class_ceiling=told.class_ceiling,
            )
        )
    return message
