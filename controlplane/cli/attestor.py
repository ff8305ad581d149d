"""`writ attestor`: by what evidence nodes enrol at this control plane, and what it is worth."""

from typing import TYPE_CHECKING

import typer

from controlplane.cli import output, session

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(
    help="Attestors: by what evidence nodes enrol, as the settings of the control plane say.",
    no_args_is_help=True,
)


@app.callback()
def attestor() -> None:
    """A noun of one verb: without this, it would have none."""


@app.command("list")
def list_attestors() -> None:
    """List attestors: the tier that each gives, and after how long a renewal needs fresh evidence."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListAttestors, admin_pb2.ListAttestorsRequest()).attestors
    if session.wants_json():
        output.emit_json([_document(one) for one in found])
        return
    rows = [(one.kind, one.tier, _again(one.reattest_s), _facts(one)) for one in found]
    output.emit_table(("KIND", "TIER", "AGAIN AFTER", "WHAT IT TAKES"), rows, empty="no attestors")


def _again(seconds: int) -> str:
    if not seconds:
        return "never"
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds} s"


def _facts(one: "admin_pb2.Attestor") -> str:
    return "  ".join(f"{name}={value}" for name, value in sorted(one.facts.items()) if value) or "-"


def _document(one: "admin_pb2.Attestor") -> dict[str, object]:
    return {"kind": one.kind, "tier": one.tier, "reattest_s": one.reattest_s, "facts": dict(one.facts)}
