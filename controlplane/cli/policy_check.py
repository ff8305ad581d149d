"""`writ policy lint|test|diff|context`: policies proven before they are applied. Pure logic is in `policies`.

Everything here works from files alone; what needs a mesh takes it from `--context-file`, or asks the control plane.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import context, output, session
from controlplane.cli.errors import CliError

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2
    from policies.cases import Report
    from policies.diff import Change
    from policies.errors import Finding
    from policies.mesh import Mesh

Files = Annotated[list[Path], typer.Argument(help="Cedar files; a directory stands for its *.cedar files.")]
ContextFile = Annotated[
    Path | None,
    typer.Option("--context-file", help="Nodes and resources as `writ policy context` prints them."),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="From files alone: never ask a control plane about nodes.")
]


CASES = """\b
A case file names its policies (beside it), nodes, resources and cases:
  policies: [clinical.cedar]
  nodes:
    - {node: app-1.paris, jurisdiction: FR, groups: [clinical],
       purposes: [treatment], class_ceiling: 3}
    - {node: gpu-1.berlin, jurisdiction: DE}
  resources:
    - {resource: Model/ngram@gpu-1.berlin, groups: [clinical], max_class: 4}
  cases:
    - name: treatment is allowed
      request: {from: app-1.paris, action: chat, purpose: treatment,
                resource: Model/ngram@gpu-1.berlin}
      expect: allow
      policy: clinical-inference  # optional: which policy must decide
"""


def lint(files: Files, context_file: ContextFile = None, offline: Offline = False) -> None:
    """Check policies, change nothing. Fails on errors, not on warnings.

    Errors: whatever `apply` would refuse. Warnings: too wide, doubled, contradictory, shadowed; and against the
    nodes and resources of a mesh, unreachable or met by no node. Each has a stable code, a line and a way out.
    `-o sarif` is for code hosts. Without a control plane or a context file the mesh is left out.
    """
    from controlplane.cli import documents, policy_input
    from policies import lint as linter

    sources = {str(path): documents.read_text(path) for path in policy_input.expand(files, ".cedar")}
    findings = linter.lint(sources, _mesh_if_any(context_file, offline=offline))
    _print(findings)
    if any(finding.severity == "error" for finding in findings):
        raise CliError("policies have errors", hint="each finding says what to change")


def run_cases(
    files: Annotated[
        list[Path], typer.Argument(help="Case files; a directory stands for its *.test.yaml files.")
    ],
    policies: Annotated[
        list[Path] | None,
        typer.Option("--policy", help="Cedar files, where case files do not name theirs. Repeat it."),
    ] = None,
    context_file: ContextFile = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.")] = None,
    min_coverage: Annotated[
        int, typer.Option(help="Fail when cases decide fewer of the policies, in percent.", min=0, max=100)
    ] = 0,
) -> None:
    """Run cases: requests, and what must become of each. Files only; exit 1 when one fails.

    A denial counts only if policies decided it, or if the case expects its code: a typo must not pass as a denial.
    """
    from controlplane.cli import policy_cases

    reports = policy_cases.run(files, policies or [], context_file)
    if junit is not None:
        policy_cases.write_junit(junit, reports)
    _print_reports(reports)
    failed = sum(len(report.failed) for report in reports.values())
    if failed:
        raise CliError(f"{failed} of {sum(len(r.outcomes) for r in reports.values())} cases failed")
    covered = policy_cases.coverage(reports)
    if covered < min_coverage:
        raise CliError(f"cases decide {covered} % of the policies, {min_coverage} % are asked for")


def diff(
    old: Annotated[
        Path, typer.Argument(help="Cedar file or directory; `-` for none; a number for a version.")
    ],
    new: Annotated[Path, typer.Argument(help="As above.")],
    context_file: ContextFile = None,
    fail_on_widening: Annotated[
        bool, typer.Option("--fail-on-widening", help="Exit 1 when anybody gains anything: for CI.")
    ] = False,
) -> None:
    """Say who gains and who loses what, over all known nodes, actions and resources, with a request that shows each.

    Exact: over every purpose, data class and subject region that a node can claim, and every string that the policies
    can tell apart. What two sets say alike, however it is written, is no change.
    """
    from controlplane.cli import policy_versions
    from policies.diff import diff as changes

    before, after = policy_versions.read(old), policy_versions.read(new)
    found = changes(before, after, _mesh(context_file))
    if session.wants_json():
        output.emit_json([_change(change) for change in found])
    else:
        rows = [_change_row(change) for change in found]
        output.emit_table(
            ("WHO", "", "ACTIONS", "RESOURCES", "FOR EXAMPLE", "POLICIES"), rows, empty="no change"
        )
    if fail_on_widening and any(change.widens for change in found):
        raise CliError("the new policies permit more", hint="each row that gains shows a request")


def show_context() -> None:
    """Print the mesh's nodes and resources as JSON, for `--context-file`: what policies are held against offline."""
    from policies import mesh as meshes

    output.emit_json(meshes.dump(_mesh(None)))


def _mesh(context_file: Path | None) -> "Mesh":
    from controlplane.cli import policy_input

    return policy_input.known_mesh(context_file)


def _mesh_if_any(context_file: Path | None, *, offline: bool) -> "Mesh | None":
    if context_file is None and (offline or not context.config_path().exists()):
        return None
    return _mesh(context_file)


def _print(findings: "Sequence[Finding]") -> None:
    if session.options.output is session.Format.sarif:
        from controlplane.cli import sarif

        output.emit_json(sarif.document(findings))
    elif session.wants_json():
        output.emit_json([finding_document(finding) for finding in findings])
    else:
        print_findings(findings)


def print_findings(findings: "Iterable[Finding | admin_pb2.Finding]") -> None:
    for f in findings:
        output.note(f"{f.file}:{f.line}: {f.severity} {f.code}: {_named(f)}{f.message}")
        if f.hint:
            output.note(f"  hint: {f.hint}")


def _named(finding: "Finding | admin_pb2.Finding") -> str:
    return f"policy `{finding.policy}`: " if finding.policy else ""


def finding_document(finding: "Finding | admin_pb2.Finding") -> dict[str, object]:
    names = ("code", "severity", "file", "line", "policy", "message", "hint")
    return {name: getattr(finding, name) for name in names}


def _print_reports(reports: "dict[str, Report]") -> None:
    if session.wants_json():
        output.emit_json({name: _report(report) for name, report in reports.items()})
        return
    rows = [
        (name, outcome.case.name, "FAILED" if outcome.wrong else "ok", outcome.wrong)
        for name, report in reports.items()
        for outcome in report.outcomes
    ]
    output.emit_table(("FILE", "CASE", "", ""), rows)
    for name, report in reports.items():
        for policy in report.untouched:
            output.note(f"{name}: no case touches policy `{policy}`")


def _report(report: "Report") -> dict[str, object]:
    return {
        "cases": [
            {
                "name": outcome.case.name,
                "passed": not outcome.wrong,
                "message": outcome.wrong,
                "decision": "allow" if outcome.decision.allowed else "deny",
                "code": outcome.decision.code.value if outcome.decision.code else "",
                "because": list(outcome.decision.because),
            }
            for outcome in report.outcomes
        ],
        "policies": list(report.policies),
        "untouched": list(report.untouched),
    }


def _change_row(change: "Change") -> tuple[str, ...]:
    from policies.mesh import shown

    because = change.after.because if change.widens else (*change.before.because, *change.after.because)
    return (
        ", ".join(change.nodes),
        change.what,
        ", ".join(change.actions),
        ", ".join(shown(key) for key in change.resources),
        _example(change),
        ", ".join(because) or "-",
    )


def _example(change: "Change") -> str:
    asked = change.example
    region = f" region={asked.subject_region}" if asked.subject_region is not None else ""
    stream = " stream" if asked.stream else ""
    return f"{asked.action} purpose={asked.purpose} class={asked.data_class}{region}{stream} {asked.method} {asked.path}"


def _change(change: "Change") -> dict[str, object]:
    from controlplane.cli.policy_request import document
    from policies.mesh import shown

    return {
        "change": change.what,
        "nodes": list(change.nodes),
        "actions": list(change.actions),
        "resources": [shown(key) for key in change.resources],
        "example": document(change.example),
        "before": _decision(change.before.allowed, change.before.because),
        "after": _decision(change.after.allowed, change.after.because),
    }


def _decision(allowed: bool, because: Sequence[str]) -> dict[str, object]:
    return {"decision": "allow" if allowed else "deny", "because": list(because)}
