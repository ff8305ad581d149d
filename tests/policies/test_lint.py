"""Lint names what is hardly meant, with a stable code; what it says is true, whatever nodes and resources there are."""

import random
from pathlib import Path

import pytest
import worlds
from generated import Policies

from policies import coverage, lint, parse
from policies import mesh as meshes
from policies.compile import compile_ingress
from policies.evaluate import Evaluator
from policies.lint import CODES
from policies.satisfy import UndecidedError

MESH = meshes.read(
    [
        {
            "node": "app-1.paris",
            "jurisdiction": "FR",
            "groups": ["clinical"],
            "purposes": ["care"],
            "class_ceiling": 2,
        },
        {"node": "gpu-1.berlin", "jurisdiction": "DE"},
    ],
    [{"resource": "Model/ngram@gpu-1.berlin", "max_class": 2}],
)
CHAT = 'action == Action::"chat", resource is Model'


def found(*policies: str, mesh=None) -> list[tuple[str, str]]:
    text = "\n".join(f'@id("p{number}") {policy}' for number, policy in enumerate(policies))
    return [(finding.code, finding.policy) for finding in lint.lint({"f": text}, mesh)]


def test_plain_policies_have_no_remarks() -> None:
    policies = (
        f'permit(principal in Group::"clinical", {CHAT}) when {{ context.purpose == "care" }};',
        f'permit(principal in Group::"edge", {CHAT}) when {{ context.data_class <= 1 }};',
        "forbid(principal, action, resource) when { context.stream && context.data_class > 3 };",
    )
    assert found(*policies) == []


def test_any_action_for_anybody_is_too_wide() -> None:
    assert found("permit(principal, action, resource);") == [("W-WIDE", "p0")]
    assert found("forbid(principal, action, resource);") == []


def test_what_is_doubled_is_said_once() -> None:
    policy = f'permit(principal in Group::"clinical", {CHAT});'
    assert found(policy, policy) == [("W-DUPLICATE", "p1")]


@pytest.mark.parametrize(
    "condition",
    [
        'context.purpose == "care" && context.purpose == "billing"',
        "context.data_class > 3 && context.data_class < 2",
        'context.path like "/v1/*" && context.path == "/v2/x"',
        'context has subject_region && context.subject_region == "fr" && !principal.regions.contains("fr")',
        'context.purpose == "care" && !principal.purposes.contains("care")',
        'principal.jurisdiction == "FR" && principal in Jurisdiction::"DE"',
        'principal in Node::"n1.paris" && principal in Node::"n2.paris"',
        'principal == Node::"n1.paris" && principal.site == "berlin"',
        "principal.class_ceiling == 1 && context.data_class == 2",
        'resource.owner == "a" && resource.owner like "b*"',
        'resource in ModelGroup::"a" && !(resource in ModelGroup::"a")',
        'resource.site == "paris" && resource in Site::"berlin"',
        "!(context.stream || !context.stream)",
    ],
)
def test_conditions_that_exclude_each_other(condition: str) -> None:
    assert found(f"permit(principal, {CHAT}) when {{ {condition} }};") == [("W-CONTRADICTION", "p0")]


@pytest.mark.parametrize(
    "condition",
    [
        'context.path like "/v1/*" && context.path like "*s"',
        'principal in Group::"a" && principal in Group::"b"',
        'resource.site == principal.site && resource in Jurisdiction::"FR"',
        'resource.owner == "a" || resource.owner like "b*"',
        "context.data_class <= principal.class_ceiling && principal.class_ceiling < 1",
        'resource in Node::"n1.paris" && resource.name == "ngram"',
        'resource == Model::"ngram@n1.paris" && resource in ModelGroup::"a"',
    ],
)
def test_conditions_that_some_request_meets(condition: str) -> None:
    assert found(f"permit(principal, {CHAT}) when {{ {condition} }};") == []


def test_a_permit_below_another_or_below_a_forbid_changes_nothing() -> None:
    wide = f'permit(principal in Group::"clinical", {CHAT});'
    narrow = f'permit(principal in Group::"clinical", {CHAT}) when {{ context.data_class < 2 && resource.owner == "x" }};'
    never = f'permit(principal in Group::"edge", {CHAT}) when {{ context.stream }};'
    streams = "forbid(principal, action, resource) when { context.stream };"
    assert found(wide, narrow, never, streams) == [("W-SHADOWED", "p1"), ("W-SHADOWED", "p2")]


def test_a_permit_never_shadows_a_forbid() -> None:
    assert found(
        f'permit(principal in Group::"c", {CHAT});', f'forbid(principal in Group::"c", {CHAT});'
    ) == [("W-SHADOWED", "p0")]


def test_names_that_nobody_has_are_found_in_a_mesh() -> None:
    policies = (
        f'permit(principal in Group::"clinical", {CHAT});',
        f'permit(principal in Group::"clinica", {CHAT});',
        f'permit(principal in Group::"clinical", {CHAT}) when {{ context.data_class == 3 }};',
        'permit(principal in Group::"clinical", action == Action::"chat", resource == Model::"ngramm@gpu-1.berlin");',
        'forbid(principal in Site::"pariss", action, resource);',
    )
    assert found(*policies, mesh=MESH) == [
        ("W-NO-NODE", "p1"),
        ("W-NO-NODE", "p2"),
        ("W-SHADOWED", "p2"),
        ("W-SHADOWED", "p3"),
        ("W-UNREACHABLE", "p3"),
        ("W-NO-NODE", "p4"),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_removing_what_is_shadowed_or_contradictory_changes_no_decision(seed: int) -> None:
    rng = random.Random(seed)
    policies = parse.load({"p": "\n".join(Policies(rng).some(6))})
    idle = {item.policy for item in lint.remarks(policies) if item.code in {"W-SHADOWED", "W-CONTRADICTION"}}
    for _ in range(150):
        caller = worlds.principals(rng)
        facts = worlds.facts(rng, rng.randint(0, 3))
        request = worlds.requests(rng, caller, facts.key)
        whole = Evaluator(compile_ingress(policies, [facts])).decide(request)
        for name in idle:
            without = [policy for policy in policies if policy.id != name]
            assert Evaluator(compile_ingress(without, [facts])).decide(request).allowed is whole.allowed


@pytest.mark.parametrize("seed", range(25))
def test_an_example_matches_its_policy(seed: int) -> None:
    for policy in parse.load({"p": "\n".join(Policies(random.Random(seed)).some(6))}):
        try:
            match = coverage.example(policy)
        except UndecidedError:
            continue
        if match is not None:
            assert coverage.Matching([policy]).at(match) == {policy.id}


def test_every_code_is_in_the_manual() -> None:
    manual = Path("docs/policy-language.md").read_text()
    assert [code for code in CODES if f"`{code}`" not in manual] == []


def test_attributes_that_are_compared_may_differ() -> None:
    assert found(f"permit(principal, {CHAT}) when {{ context.purpose != context.protocol }};") == []
