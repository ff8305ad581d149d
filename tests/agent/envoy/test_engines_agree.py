"""A running Envoy and the evaluator of compiled rules answer every request alike: same verdict, same policy."""

from pathlib import Path

from agreement import Shares, envoy_agrees, real_scenes, worlds_of
from engine import Connections, headers_of, running

from policies.model import Code


async def agree(directory: Path, seeds: range, *, callers: int, per_caller: int) -> Shares:
    sizes = (1, 4, 7, 12, 40, 200)
    ingress, egress = worlds_of(real_scenes(seeds, sizes, callers=callers, per_caller=per_caller))
    with running(ingress, egress, directory) as ready:
        engine = await ready()
        shares = envoy_agrees(engine, ingress)
        shares.check()
        shares.add(envoy_agrees(engine, egress))
    return shares


async def test_envoy_and_rules_agree(tmp_path: Path) -> None:
    shares = await agree(tmp_path, range(5000, 5024), callers=4, per_caller=8)
    assert shares.total == 2 * 24 * 4 * 8


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
