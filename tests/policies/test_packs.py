"""Every pack is without remarks, passes its own cases, and no policy of it could be left out unnoticed."""

from pathlib import Path

import pytest

from controlplane.cli import documents
from policies import cases, lint, parse

PACKS = sorted(Path("policies/packs").glob("*.cedar"))
NAMES = {
    "agent-tools",
    "edge-inference",
    "federated-learning",
    "gdpr-residency",
    "hipaa-minimum-necessary",
}


def test_the_packs_are_there() -> None:
    assert {path.stem for path in PACKS} == NAMES


@pytest.fixture(params=PACKS, ids=lambda path: path.stem)
def pack(request):
    path: Path = request.param
    found = cases.load(documents.read_yaml(path.with_suffix(".test.yaml")))
    assert found.policies == (path.name,)
    return parse.load({path.name: path.read_text()}), found


def test_a_pack_has_no_remarks(pack) -> None:
    policies, found = pack
    assert lint.remarks(policies, found.mesh) == []


def test_a_pack_passes_its_cases_and_they_touch_all_of_it(pack) -> None:
    policies, found = pack
    report = cases.run(policies, found.mesh, found.cases)
    assert [(outcome.case.name, outcome.wrong) for outcome in report.failed] == []
    assert report.untouched == ()


def test_a_policy_that_is_left_out_fails_a_case(pack) -> None:
    policies, found = pack
    for policy in policies:
        rest = [other for other in policies if other is not policy]
        assert cases.run(rest, found.mesh, found.cases).failed, policy.id


def test_packs_can_be_applied_together() -> None:
    policies = parse.load({path.name: path.read_text() for path in PACKS})
    assert [finding for finding in lint.remarks(policies) if finding.code != "W-SHADOWED"] == []
