"""Three engines on the same questions: Cedar, the evaluator of compiled rules, a running Envoy.

One difference is stated, not found (invariant 6): Cedar skips a forbid that cannot be evaluated, we deny. Validated policies
do not err on complete requests, so that every other difference is a defect. A disagreement is reduced to the policies that
it needs before it is shown.
"""

import ipaddress
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cedarpy
from engine import Connections, Engine, World, same, spiffe_id
from generated import Policies
from worlds import MOMENTS, cedar_decisions, entities, facts, principals, requests

from policies import codec, parse
from policies.compile import ResourceFacts, compile_egress, compile_ingress
from policies.documents import RulesBlob
from policies.evaluate import Evaluator
from policies.model import Code, Decision, Principal, Request, ResourceKey, Rules
from policies.requests import classify
from policies.table import TABLE

BODY_ACTIONS = {row.action: row.path for row in TABLE if row.field == "model" and row.method == "POST"}
LOOPBACK = ("127.0.0.1", "127.1.2.3", "127.1.2.2")


class DisagreementError(AssertionError):
    """Two engines answered one question differently."""


@dataclass
class Shares:
    """What was compared. Denials alone would prove little."""

    codes: Counter[Code | None] = field(default_factory=Counter)
    by_body: int = 0

    def count(self, decision: Decision, *, by_body: bool) -> None:
        self.codes[decision.code] += 1
        self.by_body += by_body

    def add(self, other: "Shares") -> None:
        self.codes.update(other.codes)
        self.by_body += other.by_body

    @property
    def total(self) -> int:
        return sum(self.codes.values())

    def check(self) -> None:
        shares = f"{self.total} decisions: {dict(self.codes)}, {self.by_body} decided by the body"
        print(shares)  # noqa: T201 - how much was compared is part of the result
        assert self.codes[None] >= self.total / 4, shares
        assert self.codes[Code.FORBIDDEN] >= self.total / 4, shares
        assert self.by_body >= self.total / 10, shares


@dataclass
class Scene:
    """One policy set over one small world, and what is asked in it."""

    policies: list[str]
    resources: list[ResourceFacts]
    asked: list[tuple[Principal, list[Request]]]

    @property
    def text(self) -> str:
        return "\n".join(self.policies)


def scene(
    rng: random.Random,
    *,
    policies: int,
    callers: int,
    per_caller: int,
    moments: Sequence[int] = MOMENTS,
    sources: Sequence[str] = (),
    now_ms: int | None = None,
) -> Scene:
    """`sources`, `now_ms`: where a real connection can come from, and when."""
    resources = [facts(rng, number) for number in range(6)]
    asked = []
    for _ in range(callers):
        principal = principals(rng)
        some = [_request(rng, principal, resources) for _ in range(per_caller)]
        if now_ms is not None:
            some = [replace(one, now_ms=now_ms, source_ip=_address(rng, sources)) for one in some]
        asked.append((principal, some))
    return Scene(Policies(rng, moments).some(policies), resources, asked)


def _address(rng: random.Random, sources: Sequence[str]) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(rng.choice(sources))


def _request(rng: random.Random, principal: Principal, resources: Sequence[ResourceFacts]) -> Request:
    """Most name a model in their body, as an application would send it."""
    models = [item.key for item in resources if item.key.kind == "Model"]
    if not models or rng.random() < 0.35:
        return requests(rng, principal, rng.choice(resources).key)
    request = requests(rng, principal, rng.choice(models))
    action = rng.choice(sorted(BODY_ACTIONS))
    made = replace(request, action=action, method="POST", path=BODY_ACTIONS[action])
    read = classify("POST", made.path, body_of(made), {"content-type": "application/json"})
    assert request.resource is not None
    assert (read.action, read.kind, read.name) == (action, "Model", request.resource.name)
    return replace(made, protocol=read.protocol, stream=read.stream)


def body_of(request: Request) -> bytes:
    assert request.resource is not None
    return json.dumps({"model": request.resource.name, "stream": request.stream, "messages": []}).encode()


def named_in_body(request: Request) -> bool:
    asked = (request.protocol, request.method, request.path)
    return asked == ("openai", "POST", BODY_ACTIONS.get(request.action))


def decided_by_body(
    evaluator: Evaluator, request: Request, decision: Decision, others: Sequence[ResourceKey]
) -> bool:
    """Another model named in the same body would have been answered otherwise."""
    if not named_in_body(request):
        return False
    models = [one for one in others if one.kind == "Model" and one != request.resource]
    return any(evaluator.decide(replace(request, resource=other)) != decision for other in models[:2])


def sent(rules: Rules) -> Rules:
    """As the node gets them: through the codec."""
    blob = RulesBlob(ingress=rules, egress=rules, served=())
    return codec.load_rules(codec.dump_rules(blob)).egress


# --- Cedar and the evaluator -----------------------------------------------------------------------------------------


def evaluator_agrees(scene: Scene) -> Shares:
    """Every question of a scene, at both ends; raises DisagreementError, reduced."""
    shares = Shares()
    parsed = parse.load({"p.cedar": scene.text})
    callee = Evaluator(sent(compile_ingress(parsed, scene.resources)))
    keys = [item.key for item in scene.resources]
    prepared = cedarpy.PolicySet.from_str(scene.text)
    for principal, asked in scene.asked:
        egress = compile_egress(parsed, principal, scene.resources)
        caller = Evaluator(sent(egress))
        world = entities(principal, scene.resources)
        for request, expected in zip(asked, cedar_decisions(prepared, asked, world), strict=True):
            decided = callee.decide(request)
            if decided != expected:
                raise _reduced(scene, principal, request, "callee", decided, expected)
            at_caller = caller.decide(request)
            if not _caller_agrees(scene, egress, request, at_caller, expected):
                raise _reduced(scene, principal, request, "caller", at_caller, expected)
            by_body = decided_by_body(callee, request, decided, keys)
            shares.count(decided, by_body=by_body)
    return shares


def _caller_agrees(
    scene: Scene, egress: Rules, request: Request, decided: Decision, expected: Decision
) -> bool:
    """A caller's sidecar does not know the address that its peer will see: it lets pass what some address would allow."""
    if "source_ip" in scene.text:
        return decided.allowed or not expected.allowed
    if request.resource not in egress.resources:
        return not expected.allowed
    return decided == expected


def _reduced(
    scene: Scene, principal: Principal, request: Request, end: str, found: Decision, expected: Decision
) -> DisagreementError:
    """The same disagreement with as few policies as still show it."""

    def differs(policies: list[str]) -> bool:
        parsed = parse.load({"p": "\n".join(policies)})
        compiled = (
            compile_ingress(parsed, scene.resources)
            if end == "callee"
            else compile_egress(parsed, principal, scene.resources)
        )
        alone = cedarpy.PolicySet.from_str("\n".join(policies))
        (cedar,) = cedar_decisions(alone, [request], entities(principal, scene.resources))
        return Evaluator(compiled).decide(request).allowed != cedar.allowed

    return DisagreementError(
        f"{end}: {found}, Cedar: {expected}\n{request}\n" + "\n".join(reduce(scene.policies, differs))
    )


def reduce(policies: list[str], differs: Callable[[list[str]], bool]) -> list[str]:
    """Leave out one policy after another as long as it still differs."""
    kept = list(policies)
    for policy in policies:
        fewer = [one for one in kept if one is not policy]
        if fewer and differs(fewer):
            kept = fewer
    return kept


# --- Envoy and the evaluator -----------------------------------------------------------------------------------------


def real_scenes(seeds: range, sizes: Sequence[int], *, callers: int, per_caller: int) -> list[Scene]:
    """Scenes for real connections: now is now, and comes no boundary closer than half an hour."""
    now_ms = int(time.time() * 1000)
    hours = (-400, -27, -7, -1, 1, 3, 9, 25, 9000)
    moments = [now_ms + hour * 3_600_000 + 1_800_000 for hour in hours]
    return [
        scene(
            random.Random(seed),
            policies=sizes[seed % len(sizes)],
            callers=callers,
            per_caller=per_caller,
            moments=moments,
            sources=LOOPBACK,
            now_ms=now_ms,
        )
        for seed in seeds
    ]


def worlds_of(scenes: Sequence[Scene]) -> tuple[list[World], list[World]]:
    """As callees hold them, and as each of their callers does."""
    ingress, egress = [], []
    for one in scenes:
        parsed = parse.load({"p.cedar": one.text})
        peers = {item.key.node: str(spiffe_id(item.key.node, item.jurisdiction)) for item in one.resources}
        ingress.append(World(compile_ingress(parsed, one.resources), None, one.asked))
        for principal, asked in one.asked:
            rules = compile_egress(parsed, principal, one.resources)
            egress.append(World(rules, peers, [(principal, asked)]))
    return ingress, egress


def envoy_agrees(engine: Engine, held: Sequence[World]) -> Shares:
    """Every question of every world; raises DisagreementError."""
    shares = Shares()
    for number, world in enumerate(held):
        evaluator = Evaluator(world.rules)
        keys = sorted(world.rules.resources)
        for principal, asked in world.asked:
            with Connections(engine, number, world, principal) as to:
                for request in asked:
                    expected = evaluator.decide(request)
                    through_body = world.peers is None and named_in_body(request)
                    verdict = (
                        to.decide_body(request, body_of(request)) if through_body else to.decide(request)
                    )
                    if not same(verdict, expected):
                        raise DisagreementError(
                            f"Envoy: {verdict}, evaluator: {expected}\n{request}\n{world.rules}"
                        )
                    by_body = through_body and decided_by_body(evaluator, request, expected, keys)
                    shares.count(expected, by_body=by_body)
    return shares
