"""`writ policy`: check, apply, read and question policies."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import output, policy_check, policy_replay, session
from controlplane.cli.errors import CliError

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(help="Policies: Cedar, proven before it is applied.", no_args_is_help=True)
Files = Annotated[list[Path], typer.Argument(help="Cedar files; a directory stands for its *.cedar files.")]


CHECKS: dict[str, Callable[..., None]] = {
    "lint": policy_check.lint,
    "diff": policy_check.diff,
    "explain": policy_replay.explain,
    "simulate": policy_replay.simulate,
    "suggest": policy_replay.suggest,
    "context": policy_check.show_context,
}
for name, command in CHECKS.items():
    app.command(name)(command)
app.command("test", epilog=policy_check.CASES)(policy_check.run_cases)


@app.command()
def apply(
    files: Files,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for agents: those that lag deny.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compile for every node, change nothing.")
    ] = False,
) -> None:
    """Replace the policy set. It is compiled for every node first; an error anywhere changes nothing."""
    from controlplane.api.gen import admin_pb2

    request = admin_pb2.ApplyPolicyRequest(source=_source(files), now=now, dry_run=dry_run)
    with session.connect() as client:
        done = client.call(client.stub.ApplyPolicy, request)
    if session.wants_json():
        facts = {"version": done.version, "generation": done.generation, "policies": done.policies}
        output.emit_json({**facts, "nodes": done.nodes, "findings": [_document(f) for f in done.findings]})
        return
    _print(done.findings)
    if any(finding.severity == "error" for finding in done.findings):
        raise CliError("nothing was applied", hint="each finding says what to change")
    what = "would be" if dry_run else "is"
    output.note(
        f"version {done.version} {what} applied: {done.policies} policies, {done.nodes} bundles changed"
    )


@app.command("list")
def list_policies() -> None:
    """List policy versions."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListPolicies, admin_pb2.ListPoliciesRequest())
    if session.wants_json():
        sets = [
            {"version": s.version, "applied_at": s.applied_at, "applied_by": s.applied_by} for s in found.sets
        ]
        output.emit_json({"sets": sets, "policy_min": found.policy_min, "policy_now": found.policy_now})
        return
    rows = [(s.version, output.when(s.applied_at), s.applied_by, _standing(s, found)) for s in found.sets]
    output.emit_table(
        ("VERSION", "APPLIED", "BY", ""), rows, empty="no policy yet, so every request is denied"
    )


@app.command()
def show(version: Annotated[int, typer.Argument(help="Version; 0 is the one in force.", min=0)] = 0) -> None:
    """Print a policy set."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.GetPolicy, admin_pb2.GetPolicyRequest(version=version))
    if session.wants_json():
        files = {file.name: file.text for file in found.source.files}
        output.emit_json({"version": found.version, "applied_at": found.applied_at, "files": files})
        return
    for file in found.source.files:
        typer.echo(f"// {output.safe(file.name)}\n{file.text.rstrip()}\n")


def _source(files: list[Path]) -> "admin_pb2.PolicySource":
    from controlplane.api.gen import admin_pb2
    from controlplane.cli import policy_input

    source = admin_pb2.PolicySource()
    for name, text in policy_input.sources(files).items():
        source.files.add(name=name, text=text)
    return source


def _document(finding: "admin_pb2.Finding") -> dict[str, object]:
    names = ("code", "severity", "file", "line", "policy", "message", "hint")
    return {name: getattr(finding, name) for name in names}


def _print(findings: "Iterable[admin_pb2.Finding]") -> None:
    shown = list(findings)
    if session.wants_json():
        output.emit_json([_document(finding) for finding in shown])
        return
    for f in shown:
        output.note(
            f"{f.file}:{f.line}: {f.severity} {f.code}: {f.message}"
            + (f"\n  hint: {f.hint}" if f.hint else "")
        )


def _standing(policy: "admin_pb2.PolicySet", found: "admin_pb2.ListPoliciesResponse") -> str:
    if policy.version == found.policy_now:
        return "in force" if found.policy_min == found.policy_now else "being rolled out"
    return "staged" if policy.version > found.policy_now else ""
