"""`writ audit`: read and verify evidence. Verification needs files and public keys only, no control plane.

`keys` asks the control plane once and prints a policy (c2sp.org/tlog-policy) that `verify` takes with `--keys`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import output, receipts, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from audit.verify import Finding, LogReport
    from controlplane.cli.evidence import Keys

app = typer.Typer(help="Evidence: read it, verify it offline.", no_args_is_help=True)
Logs = Annotated[list[Path], typer.Argument(help="Evidence directories, one per node.")]


@app.command()
def tail(
    log: Annotated[Path, typer.Argument(help="Evidence directory of a node.")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the newest records.", min=1)] = 20,
) -> None:
    """Show the newest records of a node's log, as far as they are in a checkpoint."""
    from controlplane.cli import evidence

    found = evidence.newest(log, lines)
    if session.wants_json():
        for item in found:
            typer.echo(json.dumps(item, sort_keys=True))
        return
    columns = ("TIME", "DIR", "PEER", "ACTION", "RESOURCE", "DECISION", "POLICY")
    output.emit_table(columns, [evidence.row(item) for item in found], empty="no records yet")


@app.command()
def admin(
    logs: Annotated[
        list[Path], typer.Argument(help="Evidence directories of control planes, one per replica.")
    ],
    operator: Annotated[str, typer.Option(help="Only what this operator did.")] = "",
    call: Annotated[str, typer.Option(help="Only this call, such as RevokeNode.")] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Only what was not done.")] = False,
) -> None:
    """Show who administered what, oldest first: every call, allowed or refused. `verify` proves that nothing is missing.

    A call that changes something is `begun` in the log before it is done; here it is one line, with its outcome.
    """
    from controlplane.cli import evidence

    found = evidence.calls(logs)
    found = [c for c in found if operator in {"", c["operator"]} and call in {"", c["call"]}]
    found = [c for c in found if not refused or c["outcome"] not in {"ok", "begun"}]
    if session.wants_json():
        output.emit_json(found)
        return
    columns = ("TIME", "OPERATOR", "ROLE", "CALL", "ON", "OUTCOME", "WHY")
    output.emit_table(columns, [evidence.call_row(one) for one in found], empty="no calls")


@app.command()
def fetch(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where to keep them; what is there is not fetched again.")
    ],
) -> None:
    """Fetch the logs of operators' calls from each control plane of the context, for `verify` and `admin`.

    Nothing is believed yet: `verify` is what proves them.
    """
    from controlplane.cli import evidence_fetch

    for one in session.connect_each():
        with one as client:
            path, size = evidence_fetch.fetch(client, directory)
        output.note(f"{size} entries in `{path}`")


@app.command()
def keys() -> None:
    """Print the verifier keys of all logs and of the witness, for `verify --keys`."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListWitnessed, admin_pb2.ListWitnessedRequest())
    for log in found.logs:
        typer.echo(f"log {log.verifier_key}")
    typer.echo(f"witness control-plane {found.witness_key.decode()}")


@app.command()
def verify(
    logs: Logs,
    keys_file: Annotated[
        Path, typer.Option("--keys", help="Verifier keys, as `writ audit keys` prints them.")
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Fail on declared gaps too.")] = False,
) -> None:
    """Verify logs offline and hold both ends against each other. Anything wrong is named; exit 7."""
    from audit import verify as check
    from controlplane.cli import evidence

    trusted = evidence.read_keys(keys_file)
    reports = [_verify(path, trusted) for path in logs]
    findings = [f for report in reports for f in report.findings] + check.reconcile(reports)
    if session.wants_json():
        output.emit_json({"logs": [_report(r) for r in reports], "findings": [_finding(f) for f in findings]})
    else:
        rows = [(r.origin, r.size, output.when(r.cosigned_at), len(r.findings)) for r in reports]
        output.emit_table(("LOG", "ENTRIES", "COSIGNED", "FINDINGS"), rows)
        for f in findings:
            at = f" entry {f.index}" if f.index >= 0 else ""
            output.note(f"{f.problem.value}: {f.log}{at}: {f.detail}")
    bad = [f for f in findings if strict or f.problem in check.FATAL]
    if bad:
        raise CliError(f"{len(bad)} findings: this evidence is not whole", code=Exit.VERIFICATION)
    output.note(f"{sum(r.size for r in reports)} entries in {len(reports)} logs verify")


app.command()(receipts.receipts)


def _verify(path: Path, trusted: "Keys") -> "LogReport":
    from audit import verify as check
    from controlplane.cli import evidence

    return check.verify_log(evidence.reader(path), trusted.log_of(path), trusted.witness)


def _report(report: "LogReport") -> dict[str, object]:
    return {"origin": report.origin, "size": report.size, "cosigned_at": report.cosigned_at}


def _finding(finding: "Finding") -> dict[str, object]:
    return {
        "problem": finding.problem.value,
        "log": finding.log,
        "index": finding.index,
        "detail": finding.detail,
    }
