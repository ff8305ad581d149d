"""What a condition compiles to is foreseen from its syntax: the rules of no policy are more than their readers accept."""

import random

import pytest
from generated import Policies

from policies import bounds, expressions, parse, syntax
from policies.compile import ResourceFacts, compile_ingress
from policies.errors import PolicyError
from policies.model import ResourceKey

SERVED = [
    ResourceFacts(
        key=ResourceKey(kind=kind, name="ngram", node="gpu-1.berlin"),
        groups=frozenset({"clinical"}),
        owner="radiology",
        max_class=2,
        site="berlin",
        jurisdiction="DE",
        node_groups=frozenset({"research"}),
    )
    for kind in ("Model", "Dataset")
]


def test_no_condition_exceeds_what_was_foreseen_from_its_syntax() -> None:
    rng = random.Random(11)
    for policy in parse.load({"f": "\n".join(Policies(rng).some(300))}):
        nodes = [node for node in (policy.principal, *(clause.node for clause in policy.clauses)) if node]
        for rule in compile_ingress([policy], SERVED).rules:
            found = [bounds.bound(node) for node in nodes]
            assert expressions.size(rule.when) <= 1 + sum(one.weight + 1 for one in found), policy.source
            assert expressions.depth(rule.when) <= 2 + max((one.depth for one in found), default=0), (
                policy.source
            )


def _nested(levels: int) -> str:
    nested = "context.stream"
    for _ in range(levels):
        nested = f"(({nested}) == (context.data_class < 2))"
    return nested


def _choices(number: int) -> list[str]:
    return [f'if context.method == "m{at}" then "a{at}" else "b{at}"' for at in range(number)]


def _of_choices(number: int) -> list[str]:
    """Conditions that compile to what is twice as large for every one more."""
    choices = _choices(number)
    fields = "".join(f", b{at}: {choice}" for at, choice in enumerate(choices))
    return [
        f"[{', '.join(choices)}].contains(context.purpose)",
        f"{{a: context.stream{fields}}}.a",
        f"if context.stream then {{a: context.stream{fields}}}.a else false",
        f'({{a: ""{fields}}} has a) == context.stream',
    ]


@pytest.mark.parametrize("condition", [text for number in range(1, 6) for text in _of_choices(number)])
def test_choices_between_values_are_foreseen_together(condition: str) -> None:
    (policy,) = parse.load({"f": f'@id("a") permit(principal, action, resource) when {{ {condition} }};'})
    foreseen = bounds.bound(syntax.Call("not", (policy.clauses[0].node,)))
    for rule in compile_ingress([policy], SERVED).rules:
        assert expressions.size(rule.when) <= foreseen.weight
        assert expressions.depth(rule.when) <= foreseen.depth


@pytest.mark.parametrize("condition", [_nested(12), _nested(45), *_of_choices(45)])
def test_a_condition_too_large_for_a_proxy_is_refused_before_it_is_compiled(condition: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse.load({"f": f'@id("a") permit(principal, action, resource) when {{ {condition} }};'})
    assert [finding.code for finding in caught.value.findings] == ["W-COMPLEX"]
