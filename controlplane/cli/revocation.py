"""`writ node revoke` and what is like it: ending nodes, keeping them apart, and the ways back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import enforcement, output, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import revocation_pb2
    from controlplane.cli.client import Client

Name = Annotated[str, typer.Argument(metavar="NODE", help="`<node>.<site>`, such as `gpu-1.berlin`.")]
Reason = Annotated[str, typer.Option(help="Kept with the node and in the log.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until every agent has confirmed it, up to --timeout.")]
Receipts = Annotated[
    Path | None,
    typer.Option(
        help="With --wait: keep what agents signed here; `writ audit receipts` verifies it, years later."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show whom it hits, change nothing.")]


def revoke(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="NODE", help="`<node>.<site>`.")] = None,
    site: Annotated[str, typer.Option(help="Every node of this site.")] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE: nodes of sites that have it; may be repeated.")
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="group:clinical, tier:0, …; may be repeated.")
    ] = None,
    key: Annotated[
        str, typer.Option(help="SHA-256 of a public key (SPKI): its holders; certified never again.")
    ] = "",
    serial: Annotated[str, typer.Option(help="The node that holds the certificate of this serial.")] = "",
    authority: Annotated[
        str, typer.Option(help="Every node with a certificate of this CA: key id, or replica.")
    ] = "",
    reason: Reason = "",
    wait: Wait = False,
    receipts: Receipts = None,
    dry_run: DryRun = False,
) -> None:
    """Cut nodes off everywhere: new requests denied, open streams ended, their certificates dead for good.

    Name nodes; or give one of --key, --serial, --authority; or --site, --label, --attribute, which must all hold.
    """
    from controlplane.api.gen import revocation_pb2

    _check_waits(wait=wait, keep=receipts)
    for node in nodes or []:
        session.split_node(node)
    selector = revocation_pb2.NodeSelector(
        nodes=nodes or [],
        site=site,
        labels=_labels(label or []),
        attributes=attribute or [],
        key=_hex(key),
        serial=_hex(serial).lstrip("0"),
        authority=authority.replace(":", "").lower(),
    )
    request = revocation_pb2.RevokeRequest(selector=selector, reason=reason)
    _revoke(request, wait=wait, dry_run=dry_run, keep=receipts)


def _check_waits(*, wait: bool, keep: Path | None) -> None:
    if keep is not None and not wait:
        raise CliError("--receipts needs --wait: nobody has signed yet", code=Exit.USAGE)


def _revoke(request: "revocation_pb2.RevokeRequest", *, wait: bool, dry_run: bool, keep: Path | None) -> None:
    """Whom it hits is shown first, unless the operator has said `--yes` already."""
    with session.connect() as client:
        if dry_run or not session.options.yes:
            request.dry_run = True
            meant = client.call(client.revocation.Revoke, request)
            _preview(meant, dry_run=dry_run)
            if dry_run:
                return
            session.confirm(f"revoke {_meant(request.selector, meant)}?")
        request.dry_run = False
        _report(client, client.call(client.revocation.Revoke, request), wait=wait, keep=keep)


def quarantine(node: Name, reason: Reason = "", wait: Wait = False, receipts: Receipts = None) -> None:
    """Keep a node apart: no peer accepts it, it accepts none; it still sends evidence and health, and renews."""
    from controlplane.api.gen import revocation_pb2

    _check_waits(wait=wait, keep=receipts)
    name, site = session.split_node(node)
    session.confirm(f"quarantine `{node}`?")
    with session.connect() as client:
        request = revocation_pb2.QuarantineRequest(node=name, site=site, reason=reason)
        done = client.call(client.revocation.Quarantine, request)
        output.note(f"`{node}` is quarantined as of generation {done.generation}")
        if wait:
            enforcement.follow(
                client,
                _document(done.node),
                generation=done.generation,
                at_ms=done.at_ms,
                certificates_until=done.node.not_after,
                keep=receipts,
            )
        elif session.wants_json():
            output.emit_json(_document(done.node))


def release(node: Name) -> None:
    """End a quarantine. Certificates of before stay dead; the node renews by itself."""
    from controlplane.api.gen import revocation_pb2

    name, site = session.split_node(node)
    with session.connect() as client:
        done = client.call(client.revocation.Release, revocation_pb2.NodeName(node=name, site=site))
    _changed(done, f"`{node}` is released; it counts again once it has renewed")


def unlock(node: Name) -> None:
    """After a clone was seen: let the name enrol again, with a new token. Both copies stay dead."""
    from controlplane.api.gen import revocation_pb2

    name, site = session.split_node(node)
    with session.connect() as client:
        done = client.call(client.revocation.Unlock, revocation_pb2.NodeName(node=name, site=site))
    _changed(done, f"`{node}` may enrol again: writ token create {node}")


def unrevoke(node: Name) -> None:
    """Let the name enrol again with a new token. Its old certificates stay dead."""
    from controlplane.api.gen import admin_pb2

    name, site = session.split_node(node)
    with session.connect() as client:
        client.call(client.stub.UnrevokeNode, admin_pb2.GetNodeRequest(node=name, site=site))
    output.note(f"`{node}` may enrol again: writ token create {node}")


def _report(
    client: "Client", done: "revocation_pb2.RevokeResponse", *, wait: bool, keep: Path | None
) -> None:
    """What was done, and if asked who enforces it; CliError if somebody who was meant could not be revoked."""
    failed = [one for one in done.nodes if one.error]
    for one in failed:
        output.note(f"`{one.node}` is NOT revoked: {one.error}")
    revoked = len(done.nodes) - len(failed)
    if revoked:
        what = f"`{done.nodes[0].node}` is" if len(done.nodes) == 1 else f"{revoked} nodes are"
        output.note(f"{what} revoked as of generation {done.generation}")
    elif not failed:
        output.note("no node holds that key; it is certified never again")
    facts: dict[str, object] = {
        "generation": done.generation,
        "revoked_at_ms": done.revoked_at_ms,
        "nodes": [_document(one) for one in done.nodes],
    }
    if wait and revoked:
        until = max(one.not_after for one in done.nodes)
        enforcement.follow(
            client,
            facts,
            generation=done.generation,
            at_ms=done.revoked_at_ms,
            certificates_until=until,
            keep=keep,
        )
    elif session.wants_json():
        output.emit_json(facts)
    if failed:
        raise CliError(f"{len(failed)} of {len(done.nodes)} nodes are not revoked", hint="do it again")


def _preview(meant: "revocation_pb2.RevokeResponse", *, dry_run: bool) -> None:
    if dry_run and session.wants_json():
        output.emit_json([_document(one) for one in meant.nodes])
        return
    cells = [(one.node, one.state, one.epoch, output.when(one.not_after)) for one in meant.nodes]
    output.emit_table(("NODE", "STATE", "EPOCH", "CERTIFICATE ENDS"), cells, empty="no node is meant")
    if dry_run:
        output.note(f"would revoke {len(meant.nodes)}; nothing was changed")


def _meant(selector: "revocation_pb2.NodeSelector", meant: "revocation_pb2.RevokeResponse") -> str:
    if selector.key:
        return f"key {selector.key}, and {len(meant.nodes)} nodes"
    return f"`{meant.nodes[0].node}`" if len(meant.nodes) == 1 else f"these {len(meant.nodes)} nodes"


def _changed(done: "revocation_pb2.StateResponse", text: str) -> None:
    if session.wants_json():
        output.emit_json(_document(done.node))
    else:
        output.note(text)


def _document(node: "revocation_pb2.RevokedNode") -> dict[str, object]:
    plain = ("node", "spiffe_id", "state", "epoch", "not_after", "generation", "error")
    return {name: getattr(node, name) for name in plain}


def _labels(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if not all(name and equals for name, equals, _ in pairs):
        raise CliError("a label is KEY=VALUE", code=Exit.USAGE)
    return {name: value for name, _, value in pairs}


def _hex(text: str) -> str:
    """As tools print it: with colons, in either case."""
    return text.strip().replace(":", "").lower()
