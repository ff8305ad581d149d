"""A node is given only what can concern it: to take away what was dropped changes no decision that it makes."""

import random

import cedarpy
import pytest
from generated import Policies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import cedar_decisions, entities, facts, principals, requests

from policies import parse, wording
from policies.compile import compile_egress, compile_ingress
from policies.documents import RulesBlob
from policies.inventory import NOT_CALLER, NOT_SERVED, inventory
from policies.model import (
    Before,
    Bool,
    Clock,
    Expr,
    Field,
    Has,
    InRange,
    Is,
    Like,
    Not,
    Only,
    Or,
    PrincipalIn,
    Rules,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(2, 10))
def test_what_was_dropped_decides_nothing(rng: random.Random, count: int) -> None:
    """Cedar decides with all policies, and with those alone that the node was given."""
    texts = Policies(rng).some(count)
    parsed = parse.load({"p": "\n".join(texts)})
    resources = [facts(rng, number) for number in range(6)]
    node = rng.choice(resources).key.node
    served = [item for item in resources if item.key.node == node]
    ingress = compile_ingress(parsed, served)
    principal = principals(rng)
    egress = compile_egress(parsed, principal, resources)
    for rules, declared, caller in ((ingress, served, False), (egress, resources, True)):
        kept = "\n".join(text for text in texts if text[5:10] in {rule.id for rule in rules.rules})
        asked = [requests(rng, principal, rng.choice(declared).key) for _ in range(12)]
        world = entities(principal, resources)
        all_ = cedar_decisions(cedarpy.PolicySet.from_str("\n".join(texts)), asked, world)
        some = cedar_decisions(cedarpy.PolicySet.from_str(kept), asked, world)
        for request, one, other in zip(asked, all_, some, strict=True):
            if caller and "source_ip" in "\n".join(texts):
                # What only an address would forbid is for the callee, who knows it: nothing allowed may get lost.
                assert other.allowed or not one.allowed, request
            elif caller and request.resource not in rules.resources:
                # No permit lets this caller reach it, so it is not in the bundle: unknown, which is a denial too.
                assert not one.allowed, request
                assert not other.allowed, request
            else:
                assert one == other, request


def test_a_policy_is_in_a_bundle_or_named_as_dropped() -> None:
    rng = random.Random(4)
    parsed = parse.load({"p": "\n".join(Policies(rng).some(150))})
    resources = [facts(rng, number) for number in range(6)]
    served, remote = resources[:2], resources[2:]
    ingress, egress = compile_ingress(parsed, served), compile_egress(parsed, principals(rng), remote)
    elsewhere = {rule.id for rule in compile_ingress(parsed, remote).rules}
    found = inventory(parsed, ingress, egress, elsewhere)
    kept = {rule.id for rule in (*found.as_callee, *found.as_caller)}
    assert kept | set(found.dropped) == {policy.id for policy in parsed}
    assert not kept & set(found.dropped)
    assert set(found.dropped.values()) == {NOT_CALLER, NOT_SERVED}
    assert {reach.node for reach in found.peers} == {key.node for key in egress.resources}
    assert all(reach.policies for reach in found.peers)


def test_bundles_shrink_with_what_a_node_is() -> None:
    """A thousand policies about a hundred models: a node that serves one gets ten."""
    texts = [
        f'@id("p{number:04}") permit(principal, action, resource == Model::"m{number % 100}@n{number % 100}.paris");'
        for number in range(1000)
    ]
    parsed = parse.load({"p": "\n".join(texts)})
    rng = random.Random(1)
    one = facts(rng, 0)
    mine = [
        type(one)(
            key=type(one.key)("Model", "m7", "n7.paris"),
            groups=one.groups,
            owner="",
            max_class=0,
            site="paris",
            jurisdiction="FR",
        )
    ]
    assert len(compile_ingress(parsed, mine).rules) == 10


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Bool(value=True), "true"),
        (Is(Field.PURPOSE, frozenset({"b", "a"})), '["a", "b"].contains(context.purpose)'),
        (Is(Field.STREAM, frozenset({True})), "context.stream == true"),
        (Only(Field.PRINCIPAL_REGIONS, frozenset({"fr"})), '["fr"].containsAll(principal.regions)'),
        (Like(Field.PATH, ("/v1/", "")), 'context.path like "/v1/*"'),
        (Not(Has(Field.SUBJECT_REGION)), "!(context has subject_region)"),
        (Before(1_500), 'context.now < datetime("1970-01-01T00:00:01.500Z")'),
        (Clock(0, 45_000_000), "00:00 <= time of day < 12:30"),
        (
            Or((InRange("10.0.0.0/8"), PrincipalIn("Node", "a.b"))),
            'context.source_ip.isInRange(ip("10.0.0.0/8")) || principal == Node::"a.b"',
        ),
    ],
)
def test_what_is_left_of_a_policy_is_said_in_cedars_words(expr: Expr, text: str) -> None:
    assert wording.condition(expr) == text


def test_every_rule_can_be_said() -> None:
    parsed = parse.load({"p": "\n".join(Policies(random.Random(9)).some(150))})
    rules: Rules = compile_ingress(parsed, [facts(random.Random(9), number) for number in range(6)])
    assert all(
        wording.condition(rule.when)
        for rule in RulesBlob(ingress=rules, egress=rules, served=()).ingress.rules
    )
