"""`writ operator`: who administers this mesh, as what, where. The private key is made where the operator is, and stays there."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import output, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(
    help="Operators: who administers this mesh, as what, where.",
    epilog="Roles: `admin` governs, `operator` runs nodes, `auditor` reads everything, `ci` brings policies and resources. "
    "A new operator: he runs `writ operator request NAME > NAME.csr`, an administrator "
    "`writ operator add NAME --role operator --site paris --request NAME.csr > NAME.grant`, and he "
    "`writ operator accept NAME.grant`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the operator: a DNS label.")]
Sites = Annotated[
    list[str] | None, typer.Option("--site", help="Only there; not given: everywhere. May be repeated.")
]
Request = Annotated[
    Path, typer.Option("--request", help="What `writ operator request` printed; `-` for stdin.")
]
Role = Annotated[str, typer.Option(help="admin, operator, auditor or ci.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the result, change nothing.")]


@app.command()
def request(name: Name) -> None:
    """Make a key here, and print the request that an administrator answers with `writ operator add`."""
    from controlplane.cli import operator_files

    typer.echo(operator_files.request(name), nl=False)
    output.note(
        f"the key of `{name}` stays here; next, an administrator: writ operator add {name} --request …"
    )


@app.command()
def add(
    name: Name,
    role: Role,
    request: Request,
    site: Sites = None,
    hours: Annotated[int, typer.Option(help="How long his certificates live.", min=1, max=12)] = 12,
    dry_run: DryRun = False,
) -> None:
    """Make somebody an operator, and print what he accepts: his certificate. It is no secret.

    You cannot give more than you have: your sites hold his.
    """
    from controlplane.api.gen import admin_pb2
    from controlplane.cli import operator_files

    wanted = admin_pb2.Operator(name=name, role=role, sites=site or [], hours=hours)
    csr = operator_files.read_request(request)
    if dry_run:
        _show([wanted], "would be added; nothing was changed")
        return
    with session.connect() as client:
        made = client.call(client.stub.AddOperator, admin_pb2.AddOperatorRequest(operator=wanted, csr=csr))
        typer.echo(operator_files.dump_grant(made, client.context.address), nl=False)
    output.note(f"`{name}` is {_scope(made.operator)}; next, where the key is: writ operator accept")


@app.command()
def accept(
    grant: Annotated[Path, typer.Argument(help="What `writ operator add` printed; `-` for stdin.")],
) -> None:
    """Become the operator whose key was made here: writes a context, and makes it the current one."""
    from controlplane.cli import operator_files

    name = operator_files.accept(grant, session.options.context)
    output.note(f"context `{name}` is ready: writ status")


@app.command("list")
def list_operators() -> None:
    """List operators."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        _show(client.call(client.stub.ListOperators, admin_pb2.ListOperatorsRequest()).operators)


@app.command("set")
def set_operator(
    name: Name,
    role: Annotated[str, typer.Option(help="New role.")] = "",
    site: Sites = None,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="At every site.")] = False,
    hours: Annotated[
        int, typer.Option(help="How long his next certificates live; 0: as before.", max=12)
    ] = 0,
    dry_run: DryRun = False,
) -> None:
    """Change an operator's role or sites, from his next call on. Nobody changes himself."""
    from controlplane.api.gen import admin_pb2

    if not (role or site or everywhere or hours) or (site and everywhere):
        raise CliError("nothing to set", code=Exit.USAGE, hint="--role, --hours, and --site or --everywhere")
    with session.connect() as client:
        known = client.call(client.stub.ListOperators, admin_pb2.ListOperatorsRequest()).operators
        before = next((one for one in known if one.name == name), None)
        if before is None:
            raise CliError(f"there is no operator `{name}`", code=Exit.NOT_FOUND, hint="writ operator list")
        sites = [] if everywhere else site or list(before.sites)
        wanted = admin_pb2.Operator(name=name, role=role or before.role, sites=sites, hours=hours)
        if dry_run:
            _show([wanted], "would be set; nothing was changed")
            return
        made = client.call(client.stub.SetOperator, wanted)
    output.note(f"`{name}` is {_scope(made)} now")


@app.command()
def remove(name: Name) -> None:
    """Take an operator away. His next call is refused, whatever his certificate says. The last administrator stays."""
    from controlplane.api.gen import admin_pb2

    session.confirm(f"remove operator `{name}`?")
    with session.connect() as client:
        client.call(client.stub.RemoveOperator, admin_pb2.RemoveOperatorRequest(name=name))
    output.note(f"`{name}` is no operator any more")


@app.command()
def renew(
    other: Annotated[
        str, typer.Option("--for", help="An operator whose certificate has ended; needs --request.")
    ] = "",
    request: Annotated[Path | None, typer.Option("--request", help="His `writ operator request`.")] = None,
) -> None:
    """Renew your certificate, with a new key, in the current context. For somebody else, print what he accepts."""
    from controlplane.api.gen import admin_pb2
    from controlplane.cli import operator_files

    if bool(other) is not bool(request):
        raise CliError("--for and --request go together", code=Exit.USAGE)
    with session.connect() as client:
        if request is not None:
            asked = admin_pb2.RenewOperatorRequest(name=other, csr=operator_files.read_request(request))
            made = client.call(client.stub.RenewOperator, asked)
            typer.echo(operator_files.dump_grant(made, client.context.address), nl=False)
            return
        key, csr = operator_files.new_key()
        made = client.call(client.stub.RenewOperator, admin_pb2.RenewOperatorRequest(csr=csr))
        operator_files.replace(client.context, key, made)
    output.note(f"certificate of `{made.operator.name}` until {output.when(made.operator.not_after)}")


def _show(operators: "Iterable[admin_pb2.Operator]", note: str = "") -> None:
    if session.wants_json():
        names = ("name", "role", "hours", "not_after", "since", "by")
        output.emit_json([{**{n: getattr(o, n) for n in names}, "sites": list(o.sites)} for o in operators])
    else:
        rows = [
            (
                o.name,
                o.role,
                ", ".join(o.sites) or "everywhere",
                o.hours or "-",
                output.when(o.not_after),
                o.by or "-",
            )
            for o in operators
        ]
        output.emit_table(("NAME", "ROLE", "SITES", "HOURS", "CERTIFICATE ENDS", "ADDED BY"), rows)
    if note:
        output.note(note)


def _scope(one: "admin_pb2.Operator") -> str:
    return f"{one.role} " + (f"at {', '.join(one.sites)}" if one.sites else "everywhere")
