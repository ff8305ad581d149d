"""Groups in groups: Cedar with the real hierarchy and our flattened rules agree; what is wrong with one is one error."""

import random
from collections import Counter

import pytest
from agreement import sent
from nesting import nest

from policies import cases, hierarchy, mesh, parse, render
from policies.compile import check
from policies.errors import InputError
from policies.evaluate import Evaluator
from policies.hierarchy import FLAT, MAX_BELOW, MAX_DEPTH, MAX_NESTED, MAX_PARENTS, read


def test_cedar_with_the_hierarchy_and_rules_without_it_agree_at_both_ends() -> None:
    """The callee sees what the certificate says, which names no group that its groups are in."""
    codes: Counter[object] = Counter()
    flat = 0
    for seed in range(400):
        one = nest(random.Random(seed))
        expected = one.expected()
        callee, egress = Evaluator(sent(one.ingress())), sent(one.egress())
        caller = Evaluator(egress)
        assert [callee.decide(asked) for asked in one.asked] == expected, one.text
        for asked, decision in zip(one.asked, expected, strict=True):
            if asked.resource in egress.resources:
                assert caller.decide(asked) == decision, one.text
            else:
                assert not decision.allowed
        codes.update(decision.code for decision in expected)
        one.parents.clear()
        flat += sum(was != now for was, now in zip(expected, one.expected(), strict=True))
    assert min(codes.values()) > 500, codes
    assert flat > 500  # without the hierarchy so many would be decided otherwise


def test_a_group_is_in_all_that_it_is_in_through_others() -> None:
    groups = read({("Group", "a"): ["b", "c"], ("Group", "b"): ["d"], ("ModelGroup", "a"): ["z"]})
    assert groups.above("Group", ["a"]) == {"a", "b", "c", "d"}
    assert groups.above("Group", ["d", "unknown"]) == {"d", "unknown"}
    assert (groups.below("Group", "d"), groups.below("Group", "z")) == ({"a", "b"}, frozenset())


def test_what_asks_for_no_group_of_nodes_is_left_as_it_is() -> None:
    policies = parse.load({"p": '@id("p") permit (principal in Group::"d", action, resource);'})
    assert FLAT.spelled_out(policies) is policies
    assert read({("ModelGroup", "a"): ["d"]}).spelled_out(policies) is policies
    (spelled,) = read({("Group", "a"): ["d"]}).spelled_out(policies)
    assert spelled.principal is not None
    assert render.text(spelled.principal) == 'principal in [Group::"d", Group::"a"]'


CHAIN = {("Group", f"g{step}"): [f"g{step + 1}"] for step in range(MAX_DEPTH + 1)}
WRONG = {
    "itself": ({("Group", "a"): ["a"]}, "Group `a` is in itself"),
    "two": ({("Group", "a"): ["b"], ("Group", "b"): ["a"]}, "a cycle: Group `a` is in itself through `b`"),
    "three": (
        {("ToolGroup", "c"): ["a"], ("ToolGroup", "a"): ["b"], ("ToolGroup", "b"): ["c"]},
        "a cycle: ToolGroup `a` is in itself through `b`, `c`",
    ),
    "a tail": (
        {("Group", "z"): ["a"], ("Group", "a"): ["b"], ("Group", "b"): ["a"]},
        "a cycle: Group `a` is in itself through `b`",
    ),
    "too deep": (CHAIN, f"Group `g0` is more than {MAX_DEPTH} groups deep"),
    "too many above": (
        {("Group", "a"): [f"g{n}" for n in range(MAX_PARENTS + 1)]},
        f"Group `a` is in {MAX_PARENTS + 1} groups, at most {MAX_PARENTS}",
    ),
    "too many below": (
        {("Group", f"g{n}"): ["a"] for n in range(MAX_BELOW + 1)},
        f"Group `a` has {MAX_BELOW + 1} groups below it, at most {MAX_BELOW}",
    ),
    "too many": (
        {("Group", f"g{n}"): [f"h{n % 40}"] for n in range(MAX_NESTED + 1)},
        f"at most {MAX_NESTED} groups can be in others",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_hierarchy_that_cannot_be_is_one_clear_error(what: str) -> None:
    parents, message = WRONG[what]
    with pytest.raises(InputError) as caught:
        read(parents)
    assert str(caught.value) == f"groups: {message}"


def test_the_largest_hierarchy_is_read() -> None:
    deep = {group: names for group, names in CHAIN.items() if group[1] != "g0"}
    wide = {("ToolGroup", f"t{number}"): ["all"] for number in range(MAX_BELOW)}
    groups = read({**deep, **wide})
    assert len(groups.above("Group", ["g1"])) == MAX_DEPTH + 1
    assert len(groups.below("ToolGroup", "all")) == MAX_BELOW


def test_a_policy_that_grows_too_large_with_its_groups_is_found_with_its_line() -> None:
    asked = " || ".join(['principal in Group::"all"'] * 80)
    policies = parse.load(
        {"p.cedar": f'// first\n@id("wide") permit (principal, action, resource) when {{ {asked} }};'}
    )
    groups = read({("Group", f"g{number}"): ["all"] for number in range(MAX_BELOW)})
    assert check(policies) == ()
    (finding,) = check(groups.spelled_out(policies))
    assert (finding.code, finding.file, finding.line) == ("W-COMPLEX", "p.cedar", 2)


# --- in files of cases -----------------------------------------------------------------------------------------------

FILE = {
    "groups": [
        {"kind": "Group", "name": "hospital"},
        {"kind": "Group", "name": "ward", "groups": ["hospital"]},
        {"kind": "ModelGroup", "name": "clinical"},
        {"kind": "ModelGroup", "name": "oncology", "groups": ["clinical"]},
    ],
    "nodes": [
        {"node": "desk.berlin", "jurisdiction": "DE", "groups": ["ward"], "purposes": ["care"]},
        {"node": "gpu.berlin", "jurisdiction": "DE"},
    ],
    "resources": [{"resource": "Model/ngram@gpu.berlin", "groups": ["oncology"]}],
    "cases": [
        {
            "name": "ward",
            "request": {"from": "desk.berlin", "action": "chat", "resource": "Model/ngram@gpu.berlin"},
            "expect": "allow",
        }
    ],
}
POLICY = '@id("p") permit (principal in Group::"hospital", action, resource in ModelGroup::"clinical");'


def test_cases_are_run_in_a_mesh_with_groups_in_groups() -> None:
    read_file = cases.load(FILE)
    assert read_file.mesh is not None
    assert cases.run(parse.load({"p": POLICY}), read_file.mesh, read_file.cases).failed == ()
    apart = cases.load({**FILE, "groups": None})
    assert apart.mesh is not None
    assert len(cases.run(parse.load({"p": POLICY}), apart.mesh, apart.cases).failed) == 1


def test_a_mesh_that_is_written_down_is_read_as_the_same() -> None:
    made = mesh.read(FILE["nodes"], FILE["resources"], FILE["groups"])
    assert made.nodes[0].groups == {"ward", "hospital"}
    assert mesh.load(mesh.dump(made)) == mesh.Mesh(
        tuple(sorted(made.nodes, key=lambda one: one.node)), made.resources
    )


@pytest.mark.parametrize(
    ("groups", "where"),
    [
        ([{"kind": "Group", "name": "a", "groups": ["b"]}], "groups: there is no Group `b`"),
        ([{"kind": "Team", "name": "a"}], "groups[1].kind: `Team` holds nothing"),
        ([{"kind": "Group", "name": "a"}] * 2, "groups: one group is there twice"),
        ([{"kind": "Group", "name": "A"}], "groups[1].name: `A` does not match"),
        ([{"kind": "Group", "name": "a", "groups": ["b", "b"]}], "groups[1].groups: names one thing twice"),
        ([{"kind": "Group", "name": "a", "groups": ["a"]}], "groups: Group `a` is in itself"),
        ({"a": []}, "groups: must be a list"),
    ],
)
def test_groups_of_a_file_that_cannot_be_are_one_clear_error(groups: object, where: str) -> None:
    with pytest.raises(InputError) as caught:
        hierarchy.load(groups)
    assert str(caught.value).startswith(where)
