"""What `writ policy status` shows: versions that count, per node what is enforced, and where the shadow differs."""

from typing import TYPE_CHECKING

from controlplane.cli import output, session

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

COUNTS = ("enforced", "shadow", "decided", "newly_allowed", "newly_denied")


def show() -> None:
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.GetPolicyStatus, admin_pb2.GetPolicyStatusRequest())
    versions = {name: getattr(found, name) for name in ("policy_min", "policy_now", "staged", "shadow")}
    if session.wants_json():
        nodes = [_node(node) for node in found.nodes]
        output.emit_json({**versions, "shadow_sites": list(found.shadow_sites), "nodes": nodes})
        return
    where = f" at {', '.join(found.shadow_sites)}" if found.shadow_sites else ""
    shadow = f"{found.shadow}{where}" if found.shadow else "none"
    output.emit_fields({**versions, "staged": found.staged or "none", "shadow": shadow})
    output.emit_table(
        ("NODE", "CONNECTED", "ENFORCED", "SHADOW", "DECIDED", "NEWLY ALLOWED", "NEWLY DENIED"),
        [_row(node) for node in found.nodes],
        empty="no nodes yet: `writ token create NODE`",
    )
    flows = [(node.node, flow) for node in found.nodes for flow in node.flows]
    if flows:
        output.emit_table(
            ("AT", "", "PEER", "ACTION", "RESOURCE", "BY THE SHADOW", "POLICY", "REQUESTS"),
            [_flow(node, flow) for node, flow in sorted(flows, key=lambda found: -found[1].count)],
        )


def _row(node: "admin_pb2.NodePolicy") -> tuple[object, ...]:
    connected = "yes" if node.connected else "no"
    if not node.shadow:
        return node.node, connected, node.enforced, "-", "-", "-", "-"
    return node.node, connected, *(getattr(node, name) for name in COUNTS)


def _flow(node: str, flow: "admin_pb2.ShadowFlow") -> tuple[object, ...]:
    peer = flow.peer.rpartition("//")[2]
    verdict = "allowed" if flow.allowed else "denied"
    return node, flow.direction, peer, flow.action, flow.resource, verdict, flow.policy or "-", flow.count


def _node(node: "admin_pb2.NodePolicy") -> dict[str, object]:
    names = ("direction", "peer", "action", "resource", "allowed", "policy", "count")
    return {
        "node": node.node,
        "connected": node.connected,
        **{name: getattr(node, name) for name in COUNTS},
        "flows": [{name: getattr(flow, name) for name in names} for flow in node.flows],
    }
