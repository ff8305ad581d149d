"""Deny is the default, forbid wins, order never matters, and the index never changes an answer."""

import random

import pytest

from policies.evaluate import Evaluator, holds, reasons
from policies.model import (
    ACTIONS,
    And,
    Bool,
    Code,
    Decision,
    Digit,
    Effect,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Like,
    Not,
    Or,
    PolicyId,
    Principal,
    PrincipalIn,
    Request,
    ResourceKey,
    Rule,
    Rules,
)
from policies.simplify import matches

MODEL = ResourceKey(kind="Model", name="ngram", node="gpu-1.berlin")
TOOL = ResourceKey(kind="Tool", name="ngram", node="gpu-1.berlin")
TRUE = Bool(value=True)


def rule(id_: str, effect: Effect, when: Expr = TRUE, *, actions: tuple[str, ...] = ("chat",)) -> Rule:
    return Rule(
        id=PolicyId(id_), effect=effect, actions=frozenset(actions), resources=frozenset({MODEL}), when=when
    )


def permit(id_: str, when: Expr = TRUE) -> Rule:
    return rule(id_, Effect.PERMIT, when)


def forbid(id_: str, when: Expr = TRUE) -> Rule:
    return rule(id_, Effect.FORBID, when)


def request(
    *, action: str = "chat", resource: ResourceKey | None = MODEL, region: str | None = "fr", path: str = "/"
) -> Request:
    return Request(
        principal=Principal(
            node="edge-1.paris",
            site="paris",
            jurisdiction="FR",
            tier=2,
            groups=frozenset({"clinical", "edge"}),
            purposes=frozenset({"care"}),
            regions=frozenset({"fr", "de"}),
            class_floor=0,
            class_ceiling=3,
        ),
        action=action,
        resource=resource,
        purpose="care",
        data_class=1,
        subject_region=region,
        protocol="openai",
        method="POST",
        path=path,
        stream=True,
    )


def decide(*rules: Rule, asked: Request | None = None) -> Decision:
    return Evaluator(Rules(rules=rules, resources=frozenset({MODEL}))).decide(asked or request())


def allowed(*because: str) -> Decision:
    return Decision(code=None, because=tuple(PolicyId(id_) for id_ in because))


def denied(code: Code, *because: str) -> Decision:
    return Decision(code=code, because=tuple(PolicyId(id_) for id_ in because))


def test_without_rules_everything_is_denied() -> None:
    assert decide() == denied(Code.NO_PERMIT)


def test_a_permit_allows() -> None:
    assert decide(permit("a")) == allowed("a")


def test_forbid_wins_in_any_order() -> None:
    assert decide(permit("a"), forbid("b")) == denied(Code.FORBIDDEN, "b")
    assert decide(forbid("b"), permit("a")) == denied(Code.FORBIDDEN, "b")


def test_all_policies_that_caused_it_are_told_once_and_sorted() -> None:
    assert decide(permit("c"), permit("a"), permit("c"), permit("b")) == allowed("a", "b", "c")
    assert decide(permit("a"), forbid("z"), forbid("x")) == denied(Code.FORBIDDEN, "x", "z")


@pytest.mark.parametrize("resource", [None, TOOL])
def test_an_unknown_resource_is_denied_before_any_rule(resource: ResourceKey | None) -> None:
    found = decide(permit("a"), forbid("b"), asked=request(resource=resource))
    assert found == denied(Code.UNKNOWN_RESOURCE)


def test_another_action_is_not_permitted() -> None:
    assert decide(permit("a"), asked=request(action="embed")) == denied(Code.NO_PERMIT)


def test_a_rule_on_another_resource_does_not_apply() -> None:
    rules = Rules(rules=(permit("a"),), resources=frozenset({MODEL, TOOL}))
    assert Evaluator(rules).decide(request(resource=TOOL)) == denied(Code.NO_PERMIT)


@pytest.mark.parametrize(
    ("when", "region", "expected"),
    [
        (TRUE, "fr", True),
        (Bool(value=False), "fr", False),
        (Is(Field.PURPOSE, frozenset({"care"})), "fr", True),
        (Is(Field.STREAM, frozenset({False})), "fr", False),
        (Is(Field.SUBJECT_REGION, frozenset({"fr"})), "fr", True),
        (Is(Field.SUBJECT_REGION, frozenset({"fr"})), None, False),
        (Like(Field.SUBJECT_REGION, ("", "")), None, False),
        (Not(Is(Field.SUBJECT_REGION, frozenset({"fr"}))), None, True),
        (Has(Field.SUBJECT_REGION), "fr", True),
        (Has(Field.SUBJECT_REGION), None, False),
        (Digit(Field.PRINCIPAL_TIER, frozenset({2, 3})), "fr", True),
        (Digit(Field.DATA_CLASS, frozenset({0})), "fr", False),
        (Holds(Field.PRINCIPAL_PURPOSES, "care"), "fr", True),
        (Holds(Field.PRINCIPAL_PURPOSES, "fr"), "fr", False),
        (Holds(Field.PRINCIPAL_REGIONS, "de"), "fr", True),
        (And((Holds(Field.PRINCIPAL_REGIONS, "de"), Holds(Field.PRINCIPAL_REGIONS, "us"))), "fr", False),
        (PrincipalIn("Node", "edge-1.paris"), "fr", True),
        (PrincipalIn("Site", "paris"), "fr", True),
        (PrincipalIn("Jurisdiction", "DE"), "fr", False),
        (PrincipalIn("Group", "edge"), "fr", True),
        (And((PrincipalIn("Group", "edge"), PrincipalIn("Group", "clinical"))), "fr", True),
        (And((PrincipalIn("Group", "edge"), PrincipalIn("Group", "other"))), "fr", False),
        (Or((PrincipalIn("Group", "other"), PrincipalIn("Group", "edge"))), "fr", True),
        (Or((PrincipalIn("Group", "other"), PrincipalIn("Site", "paris"))), "fr", True),
        (And((PrincipalIn("Site", "paris"), Is(Field.PRINCIPAL_SITE, frozenset({"berlin"})))), "fr", False),
        (Like(Field.PATH, ("/", "")), "fr", True),
        (Like(Field.PATH, ("/v1", "")), "fr", False),
    ],
)
def test_a_condition_holds_or_not(when: Expr, region: str | None, expected: bool) -> None:
    asked = request(region=region)
    assert holds(when, asked) is expected
    assert decide(permit("a", when), asked=asked).allowed is expected


@pytest.mark.parametrize(
    ("parts", "value", "expected"),
    [
        (("abc",), "abc", True),
        (("abc",), "abcd", False),
        (("", ""), "", True),
        (("a", ""), "b", False),
        (("a", "a"), "a", False),  # head and tail do not overlap
        (("a", "a"), "aa", True),
        (("", "b", ""), "abc", True),
        (("", "ab", "b"), "ab", False),
        (("", "ab", "ab", ""), "ab", False),
        (("", "ab", "ab", ""), "abab", True),
        (("a", "b", "c"), "a-bb-c", True),
        (("", "\n", ""), "a\nb", True),
        (("", "*", ""), "a*b", True),
    ],
)
def test_patterns_match_like_cedar(parts: tuple[str, ...], value: str, expected: bool) -> None:
    assert matches(parts, value) is expected


def random_expr(rng: random.Random, depth: int) -> Expr:
    leaves: list[Expr] = [
        Digit(Field.PRINCIPAL_TIER, frozenset(rng.sample(range(5), 2))),
        Digit(Field.DATA_CLASS, frozenset(rng.sample(range(5), 3))),
        Is(Field.PURPOSE, frozenset(rng.sample(["care", "research"], 1))),
        PrincipalIn("Group", rng.choice(["clinical", "edge", "other"])),
        PrincipalIn(rng.choice(["Site", "Node"]), rng.choice(["paris", "edge-1.paris"])),
        Holds(Field.PRINCIPAL_REGIONS, rng.choice(["fr", "us"])),
        Is(Field.SUBJECT_REGION, frozenset({"fr"})),
    ]
    if depth == 0:
        return rng.choice(leaves)
    items = tuple(random_expr(rng, depth - 1) for _ in range(rng.randint(2, 3)))
    return rng.choice([Not(items[0]), And(items), Or(items), items[0]])


def test_the_index_never_changes_an_answer() -> None:
    rng = random.Random(7)
    actions = sorted(ACTIONS)
    for _ in range(200):
        rules = tuple(
            rule(
                f"r{number}",
                rng.choice(list(Effect)),
                random_expr(rng, 2),
                actions=tuple(rng.sample(actions, 6)),
            )
            for number in range(12)
        )
        asked = request(action=rng.choice(actions), region=rng.choice(["fr", None]))
        matching = [item for item in rules if asked.action in item.actions and holds(item.when, asked)]
        forbids = tuple(sorted(item.id for item in matching if item.effect is Effect.FORBID))
        permits = tuple(sorted(item.id for item in matching if item.effect is Effect.PERMIT))
        code = Code.FORBIDDEN if forbids else None if permits else Code.NO_PERMIT
        assert decide(*rules, asked=asked) == Decision(code=code, because=forbids or permits)


def test_reasons_follow_the_policies_that_decided() -> None:
    rules = [
        Rule(
            id=PolicyId(id_),
            effect=Effect.FORBID,
            actions=frozenset(),
            resources=frozenset(),
            when=TRUE,
            reason=reason,
        )
        for id_, reason in (("a", "first"), ("b", ""), ("c", "third"))
    ]
    assert list(reasons(rules, (PolicyId("c"), PolicyId("b"), PolicyId("a")))) == ["third", "first"]
