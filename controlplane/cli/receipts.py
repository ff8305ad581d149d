"""`writ audit receipts`: what `--wait --receipts FILE` kept is proven again, offline, by whoever knows the root's SHA-256.

The file holds each agent's signed receipt, and certificates from its node up to the root. Who had not confirmed is in it
too, by the word of the control plane: nobody can sign that he was not asked.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli import documents, output, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.cli.client import Client

KINDS = {"generation": int, "root": str, "node_cas": list, "agents": list}
AGENT = {"spiffe_id": str, "enforced": bool, "trust_until": str, "receipt": str, "certificate": str}


def receipts(
    file: Annotated[Path, typer.Argument(help="What `--receipts` wrote.")],
    root_sha256: Annotated[
        str, typer.Option("--root-sha256", help="Of the mesh's root: in join tokens, and in `writ status`.")
    ],
) -> None:
    """Verify receipts offline: which agents enforce it since when, by their own signatures. Exit 7 if one proves nothing."""
    document = _read(file)
    root = _decoded(document["root"])
    if hashlib.sha256(root).hexdigest() != root_sha256.strip().lower().replace(":", ""):
        raise CliError("the receipts are below another root", code=Exit.VERIFICATION)
    cas = [_decoded(ca) for ca in document["node_cas"]]
    found = [_proven(one, cas, root, document["generation"]) for one in document["agents"]]
    _show(document["generation"], found)
    wrong, silent = (sum(one["state"] == state for one in found) for state in ("WRONG", "not confirmed"))
    if wrong:
        raise CliError(f"{wrong} of {len(found)} receipts prove nothing", code=Exit.VERIFICATION)
    if silent:
        raise CliError(f"{silent} of {len(found)} agents had not confirmed it")
    output.note(f"{len(found)} agents enforce generation {document['generation']}")


def write(client: "Client", path: Path, document: dict[str, object]) -> None:
    """Keep what was collected, whole or not at all."""
    from controlplane.api import files
    from controlplane.api.gen import admin_pb2

    root = client.call(client.stub.GetAnchors, admin_pb2.GetAnchorsRequest()).root
    text = json.dumps({**document, "root": base64.b64encode(root).decode()}, indent=1, sort_keys=True)
    files.write(path, text.encode() + b"\n")
    output.note(f"receipts in `{path}`; anybody can verify them: writ audit receipts")


def _proven(one: dict[str, Any], cas: list[bytes], root: bytes, generation: int) -> dict[str, object]:
    from policies import receipts as proofs
    from policies.errors import DocumentError

    made = {"spiffe_id": one["spiffe_id"], "since_ms": 0, "serial": "", "detail": ""}
    if not one["enforced"]:
        return {
            **made,
            "state": "not confirmed",
            "detail": f"may act on what it heard until {one['trust_until']}",
        }
    try:
        leaf = _decoded(one["certificate"])
        proof = proofs.check(_decoded(one["receipt"]), leaf, cas, root, generation)
    except DocumentError as exc:
        return {**made, "state": "WRONG", "detail": str(exc)}
    if proof.spiffe_id != one["spiffe_id"]:
        return {**made, "state": "WRONG", "detail": f"it is the receipt of `{proof.spiffe_id}`"}
    return {**made, "state": "proven", "since_ms": proof.at_ms, "serial": f"{proof.serial:x}"}


def _show(generation: int, found: list[dict[str, object]]) -> None:
    if session.wants_json():
        output.emit_json({"generation": generation, "agents": found})
        return
    rows = [(one["spiffe_id"], one["state"], _since(one["since_ms"]), one["detail"]) for one in found]
    output.emit_table(("AGENT", "RECEIPT", "ENFORCES SINCE", "WHY"), rows, empty="no agent was enrolled")


def _since(at_ms: object) -> str:
    return output.when(at_ms // 1000) if isinstance(at_ms, int) and at_ms else "-"


def _read(path: Path) -> dict[str, Any]:
    document: Any = documents.read_json(path)
    if not _is(document, KINDS) or not all(_is(one, AGENT) for one in document["agents"]):
        raise CliError(
            f"`{path}` holds no receipts", code=Exit.USAGE, hint="writ node revoke --wait --receipts FILE"
        )
    names = [one["spiffe_id"] for one in document["agents"]]
    if len(set(names)) != len(names):
        raise CliError(f"`{path}` names an agent twice", code=Exit.VERIFICATION)
    return dict(document)


def _is(value: Any, shape: dict[str, type]) -> bool:
    return isinstance(value, dict) and all(type(value.get(name)) is kind for name, kind in shape.items())


def _decoded(text: object) -> bytes:
    """What is no base64 is nobody's receipt or certificate: it verifies as nothing."""
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        return b""
