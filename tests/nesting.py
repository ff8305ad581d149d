"""A small world with groups in groups: Cedar is told the real hierarchy, our engines what is made of it."""

import ipaddress
import random
from dataclasses import dataclass, replace

import cedarpy
from worlds import cedar_decisions, entities, facts, principals, requests

from policies import hierarchy, parse
from policies.compile import ResourceFacts, compile_egress, compile_ingress
from policies.model import Decision, Principal, Request, Rules

KINDS = ("Group", "ModelGroup")
NAMES = ("a", "ab", "b", "c", "d", "e")


@dataclass
class Nest:
    """One hierarchy, policies that ask for its groups, and requests in it."""

    parents: dict[hierarchy.Group, frozenset[str]]
    text: str
    resources: list[ResourceFacts]
    principal: Principal
    asked: list[Request]

    @property
    def groups(self) -> hierarchy.Hierarchy:
        return hierarchy.read(self.parents)

    def expected(self) -> list[Decision]:
        """Cedar's own answers, by its own `in`."""
        known = cedarpy.PolicySet.from_str(self.text)
        world = entities(self.principal, self.resources, self.parents)
        return cedar_decisions(known, self.asked, world)

    def ingress(self) -> Rules:
        policies = self.groups.spelled_out(parse.load({"p": self.text}))
        return compile_ingress(policies, list(map(self.groups.resource, self.resources)))

    def egress(self) -> Rules:
        policies = self.groups.spelled_out(parse.load({"p": self.text}))
        remote = list(map(self.groups.resource, self.resources))
        return compile_egress(policies, self.groups.caller(self.principal), remote)


def nest(rng: random.Random, *, asked: int = 12) -> Nest:
    """Groups are only in later ones, so that there is no cycle."""
    parents = {
        (kind, name): frozenset(up for up in NAMES[place + 1 :] if rng.random() < 0.35)
        for kind in KINDS
        for place, name in enumerate(NAMES)
    }
    resources = []
    for number in range(4):
        one = replace(facts(rng, number % 3), groups=_some(rng), node_groups=frozenset())
        resources.append(replace(one, key=replace(one.key, name=f"r{number}")))
    principal = replace(
        principals(rng), node="n9.berlin", site="berlin", jurisdiction="DE", groups=_some(rng)
    )
    here = ipaddress.IPv4Address("127.0.0.1")
    questions = [
        replace(requests(rng, principal, rng.choice(resources).key), source_ip=here) for _ in range(asked)
    ]
    text = "\n".join(_policy(rng, number) for number in range(rng.randint(2, 6)))
    return Nest(parents, text, resources, principal, questions)


def _some(rng: random.Random) -> frozenset[str]:
    return frozenset(rng.sample(NAMES, rng.randint(0, 2)))


def _policy(rng: random.Random, number: int) -> str:
    effect = rng.choice(["permit", "permit", "forbid"])
    scope = rng.choice([f"principal in {_group(rng)}", f"principal is Node in {_group(rng)}", "principal"])
    resource = rng.choice([f'resource in ModelGroup::"{rng.choice(NAMES)}"', "resource"])
    when = rng.choice(
        [
            f"principal in [{_group(rng)}, {_group(rng)}]",
            f"!(principal in {_group(rng)})",
            f"principal in (if context.stream then {_group(rng)} else {_group(rng)})",
            f'resource in [ModelGroup::"{rng.choice(NAMES)}", ModelGroup::"{rng.choice(NAMES)}"]',
            f"principal in {_group(rng)} || context.data_class < 2",
        ]
    )
    condition = f" when {{ {when} }}" if rng.random() < 0.6 else ""
    return f'@id("p{number}") {effect} ({scope}, action, {resource}){condition};'


def _group(rng: random.Random) -> str:
    return f'Group::"{rng.choice(NAMES)}"'
