"""`writ resource`: models, datasets, tools and services, which node serves them, and their groups."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import documents, output, session

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(help="Resources: what nodes serve, and how policies call it.", no_args_is_help=True)


@app.command()
def apply(
    file: Annotated[list[Path], typer.Option("--file", "-f", help="YAML or JSON; `-` reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and count, change nothing.")] = False,
) -> None:
    """Create or change resources and groups. All of a call is applied, or nothing.

    A file holds `groups` (kind, name, groups) and `resources` (kind, name, node, port, groups, owner, max_class). The
    `groups` of a group are those of its kind that it is in; without, it stays in those that it is in.
    """
    from controlplane.api.gen import admin_pb2

    request = admin_pb2.ApplyResourcesRequest(dry_run=dry_run)
    for path in file:
        resources, groups = documents.read_resources(path)
        for entry in resources:
            name, site = session.split_node(str(entry.pop("node")))
            request.resources.add(node=name, site=site, **entry)
        for entry in groups:
            within = {"within": admin_pb2.Within(groups=entry.pop("groups"))} if "groups" in entry else {}
            request.groups.add(**entry, **within)
    with session.connect() as client:
        done = client.call(client.stub.ApplyResources, request)
    counts = {"created": done.created, "changed": done.changed, "unchanged": done.unchanged}
    if session.wants_json():
        output.emit_json({**counts, "generation": done.generation, "dry_run": dry_run})
    else:
        output.note(
            ", ".join(f"{n} {word}" for word, n in counts.items()) + (" (dry run)" if dry_run else "")
        )


@app.command("list")
def list_resources(node: Annotated[str, typer.Option(help="Only this node, `<node>.<site>`.")] = "") -> None:
    """List resources, and the groups that exist."""
    from controlplane.api.gen import admin_pb2

    name, site = session.split_node(node) if node else ("", "")
    with session.connect() as client:
        found = client.call(client.stub.ListResources, admin_pb2.ListResourcesRequest(node=name, site=site))
    if session.wants_json():
        groups = [
            {"kind": group.kind, "name": group.name, "groups": list(group.within.groups)}
            for group in found.groups
        ]
        output.emit_json({"resources": [_document(item) for item in found.resources], "groups": groups})
        return
    columns = ("KIND", "NAME", "NODE", "PORT", "GROUPS", "OWNER", "MAX CLASS")
    rows = [
        (r.kind, r.name, f"{r.node}.{r.site}", r.port, ",".join(r.groups) or "-", r.owner or "-", r.max_class)
        for r in found.resources
    ]
    output.emit_table(columns, rows, empty="no resources yet: `writ resource apply -f FILE`")
    nested = [(one.kind, one.name, ",".join(one.within.groups)) for one in found.groups if one.within.groups]
    if nested:
        output.emit_table(("KIND", "GROUP", "IN"), nested, empty="")


def _document(item: "admin_pb2.Resource") -> dict[str, object]:
    plain = {name: getattr(item, name) for name in ("kind", "name", "port", "owner", "max_class")}
    return {**plain, "node": f"{item.node}.{item.site}", "groups": list(item.groups)}
