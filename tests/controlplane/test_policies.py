"""Policies that cannot be applied leave everything as it was: over the API, on a real control plane."""

import pytest

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError

pytestmark = pytest.mark.timeout(120)
GOOD = '@id("good") permit(principal in Group::"g", action == Action::"chat", resource);'
POLICY = '@id("p%d") permit(principal, action == Action::"chat", resource);\n'


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("policies"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.policy(GOOD)
        yield made


def state(mesh):
    return mesh.call("ListPolicies", admin_pb2.ListPoliciesRequest()), mesh.call(
        "GetPolicy", admin_pb2.GetPolicyRequest()
    )


def request(*files: str, **how: object) -> admin_pb2.ApplyPolicyRequest:
    made = admin_pb2.ApplyPolicyRequest(**how)
    for number, text in enumerate(files):
        made.source.files.add(name=f"{number}.cedar", text=text)
    return made


BAD = {
    "an unknown attribute": (
        ['@id("a") permit(principal, action, resource) when { principal.rank > 1 };'],
        "W-SCHEMA",
    ),
    "an unknown action": (['@id("a") permit(principal, action == Action::"chatt", resource);'], "W-SCHEMA"),
    "an unknown entity type": (['@id("a") permit(principal in Team::"x", action, resource);'], "W-SCHEMA"),
    "a doubled id": ([GOOD, GOOD], "W-ID"),
    "no id": (["permit(principal, action, resource);"], "W-ID"),
    "more than a megabyte": (["//" + "x" * (1 << 20)], "W-SIZE"),
    "too many policies": (["".join(POLICY % number for number in range(10_001))], "W-COUNT"),
}


@pytest.mark.parametrize("how", [{}, {"shadow": True}, {"now": True}], ids=["apply", "shadow", "now"])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_policy_is_one_finding_and_the_running_one_is_untouched(mesh, what, how) -> None:
    files, code = BAD[what]
    before = state(mesh)
    done = mesh.call("ApplyPolicy", request(*files, **how))
    assert [(finding.code, finding.severity) for finding in done.findings] == [(code, "error")]
    assert (done.version, state(mesh)) == (0, before)


@pytest.mark.parametrize(("files", "kilobytes"), [(1, 950), (10, 1000)])
def test_what_the_store_or_the_wire_cannot_hold_is_refused(mesh, files, kilobytes) -> None:
    before = state(mesh)
    with pytest.raises(CliError, match=r"a policy set is at most 900 kB|larger than max"):
        mesh.call("ApplyPolicy", request(GOOD, *["//" + "x" * kilobytes * 1000] * files))
    assert state(mesh) == before


def test_a_dry_run_changes_nothing(mesh) -> None:
    before = state(mesh)
    for how in ({"dry_run": True}, {"dry_run": True, "shadow": True}):
        assert mesh.call("ApplyPolicy", request(GOOD, **how)).version == before[0].policy_now + 1
    assert state(mesh) == before


def test_lint_holds_policies_against_the_mesh(mesh) -> None:
    found = mesh.call("LintPolicy", request(GOOD).source).findings
    assert [finding.code for finding in found] == ["W-UNREACHABLE"]
