"""A case passes only when what was meant happened; a case file is read strictly."""

import copy

import pytest

from policies import cases, parse
from policies.errors import InputError

POLICIES = parse.load(
    {
        "p": """
@id("care") permit(principal in Group::"clinical", action == Action::"chat", resource) when { context.purpose == "care" };
@id("no-streams") forbid(principal, action, resource) when { context.stream };
@id("idle") permit(principal in Group::"idle", action == Action::"chat", resource);
"""
    }
)
REQUEST = {"from": "app-1.paris", "action": "chat", "resource": "Model/ngram@gpu-1.berlin", "purpose": "care"}
DOCUMENT = {
    "nodes": [
        {
            "node": "app-1.paris",
            "jurisdiction": "FR",
            "groups": ["clinical"],
            "purposes": ["care", "billing"],
            "class_ceiling": 2,
        },
        {"node": "gpu-1.berlin", "jurisdiction": "DE"},
    ],
    "resources": [{"resource": "Model/ngram@gpu-1.berlin"}],
    "cases": [{"name": "one", "request": REQUEST, "expect": "allow"}],
}


def run(**case: object) -> str:
    """What is wrong with one case."""
    asked = {**REQUEST, **case.pop("request", {})}
    document = {**DOCUMENT, "cases": [{"name": "one", "request": asked, **case}]}
    found = cases.load(document)
    return cases.run(POLICIES, found.mesh, found.cases).outcomes[0].wrong


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ({"expect": "allow"}, ""),
        ({"expect": "allow", "policy": "care"}, ""),
        ({"expect": "allow", "policy": ["care", "idle"]}, "expected policy care, idle, got allow by care"),
        ({"expect": "deny"}, "expected deny, got allow by care"),
        ({"expect": "deny", "request": {"purpose": "billing"}}, ""),
        ({"expect": "allow", "request": {"purpose": "billing"}}, "expected allow, got deny (no_permit)"),
        ({"expect": "deny", "code": "forbidden", "policy": "no-streams", "request": {"stream": True}}, ""),
        (
            {"expect": "deny", "code": "no_permit", "request": {"stream": True}},
            "expected deny (no_permit), got deny (forbidden) by no-streams",
        ),
    ],
)
def test_a_case_passes_only_for_the_reason_that_was_meant(case, wrong) -> None:
    assert run(**case) == wrong


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"purpose": "carre"}, "claim_not_allowed"),
        ({"data_class": 3}, "claim_not_allowed"),
        ({"resource": "Model/ngramm@gpu-1.berlin"}, "unknown_resource"),
    ],
)
def test_a_typo_does_not_pass_as_a_denial(request_, code) -> None:
    assert "denied before any policy" in run(expect="deny", request=request_)
    assert run(expect="deny", code=code, request=request_) == ""


def test_what_no_case_decides_is_named() -> None:
    found = cases.load(DOCUMENT)
    assert cases.run(POLICIES, found.mesh, found.cases).untouched == ("idle", "no-streams")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda d: d.update(casez=[]), "unknown field `casez`"),
        (lambda d: d.update(cases=[]), "cases: there are none"),
        (lambda d: d.update(cases=d["cases"] * 2), "cases: two are called `one`"),
        (lambda d: d["cases"][0].pop("expect"), "cases[1]: lacks `expect`"),
        (lambda d: d["cases"][0].update(expect=True), "cases[1].expect: must be a string"),
        (lambda d: d["cases"][0].update(expect="maybe"), "cases[1].expect: must be `allow` or `deny`"),
        (lambda d: d["cases"][0].update(code="forbidden"), "cases[1].code: must be the code of a denial"),
        (lambda d: d["cases"][0]["request"].update(action="chatt"), "`chatt` is no action"),
        (lambda d: d["cases"][0]["request"].update(resource="Model/x"), "`Model/x` is no resource"),
        (
            lambda d: d["cases"][0]["request"].update({"from": "app-2.paris"}),
            "there is no node `app-2.paris`",
        ),
        (lambda d: d["cases"][0]["request"].update(data_class="3"), "must be a number from 0 to 4"),
        (lambda d: d["nodes"][1].update(jurisdiction=False), "nodes[2].jurisdiction: must be a string"),
        (lambda d: d["nodes"][1].update(jurisdiction="de"), "`de` does not match"),
        (lambda d: d["nodes"].append(d["nodes"][0]), "nodes: one node is there twice"),
        (
            lambda d: d["nodes"].append({"node": "x.paris", "jurisdiction": "DE"}),
            "site `paris` is in two jurisdictions",
        ),
        (lambda d: d["nodes"][0].update(groups=["a", "a"]), "nodes[1].groups: names one thing twice"),
        (lambda d: d["nodes"][0].update(class_floor=3), "`class_floor` is above `class_ceiling`"),
        (lambda d: d["resources"].append({"resource": "Model/x@no.where"}), "there is no node `no.where`"),
        (lambda d: d["resources"].append(d["resources"][0]), "resources: one resource is there twice"),
        (lambda d: d.update(nodes="x"), "nodes: must be a list"),
    ],
)
def test_a_case_file_is_read_strictly(change, error) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    with pytest.raises(InputError) as caught:
        found = cases.load(document)
        cases.run(POLICIES, found.mesh, found.cases)
    assert error in str(caught.value)
