"""A running Envoy and the evaluator of compiled rules answer every request alike: same verdict, same policy."""

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agreement import DisagreementError, Scene, Shares, envoy_agrees, real_scenes, worlds_of
from engine import Connections, headers_of, running
from worlds import facts, principals, requests

from agent.envoy import authorize, cel, index, listeners, lower, pb, terms
from policies.model import Code, Expr, Field, Rules


async def agree(directory: Path, seeds: range, *, callers: int, per_caller: int) -> tuple[Shares, Shares]:
    """At ingress, where bodies are read, and at egress."""
    sizes = (1, 4, 7, 12, 40, 200)
    ingress, egress = worlds_of(real_scenes(seeds, sizes, callers=callers, per_caller=per_caller))
    with running(ingress, egress, directory) as ready:
        engine = await ready()
        return envoy_agrees(engine, ingress), envoy_agrees(engine, egress)


async def test_envoy_and_rules_agree(tmp_path: Path) -> None:
    callee, caller = await agree(tmp_path, range(5000, 5024), callers=4, per_caller=8)
    callee.check()
    assert (callee.total, caller.total) == (24 * 4 * 8, 24 * 4 * 8)


async def test_what_has_no_verdict_is_denied_whatever_the_rules_say(tmp_path: Path) -> None:
    ingress, egress = worlds_of(real_scenes(range(5000, 5003), (7,), callers=1, per_caller=8))
    with running(ingress, egress, tmp_path) as ready:
        engine = await ready()
        for number, world in enumerate(egress):
            principal, asked = world.asked[0]
            with Connections(engine, number, world, principal) as to:
                for request in asked:
                    headers = headers_of(request, world.peers)
                    for verdict in ("unheard_of", "ok,ok", "OK", ""):
                        odd = {**headers, "writ-verdict": verdict}
                        assert to.ask("egress", request, "GET", "/", odd).code is Code.UNEVALUABLE
                    del headers["writ-verdict"]
                    assert to.ask("egress", request, "GET", "/", headers).code is Code.UNEVALUABLE


SCENES = int(os.environ.get("WRIT_AGREE_SCENES", "0")) // 12 or 52
"""Of 400 decisions each."""


@pytest.mark.slow
@pytest.mark.timeout(int(os.environ.get("WRIT_AGREE_TIMEOUT_S", "900")))
async def test_envoy_and_rules_agree_on_twenty_thousand(tmp_path: Path) -> None:
    callee, caller = Shares(), Shares()
    for first in range(20_000, 20_000 + SCENES, 13):
        directory = tmp_path / str(first)
        directory.mkdir()
        at_callee, at_caller = await agree(directory, range(first, first + 13), callers=5, per_caller=40)
        callee.add(at_callee)
        caller.add(at_caller)
    callee.check()
    assert callee.total + caller.total >= 20_000


# --- what forbids read must be there ---------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", ["permit", "forbid"])
async def test_what_a_rule_reads_and_is_not_well_formed_denies(tmp_path: Path, effect: str) -> None:
    """Cedar would skip such a forbid: here it denies. Natively a header that is absent matches nothing."""
    conditions = (
        'context.purpose == "care"',
        "context.data_class > 3",
        'context.path like "/v1/*"',
        'context.method == "PUT"',
        'context.protocol like "*x*"',
        "context.stream",
    )
    text = '@id("any") permit(principal, action, resource);\n' + "\n".join(
        f'@id("f{number}") {effect}(principal, action, resource) when {{ {condition} }};'
        for number, condition in enumerate(conditions)
    )
    scene = Scene([text], [facts(random.Random(1), 0)], [])
    principal = principals(random.Random(2))
    request = replace(requests(random.Random(2), principal, scene.resources[0].key), purpose="research")
    request = replace(request, data_class=0, stream=False, method="GET", path="/x", source_ip=None)
    scene.asked.append((principal, [request]))
    ingress, egress = worlds_of([scene])
    odd = {
        "writ-purpose": ("a,b", "", "A"),
        "writ-data-class": ("5", "1,1", "03"),
        "writ-path": ("x",),
        "writ-stream": ("True", "true,false"),
        "writ-protocol": ("a,b",),
    }
    with running(ingress, egress, tmp_path) as ready:
        engine = await ready()
        for held, listener in ((ingress, "ingress"), (egress, "egress")):
            ((principal, (one,)),) = held[0].asked
            with Connections(engine, 0, held[0], principal) as to:
                assert to.decide(one).code is None
                headers = headers_of(one, held[0].peers)
                for name, values in odd.items():
                    without = {key: value for key, value in headers.items() if key != name}
                    assert to.ask(listener, one, "GET", "/", without).code is Code.UNEVALUABLE, name
                    for value in values:
                        wrong = {**headers, name: value}
                        twice = "," in value and name in listeners.CLAIMS
                        code = Code.CLAIM_NOT_ALLOWED if twice else Code.UNEVALUABLE
                        assert to.ask(listener, one, "GET", "/", wrong).code is code, (name, value)


# --- a mutant is found -----------------------------------------------------------------------------------------------


def unguarded(when: Expr) -> list[list[str]]:
    return [[text.removesuffix(",") for text in texts] for texts in certificate(when)]


def later(builder: cel.Builder, unix_ms: int) -> Any:
    return TRUE_MOMENT(builder, unix_ms + 10_000 * 3_600_000)


def no_rows(node: index.Node, act: index.Act, lost: Any) -> Any:
    return [row for row in TRUE_ROWS(node, act, lost) if not node.below]


certificate, TRUE_MOMENT, TRUE_ROWS = terms.certificate, cel.Builder.moment, index.Node.rows
MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "a method for another": (terms.HEADERS, Field.METHOD, "writ-protocol"),
    "attributes match by their beginning": (lower, "certificate", unguarded),
    "moments move": (cel.Builder, "moment", later),
    "the tree of prefixes loses its branches": (index.Node, "rows", no_rows),
    "forbids are permits": (
        authorize,
        "forbids",
        lambda rules, peers, stamp: TRUE_FORBIDS(Rules(rules=(), resources=rules.resources), peers, stamp),
    ),
    "any source is inside": (pb, "from_network", lambda *_: TRUE_NETWORK("0.0.0.0/0")),
}
TRUE_FORBIDS, TRUE_NETWORK = authorize.forbids, pb.from_network


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mutant_of_the_lowering_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, what, mutant = MUTANTS[name]
    (monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr)(where, what, mutant)
    assert await _found(tmp_path)


async def _found(folder: Path) -> bool:
    """Some mutants matter to few scenes: a group after the other is asked, until two answers differ."""
    for first in range(6000, 6480, 24):
        scenes = real_scenes(range(first, first + 24), (7, 40), callers=3, per_caller=10)
        ingress, egress = worlds_of(scenes)
        place = folder / str(first)
        place.mkdir()
        with running(ingress, egress, place) as ready:
            engine = await ready()
            try:
                envoy_agrees(engine, ingress)
            except DisagreementError:
                return True
    return False
