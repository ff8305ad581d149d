"""`writ status` and `writ version`: what the mesh wants, and what it really does, in one screen whatever its size.

The control plane counts; here it is only shown. Nodes are listed while they are few; else those that need somebody.
"""

import time
from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import output, session

if TYPE_CHECKING:
    from controlplane.api.gen import overview_pb2

NODE_COLUMNS = ("NODE", "WHERE", "STATE", "ENFORCES", "CERTIFICATE ENDS", "LEASE UNTIL", "TROUBLE")


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every --every seconds.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=0.2, max=3600)] = 2.0,
    limit: Annotated[int, typer.Option(help="Nodes to list at most.", min=1, max=1000)] = 50,
) -> None:
    """Show the mesh: versions wanted and enforced, nodes by state, who lags, what ends when."""
    from controlplane.api.gen import overview_pb2

    request = overview_pb2.GetOverviewRequest(limit=limit)
    with session.connect() as client:
        while True:
            mesh = client.call(client.overview.GetOverview, request)
            if watch and not session.wants_json():
                output.clear()
            _emit(mesh)
            if not watch:
                return
            time.sleep(every)


def _emit(mesh: "overview_pb2.MeshOverview") -> None:
    if session.wants_json():
        output.emit_json(document(mesh))
    else:
        _show(mesh)


def _show(mesh: "overview_pb2.MeshOverview") -> None:
    output.emit_fields(_fields(mesh))
    nodes = mesh.listed or mesh.attention
    output.emit_table(NODE_COLUMNS, map(_row, nodes), empty=_empty(mesh))
    if not mesh.listed and mesh.nodes:
        output.note(
            f"{len(mesh.attention)} of {mesh.attention_total} nodes that need attention; all: `writ node list`"
        )


def _empty(mesh: "overview_pb2.MeshOverview") -> str:
    return "no node needs attention" if mesh.nodes else "no nodes yet: `writ token create NODE`"


def _fields(mesh: "overview_pb2.MeshOverview") -> dict[str, object]:
    now = mesh.now_ms // 1000
    policy = (
        f"{mesh.policy_now} (from {mesh.policy_min})"
        if mesh.policy_min != mesh.policy_now
        else mesh.policy_now
    )
    return {
        "trust domain": mesh.trust_domain,
        "version": mesh.version,
        "root": mesh.root_sha256,
        "wanted": f"generation {mesh.generation}, policy {policy}",
        "nodes": _counts(mesh.by_state.items()) or "none",
        "agents": f"{mesh.connected} connected, {mesh.enforcing} enforce what is wanted",
        "trouble": _counts(mesh.troubles.items()) or "none",
        "certificates": "  ".join(_bucket(bucket) for bucket in mesh.certificates if bucket.count) or "none",
        "authorities": "  ".join(f"{end.kind} {span(end.not_after - now)}" for end in mesh.authorities),
        "replicas": "  ".join(f"{one.name} ({one.connected} agents)" for one in mesh.replicas),
        "store": store(mesh.store),
        "lease budget": budget(mesh),
    }


def budget(mesh: "overview_pb2.MeshOverview") -> str:
    """The bound an operator chose, in words."""
    worst = span(mesh.svid_lifetime_s + mesh.lease_s)
    return f"{span(mesh.lease_s)} alone, then deny; cut off and revoked at the wrong moment: at most {worst}"


def store(found: "overview_pb2.Store") -> str:
    """The control plane's store, in one line."""
    size = max((one.size for one in found.members), default=0) >> 20
    if found.kind != "etcd":
        return f"{found.kind or 'not examined yet'}, {size} MiB"
    up = [one for one in found.members if one.up]
    leader = next((one.name for one in up if one.leads), "none")
    said = "".join(f"; {error}" for error in sorted({error for one in up for error in one.errors}))
    return f"etcd, {len(up)} of {len(found.members)} members, leader {leader}, {size} MiB{said}"


def _counts(items: Iterable[tuple[str, int]]) -> str:
    return "  ".join(f"{count} {name}" for name, count in sorted(items))


def _bucket(bucket: "overview_pb2.ExpiryBucket") -> str:
    if bucket.up_to_s == 0:
        return f"{bucket.count} ended"
    return f"{bucket.count} later" if bucket.up_to_s < 0 else f"{bucket.count} within {span(bucket.up_to_s)}"


def span(seconds: int) -> str:
    """A length of time in its largest whole unit, never rounded up."""
    if seconds <= 0:
        return "ended"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _row(node: "overview_pb2.NodeView") -> tuple[object, ...]:
    state = node.state if node.connected or node.state != "enrolled" else "away"
    enforces = f"generation {node.generation}, policy {node.policy_version}" if node.generation else "-"
    trouble = "; ".join(one.text for one in node.troubles) or "-"
    return (node.node, node.jurisdiction, state, enforces, *map(output.when, (node.not_after, node.lease_until)), trouble)  # fmt: skip


def document(mesh: "overview_pb2.MeshOverview") -> dict[str, object]:
    """As JSON: the field names of the API."""
    plain = (
        "trust_domain", "version", "root_sha256", "now_ms", "generation", "policy_min", "policy_now",
        "svid_lifetime_s", "lease_s", "connected", "enforcing", "attention_total",
    )  # fmt: skip
    return {
        **{name: getattr(mesh, name) for name in plain},
        "node_count": mesh.nodes,
        "by_state": dict(mesh.by_state),
        "troubles": dict(mesh.troubles),
        "certificates": {bucket.up_to_s: bucket.count for bucket in mesh.certificates},
        "authorities": [
            {"kind": e.kind, "replica": e.replica, "not_before": e.not_before, "not_after": e.not_after}
            for e in mesh.authorities
        ],
        "replicas": [{"name": one.name, "connected": one.connected} for one in mesh.replicas],
        "store": _store(mesh.store),
        "attention": [_node(node) for node in mesh.attention],
        "nodes": [_node(node) for node in mesh.listed],
    }


def _store(store: "overview_pb2.Store") -> dict[str, object]:
    members = [
        {
            "name": m.name,
            "up": m.up,
            "leads": m.leads,
            "version": m.version,
            "size": m.size,
            "errors": list(m.errors),
        }
        for m in store.members
    ]
    return {"kind": store.kind, "room": store.room, "members": members}


def _node(node: "overview_pb2.NodeView") -> dict[str, object]:
    plain = (
        "node", "jurisdiction", "state", "connected", "generation", "policy_version", "policy_received",
        "not_after", "lease_until", "gaps",
    )  # fmt: skip
    troubles = [{"kind": one.kind, "text": one.text} for one in node.troubles]
    return {**{name: getattr(node, name) for name in plain}, "troubles": troubles}


def version() -> None:
    """Print the version of this program."""
    found = metadata.version("writ-mesh")
    if session.wants_json():
        output.emit_json({"version": found})
    else:
        output.emit_fields({"writ": found})
