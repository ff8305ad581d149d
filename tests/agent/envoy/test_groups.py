"""Groups in groups through a running Envoy: callers' certificates name only their own groups."""

import random
from pathlib import Path

from agreement import envoy_agrees
from engine import World, running, spiffe_id
from nesting import nest

from policies.evaluate import Evaluator


async def test_envoy_decides_as_cedar_does_with_the_real_hierarchy(tmp_path: Path) -> None:
    nests = [nest(random.Random(seed), asked=8) for seed in range(900, 930)]
    ingress, egress = [], []
    for one in nests:
        rules = one.ingress()
        assert [Evaluator(rules).decide(asked) for asked in one.asked] == one.expected()
        peers = {item.key.node: str(spiffe_id(item.key.node, item.jurisdiction)) for item in one.resources}
        ingress.append(World(rules, None, [(one.principal, one.asked)]))
        egress.append(World(one.egress(), peers, [(one.principal, one.asked)]))
    with running(ingress, egress, tmp_path) as ready:
        engine = await ready()
        callee, caller = envoy_agrees(engine, ingress), envoy_agrees(engine, egress)
    assert (callee.total, caller.total) == (240, 240)
    assert min(callee.codes.values()) >= 30, callee.codes
