"""What the compiler lets through, Envoy loads and decides, at every bound: a filter that is refused enforces nothing new."""

import ipaddress
import random
import time
from dataclasses import replace
from pathlib import Path

from agreement import Scene, envoy_agrees, worlds_of
from engine import running
from generated import Policies
from worlds import facts, principals, requests

from policies import grammar, parse
from policies.errors import PolicyError
from policies.model import Request

DIGITS = "0123456789abcdef"


def nested(leaf: str, levels: int) -> str:
    text = leaf
    for level in range(levels):
        text = f"({text} {'&&' if level % 2 else '||'} context.data_class == {level % 5})"
    return text


def deepest(leaf: str) -> str:
    """As deep as the compiler lets it be."""
    return next(text for levels in range(32, 0, -1) if compiles(text := nested(leaf, levels)))


def compiles(condition: str) -> bool:
    try:
        parse.load({"p": f'@id("a") permit(principal, action, resource) when {{ {condition} }};'})
    except PolicyError:
        return False
    return True


def at_the_bounds() -> list[str]:
    part = "x" * (grammar.MAX_PATTERN // (grammar.MAX_WILDCARDS + 1))
    pattern = "*".join([part] * (grammar.MAX_WILDCARDS + 1))
    long = "y" * 900
    words = ",".join(f'"{DIGITS[i]}234567"' for i in range(6))
    conditions = [
        f'context.path like "{pattern}"',
        f'context.path like "*{DIGITS}{DIGITS}*{DIGITS}" || context.path like "*{pattern.partition("*")[2]}"',
        f'principal.site like "{pattern}"',
        f'context.path like "{long}*{long}" || context.path like "*{long}*" || context.stream == (1 == context.data_class)',
        f"[{words}].containsAll(principal.purposes)",
        f"principal.regions == [{words}]",
        f'["{"w" * 48}"].containsAll(principal.regions)',
        deepest("principal.tier == 1"),
        deepest('context.path like "a*b*c"'),
        deepest('context.source_ip.isInRange(ip("127.0.0.0/8"))'),
        deepest("!context.source_ip.isLoopback()"),
        'context.now < datetime("9999-12-31T23:59:59.999Z") && context.now.toTime() >= duration("1ms")',
        'context.now.toTime() < duration("23h59m59s999ms")',
    ]
    return [
        f'@id("b{number:02}-{effect[0]}") {effect}(principal, action, resource) when {{ {condition} }};'
        for number, condition in enumerate(conditions)
        for effect in ("permit", "forbid")
    ]


def alike(count: int) -> list[str]:
    """As many groups as policies, with names that differ early, late, or only in length."""
    rng = random.Random(5)
    long = ["".join(rng.choices(DIGITS, k=48)) for _ in range(count // 2)]
    names = [
        *long,
        *("a" * length for length in range(1, 49)),
        *(f"g{n}" for n in range(count - len(long) - 48)),
    ]
    return [
        f'@id("g{number:05}") {"forbid" if number % 3 == 0 else "permit"}(principal in Group::"{name}", action, resource)'
        f" when {{ {rng.choice(conditions)} && context.data_class <= {rng.randint(0, 4)} }};"
        for number, name in enumerate(names)
        for conditions in (["principal.tier > 0", 'context.path like "/v*m*"', "context.stream", "true"],)
    ]


async def test_envoy_loads_and_decides_what_lies_at_the_bounds(tmp_path: Path) -> None:
    rng = random.Random(3)
    resources = [facts(rng, number) for number in range(3)]
    asked = []
    for _ in range(6):
        one = principals(rng)
        groups = one.groups | {"a" * rng.randint(1, 48), f"g{rng.randint(0, 200)}"}
        caller = replace(one, groups=groups)
        some = [requests(rng, caller, rng.choice(resources).key) for _ in range(20)]
        asked.append((caller, [replace(request, source_ip=None) for request in some]))
    sets = [[policy] for policy in at_the_bounds()] + [alike(600), alike(100) + Policies(rng).some(40)]
    scenes = [Scene(policies, resources, asked if len(policies) > 1 else asked[:2]) for policies in sets]
    scenes = [replace(scene, asked=[(who, _now(some)) for who, some in scene.asked]) for scene in scenes]
    ingress, egress = worlds_of(scenes)
    with running(ingress, egress, tmp_path) as ready:
        engine = await ready()
        total = envoy_agrees(engine, ingress).total + envoy_agrees(engine, egress).total
    assert total == 2 * (len(at_the_bounds()) * 40 + 2 * 120)


def _now(some: list[Request]) -> list[Request]:
    now_ms = int(time.time() * 1000)
    return [replace(request, now_ms=now_ms, source_ip=ipaddress.IPv4Address("127.0.0.1")) for request in some]
