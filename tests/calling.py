"""Calls of tools, and policies that ask for their arguments: for Cedar, the evaluator and Envoy alike."""

import ipaddress
import random
from dataclasses import dataclass, replace

import cedarpy
from worlds import cedar_decisions, entities, facts, principals, requests

from policies import arguments, asking, parse
from policies.arguments import Arguments
from policies.compile import ResourceFacts, compile_egress, compile_ingress
from policies.model import Decision, Principal, Request, ResourceKey, Rules

NAMES = ("path", "pat", "mode", "fileName", "to-do")
VALUES = ("", "a", "/data/x", "/data/xy", "/etc/x", "x", " x ", "path=/data/x", "mode", "*", "a.b", "=")
PATTERNS = ("*", "/data/*", "*x", "*a*", "/*/x", "*=*", "", "*.*", "a*b", "\\**", "* *")


@dataclass
class Calls:
    """Policies about two tools, and calls of them."""

    text: str
    resources: list[ResourceFacts]
    principal: Principal
    asked: list[Request]

    def expected(self) -> list[Decision]:
        """Cedar's answers: it is told all arguments, as tags."""
        world = entities(
            self.principal, self.resources, calls=[one.arguments for one in self.asked if one.arguments]
        )
        return cedar_decisions(cedarpy.PolicySet.from_str(self.text), self.asked, world)

    def ingress(self) -> Rules:
        return compile_ingress(parse.load({"p": self.text}), self.resources)

    def egress(self) -> Rules:
        return compile_egress(parse.load({"p": self.text}), self.principal, self.resources)


def read(request: Request, rules: Rules) -> Request:
    """As a sidecar with these rules sees it: only what they ask for was looked for."""
    assert request.arguments is not None
    assert request.resource is not None
    names = asking.wanted(rules).get(request.resource.name, frozenset())
    given = tuple((name, value) for name, value in request.arguments.given if name in names)
    return replace(request, arguments=Arguments(given, names))


def calls(rng: random.Random, *, asked: int = 12) -> Calls:
    resources = [
        replace(facts(rng, 0), key=ResourceKey("Tool", f"t{number}", "n1.berlin"), node_groups=frozenset())
        for number in range(2)
    ]
    principal = replace(principals(rng), node="n9.paris", site="paris", jurisdiction="FR")
    here = ipaddress.IPv4Address("127.0.0.1")
    questions = []
    for _ in range(asked):
        one = requests(rng, principal, rng.choice(resources).key)
        given = {name: rng.choice(VALUES) for name in NAMES if rng.random() < 0.5}
        questions.append(replace(one, action="tool", source_ip=here, arguments=arguments.of(given)))
    text = "\n".join(_policy(rng, number) for number in range(rng.randint(1, 6)))
    return Calls(text, resources, principal, questions)


def _policy(rng: random.Random, number: int) -> str:
    effect = rng.choice(["permit", "permit", "forbid"])
    resource = rng.choice(["resource", 'resource == Tool::"t0@n1.berlin"'])
    when = " || ".join(_asked(rng) for _ in range(rng.randint(1, 3)))
    if rng.random() < 0.4:
        when = f"context.data_class < 3 && ({when})"
    word = rng.choice(["when", "when", "unless"])
    return f'@id("p{number}") {effect} (principal, action == Action::"tool", {resource}) {word} {{ {when} }};'


def _asked(rng: random.Random) -> str:
    name, value = rng.choice(NAMES), rng.choice(VALUES)
    has, got = f'context.arguments.hasTag("{name}")', f'context.arguments.getTag("{name}")'
    test = rng.choice(
        [
            f'{got} == "{value}"',
            f'{got} != "{value}"',
            f'{got} like "{rng.choice(PATTERNS)}"',
            f'["{value}", "{rng.choice(VALUES)}"].contains({got})',
            f'!({got} like "{rng.choice(PATTERNS)}")',
            f'{got} == (if context.stream then "{value}" else "x")',
            f'context.stream == ({got} == "{value}")',
        ]
    )
    return rng.choice(
        [has, f"!{has}", f"({has} && {test})", f"({has} && {test})", f"(if {has} then {test} else true)"]
    )
