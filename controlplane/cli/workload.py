"""`writ workload`: which process of a node is which workload."""

from typing import Annotated

import typer

from controlplane.cli import attributes, output, session
from controlplane.cli.errors import CliError, Exit

app = typer.Typer(help="Workloads: give processes of a node identities of their own.", no_args_is_help=True)
Name = Annotated[
    str, typer.Argument(metavar="WORKLOAD", help="`<node>.<site>/<workload>`, such as `gpu-1.berlin/web`.")
]


@app.command()
def register(
    workload: Name,
    selector: Annotated[
        list[str],
        typer.Option(help="unix:uid:N, unix:gid:N or k8s:pod-uid:UUID; all that are given must hold."),
    ],
    hint: Annotated[str, typer.Option(help="Told to a process that has several identities.")] = "",
    federates_with: Annotated[
        list[str] | None, typer.Option(help="A trust domain whose bundle it is given; may be repeated.")
    ] = None,
    group: attributes.Groups = None,
    purpose: attributes.Purposes = None,
    region: attributes.Regions = None,
    class_floor: attributes.Floor = None,
    class_ceiling: attributes.Ceiling = None,
) -> None:
    """Register a workload, or replace its registration whole.

    Without attribute options it has what its node has; with some, the others stay the node's.
    """
    from controlplane.api.gen import admin_pb2

    node, site, name = _split(workload)
    change = attributes.Change(
        tier=None,
        groups=group,
        purposes=purpose,
        regions=region,
        class_floor=class_floor,
        class_ceiling=class_ceiling,
    )
    request = admin_pb2.Workload(
        node=node, site=site, name=name, selectors=selector, hint=hint, federates_with=federates_with or []
    )
    with session.connect() as client:
        if change:
            have = client.call(client.stub.GetNode, admin_pb2.GetNodeRequest(node=node, site=site)).attributes
            request.attributes.CopyFrom(change.over(have))
        made = client.call(client.stub.RegisterWorkload, request)
    if session.wants_json():
        output.emit_json({"spiffe_id": made.spiffe_id, "selectors": list(made.selectors)})
    else:
        output.note(f"`{workload}` is {made.spiffe_id}")


@app.command("list")
def list_workloads(
    node: Annotated[str, typer.Argument(help="Only this node, `<node>.<site>`.")] = "",
) -> None:
    """List registrations."""
    from controlplane.api.gen import admin_pb2

    name, site = session.split_node(node) if node else ("", "")
    with session.connect() as client:
        found = client.call(
            client.stub.ListWorkloads, admin_pb2.ListWorkloadsRequest(node=name, site=site)
        ).workloads
    if session.wants_json():
        output.emit_json(
            [
                {
                    "workload": f"{one.node}.{one.site}/{one.name}",
                    "spiffe_id": one.spiffe_id,
                    "selectors": list(one.selectors),
                    "hint": one.hint,
                    "federates_with": list(one.federates_with),
                    "attributes": attributes.document(one.attributes) if one.HasField("attributes") else None,
                }
                for one in found
            ]
        )
        return
    rows = [
        (
            f"{one.node}.{one.site}/{one.name}",
            " ".join(one.selectors),
            "narrower" if one.HasField("attributes") else "as its node",
            one.spiffe_id,
        )
        for one in found
    ]
    empty = "no workloads yet: `writ workload register WORKLOAD --selector unix:uid:N`"
    output.emit_table(("WORKLOAD", "SELECTORS", "MAY", "SPIFFE ID"), rows, empty=empty)


@app.command()
def remove(workload: Name) -> None:
    """Remove a registration: nothing is given to the workload from now on; what it holds ends within its hour."""
    from controlplane.api.gen import admin_pb2

    node, site, name = _split(workload)
    session.confirm(f"remove `{workload}`?")
    with session.connect() as client:
        request = admin_pb2.RemoveWorkloadRequest(node=node, site=site, name=name)
        client.call(client.stub.RemoveWorkload, request)
    output.note(f"`{workload}` is no longer registered")


def _split(name: str) -> tuple[str, str, str]:
    node, slash, workload = name.partition("/")
    if not slash or not workload or "/" in workload:
        raise CliError(f"`{name}` is no workload", code=Exit.USAGE, hint="write `<node>.<site>/<workload>`")
    return (*session.split_node(node), workload)
