"""`writ policy`: check, apply, read and question policies."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import output, policy_check, policy_replay, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(help="Policies: Cedar, proven before it is applied.", no_args_is_help=True)
Files = Annotated[list[Path], typer.Argument(help="Cedar files; a directory stands for its *.cedar files.")]


MAX_SOURCE_BYTES = 900_000  # what a control plane stores as one version
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


Now = Annotated[bool, typer.Option("--now", help="Do not wait for agents: those that lag deny.")]
Sites = Annotated[
    list[str] | None, typer.Option("--sites", help="Only there; elsewhere what is in force stays. Repeat it.")
]


@app.command()
def apply(
    files: Files,
    now: Now = False,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Evaluate and record it beside the one in force; enforce nothing."),
    ] = False,
    sites: Sites = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compile for every node, change nothing.")
    ] = False,
) -> None:
    """Replace the policy set. It is compiled for every node first; an error anywhere changes nothing.

    Safer in three steps: `--shadow`, then `writ policy status` for what would change, then `writ policy promote`.
    """
    from controlplane.api.gen import admin_pb2

    request = admin_pb2.ApplyPolicyRequest(
        source=_source(files), now=now, dry_run=dry_run, shadow=shadow, sites=sites or []
    )
    with session.connect() as client:
        done = client.call(client.stub.ApplyPolicy, request)
    _print_applied(done, "would be applied" if dry_run else "is shadowed" if shadow else "is applied")


@app.command()
def promote(now: Now = False, sites: Sites = None) -> None:
    """Enforce what is shadowed; or everywhere, what is enforced at some sites. It becomes a new version."""
    from controlplane.api.gen import admin_pb2

    request = admin_pb2.PromotePolicyRequest(now=now, sites=sites or [])
    with session.connect() as client:
        done = client.call(client.stub.PromotePolicy, request)
    _print_applied(done, "is applied")


@app.command()
def rollback(
    version: Annotated[
        int, typer.Argument(help="Version; 0 is the one that was enforced before.", min=0)
    ] = 0,
    now: Now = False,
) -> None:
    """Enforce an earlier version again, as a new one. Ends a shadow."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        request = admin_pb2.RollbackPolicyRequest(version=version, now=now)
        done = client.call(client.stub.RollbackPolicy, request)
    _print_applied(done, "is applied")


@app.command()
def withdraw() -> None:
    """End the shadow. Nothing that is enforced changes."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        done = client.call(client.stub.WithdrawPolicy, admin_pb2.WithdrawPolicyRequest())
    if session.wants_json():
        output.emit_json({"version": done.version})
    else:
        output.note(f"version {done.version} is shadowed no more")


@app.command()
def status() -> None:
    """Show which versions count, what each node enforces, and what the shadow would decide otherwise, by flow."""
    from controlplane.cli import policy_status

    policy_status.show()


@app.command("list", hidden=True)
@app.command()
def history() -> None:
    """List policy versions, the newest last: when, by whom, where they hold, and which counts."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListPolicies, admin_pb2.ListPoliciesRequest())
    if session.wants_json():
        sets = [
            {
                **{
                    name: getattr(s, name)
                    for name in ("version", "applied_at", "applied_by", "shadow", "base", "note")
                },
                "sites": list(s.sites),
            }
            for s in found.sets
        ]
        counts = {name: getattr(found, name) for name in ("policy_min", "policy_now", "shadow")}
        output.emit_json({"sets": sets, **counts})
        return
    rows = [
        (s.version, output.when(s.applied_at), s.applied_by, _place(s), s.note, _standing(s, found))
        for s in found.sets
    ]
    output.emit_table(
        ("VERSION", "APPLIED", "BY", "SITES", "NOTE", ""),
        rows,
        empty="no policy yet, so every request is denied",
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
    if source.ByteSize() > MAX_SOURCE_BYTES:
        raise CliError(f"a policy set is at most {MAX_SOURCE_BYTES // 1000} kB", code=Exit.USAGE)
    return source


def _print_applied(done: "admin_pb2.ApplyPolicyResponse", what: str) -> None:
    errors = any(finding.severity == "error" for finding in done.findings)
    if session.wants_json():
        facts = {"version": done.version, "generation": done.generation, "policies": done.policies}
        findings = [policy_check.finding_document(finding) for finding in done.findings]
        output.emit_json({**facts, "nodes": done.nodes, "findings": findings})
    else:
        policy_check.print_findings(done.findings)
    if errors:
        raise CliError("nothing was applied", hint="each finding says what to change")
    output.note(f"version {done.version} {what}: {done.policies} policies, {done.nodes} bundles made")


def _place(policy: "admin_pb2.PolicySet") -> str:
    return f"{', '.join(policy.sites)} (elsewhere {policy.base})" if policy.sites else "all"


def _standing(policy: "admin_pb2.PolicySet", found: "admin_pb2.ListPoliciesResponse") -> str:
    if policy.version == found.shadow:
        return "shadow"
    if policy.version == found.policy_now:
        return "in force" if found.policy_min == found.policy_now else "being rolled out"
    return "was a shadow" if policy.shadow else "staged" if policy.version > found.policy_now else ""
