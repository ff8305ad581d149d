"""Case files for `writ policy test`: read, run, reported."""

from pathlib import Path

from controlplane.cli import documents, junit, policy_input
from controlplane.cli.errors import CliError, Exit
from policies import cases
from policies.cases import Report
from policies.errors import InputError

SUFFIX = ".test.yaml"


def run(files: list[Path], given: list[Path], context_file: Path | None) -> dict[str, Report]:
    """Case file -> its report; anything unreadable ends it all before a case is run."""
    paths = policy_input.expand(files, SUFFIX)
    ready = {str(path): _read(path) for path in paths}
    if context_file is not None:
        mesh = policy_input.read_mesh(context_file)
    reports: dict[str, Report] = {}
    for name, found in ready.items():
        path = Path(name)
        own = [path.parent / policy for policy in found.policies] or given
        if not own:
            raise CliError(
                f"`{name}` names no `policies`", code=Exit.USAGE, hint="name them there, or with --policy"
            )
        world = found.mesh if found.mesh is not None else mesh if context_file is not None else None
        if world is None:
            hint = "write them there, or give --context-file"
            raise CliError(f"`{name}` has no `nodes` and `resources`", code=Exit.USAGE, hint=hint)
        try:
            reports[name] = cases.run(policy_input.policies(own), world, found.cases)
        except InputError as exc:
            raise policy_input.invalid(path, exc) from exc
    return reports


def coverage(reports: dict[str, Report]) -> int:
    """How many policies, in percent, decided some case of some file."""
    known = {policy for report in reports.values() for policy in report.policies}
    touched = known - {
        policy
        for policy in known
        if all(policy in r.untouched for r in reports.values() if policy in r.policies)
    }
    return 100 * len(touched) // len(known) if known else 100


def write_junit(path: Path, reports: dict[str, Report]) -> None:
    try:
        path.write_bytes(junit.document(reports))
    except OSError as exc:
        raise CliError(f"cannot write `{path}`: {exc.strerror}") from exc


def _read(path: Path) -> cases.CaseFile:
    try:
        return cases.load(documents.read_yaml(path))
    except InputError as exc:
        raise policy_input.invalid(path, exc) from exc
