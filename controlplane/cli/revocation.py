"""How `writ node revoke` shows its effect: who enforces it since when, and for the rest, until when at the latest.

An agent that answers has signed a receipt. One that does not answer acts on what it last heard until its lease ends;
the certificate of the revoked node ends on its own, too. Both bounds are printed, never hidden.
"""

import time
from typing import TYPE_CHECKING

from controlplane.cli import output, session

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2
    from controlplane.cli.client import Client


def preview(node: "admin_pb2.Node") -> None:
    """What revoking would do."""
    name = f"{node.node}.{node.site}"
    output.note(
        f"would revoke `{name}` (epoch {node.epoch}, certificate until {output.when(node.not_after)})"
    )
    output.note("nothing was changed")


def follow(client: "Client", done: "admin_pb2.RevokeNodeResponse", started: float) -> None:
    """Print receipts as they come, then the bound for agents that did not answer."""
    from controlplane.api.gen import admin_pb2

    wanted = admin_pb2.WatchEnforcementRequest(generation=done.generation)
    rows: list[dict[str, object]] = []
    for event in client.stream(client.stub.WatchEnforcement, wanted, timeout_s=session.options.timeout_s):
        if event.spiffe_id:
            rows.append(_row(event, done.revoked_at_ms))
        if event.last:
            break
    elapsed_ms = round((time.monotonic() - started) * 1000)
    if session.wants_json():
        output.emit_json({"generation": done.generation, "elapsed_ms": elapsed_ms, "agents": rows})
        return
    cells = [(r["spiffe_id"], _when(r), r["trust_until"] or "-") for r in rows]
    output.emit_table(("AGENT", "ENFORCES", "ELSE UNTIL"), cells, empty="no agent is enrolled")
    enforced = sum(1 for r in rows if r["enforced"])
    output.note(f"{enforced} of {len(rows)} agents enforce it, {elapsed_ms} ms after the call")


def _row(event: "admin_pb2.Enforcement", revoked_at_ms: int) -> dict[str, object]:
    after = event.at_ms - revoked_at_ms if event.enforced else None
    until = "" if event.enforced else output.when(event.trust_until)
    return {"spiffe_id": event.spiffe_id, "enforced": event.enforced, "after_ms": after, "trust_until": until}


def _when(row: dict[str, object]) -> str:
    return f"after {row['after_ms']} ms" if row["enforced"] else "not yet"
