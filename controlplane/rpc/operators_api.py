"""The part of Admin that is about operators themselves, and the log of what they did: convert, call a service, convert."""

from controlplane.api.gen import admin_pb2
from controlplane.operator_rows import OperatorRow
from controlplane.rpc.caller import calling
from controlplane.rpc.operators import Context, OperatorsOnly
from controlplane.services.admin.operators import unwritten


class OperatorsServicer(OperatorsOnly):
    """The lines of `admin.proto` about operators."""

    async def AddOperator(
        self, request: admin_pb2.AddOperatorRequest, context: Context
    ) -> admin_pb2.OperatorGrant:
        self._operator(context, "operator_add", name=request.operator.name, role=request.operator.role)
        return self._given(*await self._c.operators.add(calling(), _wanted(request.operator), request.csr))

    async def SetOperator(self, request: admin_pb2.Operator, context: Context) -> admin_pb2.Operator:
        self._operator(context, "operator_set", name=request.name, role=request.role)
        return _operator(await self._c.operators.set(calling(), _wanted(request)))

    async def RemoveOperator(
        self, request: admin_pb2.RemoveOperatorRequest, context: Context
    ) -> admin_pb2.RemoveOperatorResponse:
        self._operator(context, "operator_remove", name=request.name)
        await self._c.operators.remove(calling(), request.name)
        return admin_pb2.RemoveOperatorResponse()

    async def RenewOperator(
        self, request: admin_pb2.RenewOperatorRequest, context: Context
    ) -> admin_pb2.OperatorGrant:
        self._operator(context, "operator_renew", name=request.name)
        return self._given(*await self._c.operators.renew(calling(), request.name, request.csr))

    async def ListOperators(
        self, request: admin_pb2.ListOperatorsRequest, context: Context
    ) -> admin_pb2.ListOperatorsResponse:
        del request
        self._operator(context, "operator_list")
        return admin_pb2.ListOperatorsResponse(operators=map(_operator, await self._c.operators.all()))

    async def ReadEvidence(
        self, request: admin_pb2.ReadEvidenceRequest, context: Context
    ) -> admin_pb2.ReadEvidenceResponse:
        self._operator(context, "evidence_read", path=request.path)
        data = await self._c.recording.read(request.path)
        return admin_pb2.ReadEvidenceResponse(data=data or b"", found=data is not None)

    def _given(self, row: OperatorRow, leaf: bytes) -> admin_pb2.OperatorGrant:
        made = self._c.made
        return admin_pb2.OperatorGrant(
            operator=_operator(row),
            chain=[leaf, made.control_plane_ca.certificate],
            control_plane_cas=self._c.publisher.anchors.control_plane_cas,
            trust_domain=made.trust_domain,
        )


def _wanted(message: admin_pb2.Operator) -> OperatorRow:
    return unwritten(message.name, message.role, list(message.sites), message.hours)


def _operator(row: OperatorRow) -> admin_pb2.Operator:
    return admin_pb2.Operator(
        name=row.name,
        role=row.role,
        sites=row.sites,
        hours=row.hours,
        not_after=row.not_after,
        since=row.since,
        by=row.by,
    )
