"""`writ approve`: the second operator, where the mesh asks for two before access is widened."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from controlplane.cli import output, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2


class _OrId(TyperGroup):
    """`writ approve ID` is `writ approve give ID`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["give", *args])


app = typer.Typer(
    cls=_OrId,
    help="Approvals: a second operator agrees before access is widened. `writ approve ID` does what was asked for.",
    epilog="Off until `writ approve on`. Then what widens access (policies that permit more, new nodes, tokens, wider "
    "attributes, resources, workloads, operators) waits for up to a day, and is done exactly as it was asked for when "
    "another operator, who could do it himself, approves. Narrowing and revoking never wait.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="As `writ approve list` shows it.")]


@app.command("list")
def list_approvals(
    everything: Annotated[bool, typer.Option("--all", help="Also what was decided or has expired.")] = False,
) -> None:
    """List what waits."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListApprovals, admin_pb2.ListApprovalsRequest())
    shown = [one for one in found.approvals if everything or one.state == "waiting"]
    if session.wants_json():
        output.emit_json({"required": found.required, "approvals": [_document(one) for one in shown]})
        return
    rows = [
        (a.id, a.state, a.by, _call(a), a.target, output.when(a.expires_at), a.decided_by or "-")
        for a in shown
    ]
    columns = ("ID", "STATE", "ASKED BY", "CALL", "ON", "EXPIRES", "DECIDED BY")
    output.emit_table(columns, rows, empty="nothing waits")
    if not found.required:
        output.note("approvals are off: `writ approve on`")


@app.command()
def show(approval: Id) -> None:
    """Show exactly what was asked for."""
    found = _get(approval)
    document = {**_document(found), "request": _json(found, "input_type", found.request)}
    output.emit_json(document)


@app.command(hidden=True)
def give(approval: Id) -> None:
    """Approve it: it is done now, exactly as it was asked for. Prints what it answers."""
    from controlplane.api.gen import admin_pb2

    found = _get(approval)
    session.confirm(
        f"let `{found.by}` {_call(found)} `{found.target}`? `writ approve show {found.id}` shows it whole"
    )
    with session.connect() as client:
        done = client.call(client.stub.ApproveCall, admin_pb2.ApproveCallRequest(id=found.id))
        _print_reply(done, client.context.address)
    output.note(
        f"`{done.approval.id}` is done: {_call(done.approval)} {done.approval.target}, asked by `{done.approval.by}`"
    )


@app.command()
def reject(approval: Id) -> None:
    """Refuse it, or take back what you asked for."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        done = client.call(client.stub.RejectCall, admin_pb2.RejectCallRequest(id=approval))
    output.note(f"`{done.id}` is rejected")


@app.command("on")
def switch_on() -> None:
    """Ask for a second operator from now on."""
    _switch(required=True)


@app.command("off")
def switch_off() -> None:
    """Ask for none any more. This needs a second operator itself."""
    _switch(required=False)


def _switch(*, required: bool) -> None:
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        client.call(client.stub.SetApproval, admin_pb2.SetApprovalRequest(required=required))
    output.note("what widens access needs a second operator" if required else "no second operator is needed")


def _get(approval: str) -> "admin_pb2.Approval":
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListApprovals, admin_pb2.ListApprovalsRequest(id=approval)).approvals
    if not found:
        raise CliError(f"there is no approval `{approval}`", code=Exit.NOT_FOUND, hint="writ approve list")
    one: admin_pb2.Approval = found[0]
    return one


def _print_reply(done: "admin_pb2.ApproveCallResponse", address: str) -> None:
    """What whoever asked is waiting for: a grant as `writ operator accept` takes it, anything else as JSON."""
    from controlplane.api.gen import admin_pb2
    from controlplane.cli import operator_files

    if _call(done.approval) in {"AddOperator", "RenewOperator"}:
        grant = admin_pb2.OperatorGrant.FromString(done.reply)
        typer.echo(operator_files.dump_grant(grant, address), nl=False)
    else:
        output.emit_json(_json(done.approval, "output_type", done.reply))


def _json(approval: "admin_pb2.Approval", which: str, data: bytes) -> object:
    """A request or reply of the call that an approval is for."""
    from google.protobuf import descriptor_pool, json_format, message_factory

    try:  # the client has loaded the API
        method = descriptor_pool.Default().FindMethodByName(approval.method.replace("/", "."))
    except KeyError as exc:
        hint = "is it older than the control plane?"
        raise CliError(f"this program does not know `{approval.method}`", hint=hint) from exc
    message = message_factory.GetMessageClass(getattr(method, which)).FromString(data)
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _document(one: "admin_pb2.Approval") -> dict[str, object]:
    names = ("id", "method", "target", "by", "state", "asked_at", "expires_at", "decided_by", "arguments")
    return {name: getattr(one, name) for name in names}


def _call(one: "admin_pb2.Approval") -> str:
    return one.method.rpartition("/")[2]
