"""Cedar and the evaluator of compiled rules answer every request alike: same verdict, same policies."""

import random
from collections import Counter

import pytest
from generated import Policies
from worlds import cedar_decisions, entities, facts, principals, requests

from policies import codec, parse
from policies.compile import compile_egress, compile_ingress
from policies.documents import RulesBlob
from policies.evaluate import Evaluator
from policies.model import Code, Rules


def sent(rules: Rules) -> Rules:
    """As the node gets them: through the codec."""
    blob = RulesBlob(ingress=rules, egress=rules, served=())
    return codec.load_rules(codec.dump_rules(blob)).egress


def compare(seed: int, *, policies: int, callers: int, per_caller: int) -> Counter[Code | None]:
    """One random world; raises where the engines differ."""
    rng = random.Random(seed)
    text = "\n".join(Policies(rng).some(policies))
    parsed = parse.load({"p.cedar": text})
    resources = [facts(rng, number) for number in range(6)]
    ingress = compile_ingress(parsed, resources)
    callee = Evaluator(sent(ingress))
    seen: Counter[Code | None] = Counter()
    for _ in range(callers):
        principal = principals(rng)
        egress = compile_egress(parsed, principal, resources)
        caller = Evaluator(sent(egress))
        asked = [requests(rng, principal, rng.choice(resources).key) for _ in range(per_caller)]
        for request, expected in zip(
            asked, cedar_decisions(text, asked, entities(principal, resources)), strict=True
        ):
            assert callee.decide(request) == expected, (seed, text, request)
            seen[expected.code] += 1
            if "source_ip" in text:
                assert caller.decide(request).allowed or not expected.allowed, (seed, text, request)
            elif request.resource in egress.resources:
                assert caller.decide(request) == expected, (seed, text, request)
            else:
                assert not expected.allowed, (seed, text, request)
    return seen


def agree(seeds: range, **size: int) -> None:
    seen: Counter[Code | None] = Counter()
    for seed in seeds:
        seen += compare(seed, **size)
    total = sum(seen.values())
    # A comparison of denials alone would prove little.
    assert seen[None] >= total / 4, seen
    assert seen[Code.FORBIDDEN] >= total / 4, seen


def test_cedar_and_rules_agree() -> None:
    agree(range(60), policies=7, callers=5, per_caller=8)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cedar_and_rules_agree_on_a_hundred_thousand() -> None:
    agree(range(1000, 3000), policies=7, callers=5, per_caller=10)
