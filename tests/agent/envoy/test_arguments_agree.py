"""Arguments of tools: Cedar with tags, the evaluator and a running Envoy answer alike; what was not looked for denies."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from agreement import envoy_agrees, sent
from calling import calls, read
from engine import Connections, World, running, spiffe_id

from policies import arguments, grammar, parse
from policies.arguments import Arguments
from policies.compile import compile_ingress
from policies.evaluate import Evaluator
from policies.model import Code


def test_cedar_and_rules_agree_at_both_ends() -> None:
    codes: Counter[object] = Counter()
    for seed in range(400):
        one = calls(random.Random(seed))
        expected = one.expected()
        callee, egress = sent(one.ingress()), sent(one.egress())
        assert [Evaluator(callee).decide(read(asked, callee)) for asked in one.asked] == expected, one.text
        assert [Evaluator(callee).decide(asked) for asked in one.asked] == expected
        for asked, decision in zip(one.asked, expected, strict=True):
            if asked.resource in egress.resources:
                assert Evaluator(egress).decide(read(asked, egress)) == decision, one.text
            else:
                assert not decision.allowed
        codes.update(decision.code for decision in expected)
    assert min(codes.values()) > 500, codes


async def test_envoy_and_rules_agree_at_both_ends(tmp_path: Path) -> None:
    ingress, egress = [], []
    for seed in range(500, 560):
        one = calls(random.Random(seed), asked=8)
        peers = {"n1.berlin": str(spiffe_id("n1.berlin", "DE"))}
        for rules, held, known in ((one.ingress(), ingress, None), (one.egress(), egress, peers)):
            seen = [read(asked, rules) for asked in one.asked]
            held.append(World(rules, known, [(one.principal, seen)]))
    with running(ingress, egress, tmp_path) as ready:
        engine = await ready()
        callee, caller = envoy_agrees(engine, ingress), envoy_agrees(engine, egress)
    assert (callee.total, caller.total) == (480, 480)
    assert min(callee.codes.values()) > 60, callee.codes


NOT_READ = [None, Arguments((), frozenset()), Arguments((("mode", "x"),), frozenset({"mode"}))]
ASKING = (
    'permit (principal, action == Action::"tool", resource) unless { context.arguments.hasTag("path") };',
    (
        'forbid (principal, action == Action::"tool", resource) when { context.arguments.hasTag("path") };'
        '@id("all") permit (principal, action, resource);'
    ),
    (
        'forbid (principal, action == Action::"tool", resource) unless { context.stream || context.arguments.hasTag("mode") ||'
        ' context.arguments.hasTag("path") }; @id("all") permit (principal, action, resource);'
    ),
)


async def test_what_was_not_looked_for_denies_whatever_is_asked_of_it(tmp_path: Path) -> None:
    """The routes tell the classifier what to read, the filters what it means: neither may run ahead of the other."""
    one = calls(random.Random(1))
    held = []
    for number, text in enumerate(ASKING):
        rules = compile_ingress(parse.load({"p": f'@id("p{number}") {text}'}), one.resources)
        seen = [replace(asked, arguments=some) for asked in one.asked[:3] for some in NOT_READ]
        decided = [Evaluator(rules).decide(asked) for asked in seen]
        assert {decision.code for decision in decided} == {Code.UNEVALUABLE}
        held.append(World(rules, None, [(one.principal, seen)]))
    with running(held, [], tmp_path) as ready:
        engine = await ready()
        assert envoy_agrees(engine, held).codes == {Code.UNEVALUABLE: 27}
        with Connections(engine, 1, held[1], one.principal) as to:
            for odd in ('"path"', "", "path", '"mode"path"', '"pathology"', '"x=path"'):
                asked = held[1].asked[0][1][0]
                from_header = replace(asked, arguments=arguments.read(odd))
                assert to.decide(from_header).code == Evaluator(held[1].rules).decide(from_header).code


def at_the_bounds() -> list[str]:
    part = "x" * (grammar.MAX_PATTERN // (grammar.MAX_WILDCARDS + 1))
    pattern = "*".join([part] * (grammar.MAX_WILDCARDS + 1))
    name, long = "n" * 32, "y" * arguments.MAX_VALUE
    has, got = f'context.arguments.hasTag("{name}")', f'context.arguments.getTag("{name}")'
    tests = [
        f'{got} like "{pattern}"',
        f'{got} like "{long}*"',
        f'{got} == "{long}"',
        f'{got} like "*{part}*"',
    ]
    within = [f"{has} && {test}" for test in tests]
    native = [f'{has} && {test} && context.now < datetime("2999-01-01")' for test in tests]
    return [*within, *native]


async def test_what_the_compiler_lets_through_envoy_loads_at_every_bound(tmp_path: Path) -> None:
    one = calls(random.Random(3))
    values = ["x" * 48, "x" * 8, "y" * arguments.MAX_VALUE, "y", ""]
    held = []
    for number, condition in enumerate(at_the_bounds()):
        for effect in ("permit", "forbid"):
            text = f'@id("b{number}") {effect} (principal, action == Action::"tool", resource) when {{ {condition} }};'
            other = '@id("z") permit (principal, action, resource) when { context.data_class < 9 };'
            rules = compile_ingress(
                parse.load({"p": text + (other if effect == "forbid" else "")}), one.resources
            )
            seen = [
                read(replace(one.asked[0], arguments=arguments.of({"n" * 32: value})), rules)
                for value in values
            ]
            held.append(World(rules, None, [(one.principal, seen)]))
    with running(held, [], tmp_path) as ready:
        engine = await ready()
        assert envoy_agrees(engine, held).total == len(held) * len(values)


@pytest.mark.parametrize("text", ['"a=1"b"', '"a="', '"b"', ""])
def test_what_filters_are_told_is_read_as_it_was(text: str) -> None:
    found = arguments.read(text)
    assert (arguments.told(dict(found.given), found.read or ()) if text else "") == text
