"""Who enforces a change since when, shown to whoever waits for it; and for the rest, until when at the latest they may not.

An agent that answers has signed a receipt. One that does not answer acts on what it last heard until its lease ends; the
certificates of those that were ended end by themselves, too. Both bounds are printed, never hidden.
"""

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.cli import output, receipts, session
from controlplane.cli.errors import CliError

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2
    from controlplane.cli.client import Client


def follow(
    client: "Client",
    done: dict[str, object],
    *,
    generation: int,
    at_ms: int,
    certificates_until: int,
    keep: Path | None = None,
) -> None:
    """Wait for receipts, print who enforces `generation`; CliError unless all do. `done`: what JSON says of the act itself.

    `keep`: where the receipts go, with all that proves them.
    """
    started = time.monotonic()
    rows, cas = _collect(client, generation, lambda event: _row(event, at_ms))
    elapsed_ms = round((time.monotonic() - started) * 1000)
    enforced = sum(bool(row["enforced"]) for row in rows)
    facts = {"waited_ms": elapsed_ms, "agents": rows, "all_confirmed": enforced == len(rows), "node_cas": cas}
    document = {
        **done,
        **facts,
        "generation": generation,
        "certificates_until": output.when(certificates_until),
    }
    if keep is not None:
        receipts.write(client, keep, document)
    if session.wants_json():
        output.emit_json(document)
    else:
        _show(rows, enforced, certificates_until)
    if enforced < len(rows):
        raise CliError(
            f"{len(rows) - enforced} of {len(rows)} agents have not confirmed it",
            hint="each acts on what it heard before until the time in the table, and then denies",
        )


def _collect(
    client: "Client", generation: int, row: Callable[["admin_pb2.Enforcement"], dict[str, object]]
) -> tuple[list[dict[str, object]], list[str]]:
    """A row for each agent, and the CAs (base64 DER) that issued their certificates."""
    from controlplane.api.gen import admin_pb2

    rows: list[dict[str, object]] = []
    cas: list[str] = []
    wanted = admin_pb2.WatchEnforcementRequest(generation=generation)
    for event in client.stream(client.stub.WatchEnforcement, wanted, timeout_s=session.options.timeout_s):
        if event.spiffe_id:
            rows.append(row(event))
            output.progress(f"{len(rows)} agents, waiting for {event.waiting}")
        if event.last:
            cas = [_text(ca) for ca in event.node_cas]
            break
    output.progress("")
    return rows, cas


def _row(event: "admin_pb2.Enforcement", since_ms: int) -> dict[str, object]:
    return {
        "spiffe_id": event.spiffe_id,
        "enforced": event.enforced,
        "after_ms": max(0, event.at_ms - since_ms) if event.enforced else None,
        "trust_until": "" if event.enforced else output.when(event.trust_until),
        "receipt": _text(event.receipt),
        "certificate": _text(event.certificate),
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _show(rows: list[dict[str, object]], enforced: int, certificates_until: int) -> None:
    cells = [(row["spiffe_id"], _when(row), row["trust_until"] or "-") for row in rows]
    output.emit_table(("AGENT", "ENFORCES", "ELSE AT THE LATEST"), cells, empty="no agent is enrolled")
    output.note(f"{enforced} of {len(rows)} agents enforce it")
    if certificates_until > time.time():
        output.note(f"certificates of what was ended end by {output.when(certificates_until)} at the latest")


def _when(row: dict[str, object]) -> str:
    return f"after {row['after_ms']} ms" if row["enforced"] else "not yet"
