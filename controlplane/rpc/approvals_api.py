"""The part of Admin by which a second operator agrees: who approves must be permitted the call himself."""

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from controlplane.api.gen import admin_pb2
from controlplane.errors import CorruptError, DeniedError
from controlplane.operator_rows import ApprovalRow
from controlplane.rpc import permissions
from controlplane.rpc.account import asked, target
from controlplane.rpc.caller import calling
from controlplane.rpc.operators import Context, OperatorsOnly
from controlplane.services.admin import approvals
from controlplane.services.admin.grants import Grant

ABOUT_OPERATORS = {"AddOperator", "SetOperator", "RenewOperator"}


class ApprovalsServicer(OperatorsOnly):
    """The lines of `admin.proto` about approvals."""

    async def SetApproval(
        self, request: admin_pb2.SetApprovalRequest, context: Context
    ) -> admin_pb2.SetApprovalResponse:
        self._operator(context, "approval_set", required=request.required)
        await self._c.approvals.set_required(request.required)
        return admin_pb2.SetApprovalResponse(required=request.required)

    async def ListApprovals(
        self, request: admin_pb2.ListApprovalsRequest, context: Context
    ) -> admin_pb2.ListApprovalsResponse:
        self._operator(context, "approval_list")
        kept = self._c.approvals
        found = [await kept.get(request.id)] if request.id else await kept.all()
        seen = [one.row for one in found if _sees(calling(), one.row)]
        if request.id and not seen:
            raise DeniedError(f"approval `{request.id[:64]}` is about other sites")
        listed = [self._approval(row, whole=bool(request.id)) for row in seen]
        return admin_pb2.ListApprovalsResponse(approvals=listed, required=await kept.required())

    async def ApproveCall(
        self, request: admin_pb2.ApproveCallRequest, context: Context
    ) -> admin_pb2.ApproveCallResponse:
        """Does exactly what was asked for, as who asked for it: his name is on it, and both are in the log."""
        kept, by = self._c.approvals, calling()
        stored = await kept.get(request.id)
        wanted, asker = _message(stored.row), await kept.asker(stored.row)
        for grant in (by, asker):
            permissions.check(stored.row.call, wanted, grant)
        if stored.row.call in ABOUT_OPERATORS:
            await self._c.operators.check_over(by, target(wanted))
        serve = self._served(stored.row)
        row = await kept.decide(stored, by, approvals.DONE)
        self._operator(context, "approve", approval=row.id, call=row.call, asked_by=row.by)
        about = asked(row.call, wanted, approval=row.id)
        reply = await self._c.account.done(about, asker, lambda: serve(wanted, context), changes=True)
        return admin_pb2.ApproveCallResponse(approval=self._approval(row), reply=reply.SerializeToString())

    async def RejectCall(self, request: admin_pb2.RejectCallRequest, context: Context) -> admin_pb2.Approval:
        """Who asked may take it back; others, where they could have approved it."""
        kept, by = self._c.approvals, calling()
        stored = await kept.get(request.id)
        if stored.row.by != by.name:
            permissions.check(stored.row.call, _message(stored.row), by)
        self._operator(
            context, "reject", approval=stored.row.id, call=stored.row.call, asked_by=stored.row.by
        )
        return self._approval(await kept.decide(stored, by, approvals.REJECTED))

    def _served(self, row: ApprovalRow) -> Callable[..., Any]:
        """The method that serves a call, of whichever service of operators."""
        service, _, call = row.method.partition("/")
        serve = getattr(self._c.servicers.get(service), call, None)
        if serve is None or permissions.TABLE[call].kind is not permissions.WIDEN:
            raise CorruptError(f"approval `{row.id}` is for a call that is gone")
        return serve  # type: ignore[no-any-return]  # servicers are generated

    def _approval(self, row: ApprovalRow, *, whole: bool = False) -> admin_pb2.Approval:
        return admin_pb2.Approval(
            id=row.id,
            method=row.method,
            target=row.target,
            by=row.by,
            state=self._c.approvals.state(row),
            asked_at=row.asked_at,
            expires_at=row.expires_at,
            decided_by=row.decided_by,
            request=approvals.request_of(row) if whole else b"",
            arguments=row.arguments,
        )


def _message(row: ApprovalRow) -> Any:
    """The request, of the type that its call takes."""
    try:
        method = descriptor_pool.Default().FindMethodByName(row.method.replace("/", "."))
        return message_factory.GetMessageClass(method.input_type).FromString(approvals.request_of(row))
    except KeyError as exc:
        raise CorruptError(f"approval `{row.id}` is for a call that is gone") from exc
    except DecodeError as exc:
        raise CorruptError(f"approval `{row.id}` is malformed") from exc


def _sees(grant: Grant, row: ApprovalRow) -> bool:
    """One's own, and what is about one's sites."""
    known = permissions.TABLE.get(row.call)
    bound = known.sites(_message(row)) if known else None
    return grant.name == row.by or grant.holds(bound or ())
