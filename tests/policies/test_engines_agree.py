"""Cedar and the evaluator of compiled rules answer every request alike: same verdict, same policies.

The one difference is stated below: where Cedar skips a forbid that it cannot evaluate, we deny.
"""

import concurrent.futures
import multiprocessing
import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import agreement
import cedarpy
import pytest
import worlds
from agreement import DisagreementError, Shares, evaluator_agrees, scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import cedar_request, entities

from policies import bitmask, evaluate, moving, parse, relations, simplify
from policies.compile import compile_ingress
from policies.evaluate import Evaluator
from policies.model import Clock, Code, Decision, Effect, Holds, Is

SCENES = int(os.environ.get("WRIT_AGREE_SCENES", "620"))
"""Of about 1,700 decisions each: a million by default."""


def sizes(seed: int) -> int:
    """Mostly sets that Cedar decides quickly; some of 40 and of 200."""
    if seed % 100 == 0:
        return 200
    return 40 if seed % 33 == 0 else (1, 5, 6, 7, 7, 8, 10, 12)[seed % 8]


def compared(seed: int) -> Shares:
    made = scene(random.Random(seed), policies=sizes(seed), callers=6, per_caller=290)
    return evaluator_agrees(made)


def test_cedar_and_rules_agree() -> None:
    shares = Shares()
    for seed in range(1, 60):
        made = scene(random.Random(seed), policies=sizes(seed), callers=5, per_caller=20)
        shares.add(evaluator_agrees(made))
    shares.check()


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_no_example_that_hypothesis_finds_tells_them_apart(rng: random.Random, policies: int) -> None:
    evaluator_agrees(scene(rng, policies=policies, callers=2, per_caller=6))


@pytest.mark.slow
@pytest.mark.timeout(int(os.environ.get("WRIT_AGREE_TIMEOUT_S", "900")))
def test_cedar_and_rules_agree_on_a_million() -> None:
    shares = Shares()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(max_workers=2, mp_context=spawn) as pool:
        for found in pool.map(compared, range(10_000, 10_000 + SCENES), chunksize=5):
            shares.add(found)
    shares.check()
    assert shares.total >= min(1_000_000, SCENES * 1700)


def test_a_forbid_that_cannot_be_evaluated_denies_here_and_is_skipped_by_cedar() -> None:
    text = (
        '@id("p") permit(principal, action, resource);'
        '@id("f") forbid(principal, action, resource) when { context.now < datetime("2000-01-01") };'
        '@id("g") forbid(principal, action, resource) when { context.source_ip.isMulticast() };'
    )
    one = scene(random.Random(1), policies=1, callers=1, per_caller=1)
    principal, (request,) = one.asked[0]
    asked = cedar_request(request)
    incomplete: dict[str, Any] = {**asked, "context": {**asked["context"], "now": None, "source_ip": None}}  # type: ignore[dict-item]
    del incomplete["context"]["now"], incomplete["context"]["source_ip"]
    (cedar,) = cedarpy.is_authorized_batch(
        [incomplete], cedarpy.PolicySet.from_str(text), entities(principal, one.resources)
    )
    assert cedar.allowed
    assert len(cedar.diagnostics.errors) == 2
    evaluator = Evaluator(compile_ingress(parse.load({"p": text}), one.resources))
    assert evaluator.decide(request) == Decision(code=None, because=("p",))
    for unknown in ({"now_ms": None}, {"source_ip": None}):
        assert evaluator.decide(replace(request, **unknown)) == Decision(code=Code.UNEVALUABLE, because=())


# --- a mutant in any engine is found ---------------------------------------------------------------------------------


def no_forbid(evaluator: Evaluator, request: Any) -> Decision:
    found = TRUE_DECIDE(evaluator, request)
    return Decision(code=None, because=found.because) if found.code is Code.FORBIDDEN else found


def held(expr: Any, request: Any) -> bool:
    return (
        TRUE_HOLDS(expr, request)
        if not isinstance(expr, Clock)
        else request.now_ms % 86_400_000 <= expr.until_ms
    )


def narrower(expr: Any) -> Any:
    return (
        None
        if isinstance(expr, Is)
        else TRUE_CONSTRAINT(replace(expr, value="x") if isinstance(expr, Holds) else expr)
    )


def half_equal(left: Any, right: Any, known: Any) -> Any:
    return relations.contains_all(left, right, known)


def claimed(request: Any) -> dict[str, object]:
    asked = TRUE_REQUEST(request)
    context: Any = asked["context"]
    return {**asked, "context": {**context, "data_class": min(context["data_class"] + 1, 4)}}


TRUE_DECIDE, TRUE_HOLDS, TRUE_CONSTRAINT = Evaluator.decide, evaluate.holds, bitmask._constraint
TRUE_REQUEST, TRUE_BELOW = worlds.cedar_request, moving.Moving.below
MUTANTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "Cedar: a class too high": (worlds, "cedar_request", claimed),
    "Cedar: answers turned around": (
        worlds,
        "_decision",
        lambda answer: Decision(code=None if not answer.allowed else Code.NO_PERMIT, because=()),
    ),
    "evaluator: forbids do not count": (Evaluator, "decide", no_forbid),
    "evaluator: the end of a stretch of time belongs to it": (evaluate, "holds", held),
    "evaluator: another value in the index": (bitmask, "_constraint", narrower),
    "compiler: one side of an equality of sets": (relations, "_equal_sets", half_equal),
    "compiler: a moment later": (moving.Moving, "below", lambda self, limit: TRUE_BELOW(self, limit + 1)),
    "compiler: patterns match their beginning": (
        simplify,
        "matches",
        lambda parts, value: value.startswith(parts[0]),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, mutant = MUTANTS[name]
    monkeypatch.setattr(where, what, mutant)
    with pytest.raises(DisagreementError):
        for seed in range(1, 200):
            evaluator_agrees(scene(random.Random(seed), policies=7, callers=3, per_caller=20))


def test_a_disagreement_is_shown_with_the_policies_that_it_needs() -> None:
    policies = [f"p{number}" for number in range(50)]
    assert agreement.reduce(policies, lambda some: {"p7", "p31"} <= set(some)) == ["p7", "p31"]


def test_a_disagreement_is_reduced_to_one_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluator, "decide", no_forbid)
    with pytest.raises(DisagreementError) as caught:
        for seed in range(1, 200):
            evaluator_agrees(scene(random.Random(seed), policies=12, callers=1, per_caller=20))
    assert str(caught.value).count("@id(") == 1
    assert Effect.FORBID.value in str(caught.value)
