"""`writ node`: who is in the mesh, what each may claim, and ending it."""

from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import attributes, output, revocation, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(help="Nodes: list, change, renew, revoke.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NODE", help="`<node>.<site>`, such as `gpu-1.berlin`.")]
TIMES = frozenset({"not_after", "last_seen", "lease_until", "attested_at"})


@app.command("list")
def list_nodes(site: Annotated[str, typer.Option(help="Only this site.")] = "") -> None:
    """List nodes with their state and what they enforce."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        nodes = client.call(client.stub.ListNodes, admin_pb2.ListNodesRequest(site=site)).nodes
    if session.wants_json():
        output.emit_json([document(node) for node in nodes])
        return
    output.emit_table(COLUMNS, [row(node) for node in nodes], empty="no nodes yet: `writ token create NODE`")


@app.command()
def show(node: Name) -> None:
    """Show one node whole."""
    shown = _get(node)
    if session.wants_json():
        output.emit_json(document(shown))
    else:
        output.emit_fields({key: _cell(key, value) for key, value in document(shown).items()})


@app.command("set")
def set_node(
    node: Name,
    tier: attributes.Tier = None,
    group: attributes.Groups = None,
    purpose: attributes.Purposes = None,
    region: attributes.Regions = None,
    class_floor: attributes.Floor = None,
    class_ceiling: attributes.Ceiling = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the result, change nothing.")] = False,
) -> None:
    """Change what a node may claim. A given option replaces the whole value; the others stay.

    Narrowing raises the node's epoch: certificates of before are dead at once, and the node renews by itself.
    """
    from controlplane.api.gen import admin_pb2

    change = attributes.Change(
        tier=tier,
        groups=group,
        purposes=purpose,
        regions=region,
        class_floor=class_floor,
        class_ceiling=class_ceiling,
    )
    if not change:
        raise CliError(
            "nothing to set", code=Exit.USAGE, hint="give at least one of --group, --purpose, --region, …"
        )
    name, site = session.split_node(node)
    wanted = change.over(_get(node).attributes)
    if dry_run:
        output.emit_json({"node": node, "attributes": attributes.document(wanted)})
        return
    with session.connect() as client:
        done = client.call(
            client.stub.SetNode, admin_pb2.SetNodeRequest(node=name, site=site, attributes=wanted)
        )
    if session.wants_json():
        output.emit_json(
            {"node": document(done.node), "narrowed": done.narrowed, "generation": done.generation}
        )
    else:
        output.note(f"`{node}` changed" + (", its earlier certificates are dead" if done.narrowed else ""))


@app.command()
def renew(node: Name) -> None:
    """Ask a node's agent to renew its certificate now."""
    from controlplane.api.gen import admin_pb2

    name, site = session.split_node(node)
    with session.connect() as client:
        asked = client.call(client.stub.RenewNode, admin_pb2.GetNodeRequest(node=name, site=site))
    output.note(f"`{node}` was asked to renew; its certificate ends {output.when(asked.not_after)}")


for command in (
    revocation.revoke,
    revocation.unrevoke,
    revocation.quarantine,
    revocation.release,
    revocation.unlock,
):
    app.command()(command)


def _get(node: str) -> "admin_pb2.Node":
    from controlplane.api.gen import admin_pb2

    name, site = session.split_node(node)
    with session.connect() as client:
        found: admin_pb2.Node = client.call(
            client.stub.GetNode, admin_pb2.GetNodeRequest(node=name, site=site)
        )
    return found


COLUMNS = ("NODE", "WHERE", "STATE", "GROUPS", "EPOCH", "CERTIFICATE ENDS", "ENFORCES", "LEASE UNTIL")


def row(node: "admin_pb2.Node") -> tuple[object, ...]:
    """One line of `node list` and `status`."""
    state = node.state if node.connected or node.state != "enrolled" else "away"
    enforces = f"generation {node.generation}, policy {node.policy_version}" if node.generation else "-"
    groups = ",".join(sorted(node.attributes.groups)) or "-"
    ends, lease = output.when(node.not_after), output.when(node.lease_until)
    return f"{node.node}.{node.site}", node.jurisdiction, state, groups, node.epoch, ends, enforces, lease


def document(node: "admin_pb2.Node") -> dict[str, object]:
    """A node as JSON: the field names of the API."""
    plain = (
        "spiffe_id", "node", "site", "jurisdiction", "epoch", "floor", "state", "reason", "address", "serial",
        "not_after", "connected", "generation", "policy_version", "last_seen", "agent_version", "envoy_version",
        "lease_until", "error", "tier", "attested_by", "attested_at",
    )  # fmt: skip
    shown: dict[str, object] = {name: getattr(node, name) for name in plain}
    return {**shown, "attributes": attributes.document(node.attributes), "not_cut": list(node.not_cut)}


def _cell(key: str, value: object) -> object:
    """For people; programs take the JSON."""
    if isinstance(value, int) and key in TIMES:
        return output.when(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "  ".join(f"{name}={_cell(name, item)}" for name, item in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return value if value != "" else "-"
