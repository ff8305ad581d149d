"""`writ status` and `writ version`: what the mesh wants, and what each node really enforces."""

from importlib import metadata

from controlplane.cli import node, output, session


def status() -> None:
    """Show the mesh: versions wanted, and per node what is enforced, since when and until when."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        mesh = client.call(client.stub.GetStatus, admin_pb2.GetStatusRequest())
    plain = ("trust_domain", "version", "generation", "policy_min", "policy_now", "lease_s", "root_sha256")
    facts = {name: getattr(mesh, name) for name in plain}
    if session.wants_json():
        output.emit_json(
            {**facts, "warnings": list(mesh.warnings), "nodes": [node.document(n) for n in mesh.nodes]}
        )
        return
    output.emit_fields(facts)
    output.emit_table(
        node.COLUMNS, [node.row(n) for n in mesh.nodes], empty="no nodes yet: `writ token create NODE`"
    )
    for n in mesh.nodes:
        for line in ([n.error] if n.error else []) + [
            f"not cut, ends by itself: {open_}" for open_ in n.not_cut
        ]:
            output.note(f"warning: {n.node}.{n.site}: {line}")
    for warning in mesh.warnings:
        output.note(f"warning: {warning}")


def version() -> None:
    """Print the version of this program."""
    found = metadata.version("writ-mesh")
    if session.wants_json():
        output.emit_json({"version": found})
    else:
        output.emit_fields({"writ": found})
