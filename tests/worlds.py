"""A small world, random policies and random requests over it, and Cedar's own answer to them."""

import json
import random
from collections.abc import Sequence

import cedarpy

from policies import parse
from policies.compile import KINDS_OF, ResourceFacts
from policies.errors import PolicyError
from policies.model import (
    ACTION_GROUPS,
    ACTIONS,
    RESOURCE_KINDS,
    Code,
    Decision,
    Principal,
    Request,
    ResourceKey,
)

SITES = {"berlin": "DE", "paris": "FR", "ohio": "US"}
GROUPS = ("clinical", "edge", "research")
PURPOSES = ("care", "research", "billing")
REGIONS = ("de", "fr", "us")
OWNERS = ("radiology", "paris", "")


def principals(rng: random.Random) -> Principal:
    site = rng.choice(list(SITES))
    ceiling = rng.randint(0, 4)
    return Principal(
        node=f"{rng.choice(['n1', 'n2'])}.{site}",
        site=site,
        jurisdiction=SITES[site],
        tier=rng.randint(0, 4),
        groups=frozenset(rng.sample(GROUPS, rng.randint(0, 3))),
        purposes=frozenset(rng.sample(PURPOSES, rng.randint(1, 3))),
        regions=frozenset(rng.sample(REGIONS, rng.randint(0, 3))),
        class_floor=rng.randint(0, ceiling),
        class_ceiling=ceiling,
    )


def facts(rng: random.Random, number: int) -> ResourceFacts:
    site = rng.choice(list(SITES))
    return ResourceFacts(
        key=ResourceKey(
            kind=rng.choice(RESOURCE_KINDS), name=f"r{number}", node=f"n{rng.randint(1, 2)}.{site}"
        ),
        groups=frozenset(rng.sample(GROUPS, rng.randint(0, 2))),
        owner=rng.choice(OWNERS),
        max_class=rng.randint(0, 4),
        site=site,
        jurisdiction=SITES[site],
    )


def requests(rng: random.Random, principal: Principal, resource: ResourceKey) -> Request:
    return Request(
        principal=principal,
        action=rng.choice(sorted(action for action in ACTIONS if resource.kind in KINDS_OF[action])),
        resource=resource,
        purpose=rng.choice(sorted(principal.purposes)),
        data_class=rng.randint(principal.class_floor, principal.class_ceiling),
        subject_region=rng.choice(sorted(principal.regions)) if principal.regions else None,
        protocol=rng.choice(["openai", "http"]),
        method=rng.choice(["GET", "POST"]),
        path=rng.choice(["/v1/models", "/v1/chat/completions", "/x*y"]),
        stream=rng.choice([True, False]),
    )


class Policies:
    """Random policies: mostly plain ones that decide something, some with every construct."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.refused = 0

    def text(self, count: int) -> str:
        """Only what can be applied: the rest is refused, which other tests look at."""
        found: list[str] = []
        while len(found) < count:
            policy = self.policy(len(found))
            try:
                parse.load({"p": policy})
            except PolicyError:
                self.refused += 1
                continue
            found.append(policy)
        return "\n".join(found)

    def policy(self, number: int) -> str:
        effect = "forbid" if self.rng.random() < 0.4 else "permit"
        clauses = "".join(
            f" {self.rng.choice(['when', 'when', 'unless'])} {{ {self.boolean(self.rng.randint(0, 4))} }}"
            for _ in range(self.rng.choice([0, 1, 1, 1, 2]))
        )
        head = f"{self.principal()}, {self.action()}, {self.resource()}"
        return f'@id("p{number:04}") @reason("r{number}") {effect} ({head}){clauses};'

    def principal(self) -> str:
        if self.rng.random() < 0.5:
            return "principal"
        return self.rng.choice(
            [f"principal {self.above()}", "principal is Node", f"principal is Node in {self.ancestor()}"]
        )

    def above(self) -> str:
        return f"== {self.node()}" if self.rng.random() < 0.2 else f"in {self.ancestor()}"

    def node(self) -> str:
        return f'Node::"{self.rng.choice(["n1", "n2"])}.{self.rng.choice(list(SITES))}"'

    def ancestor(self) -> str:
        rng = self.rng
        odd = [
            'Group::"clinical,OU=tier:4"',
            'Site::"BERLIN"',
            'Jurisdiction::"de"',
            'Node::"n1"',
            'Group::""',
        ]
        return rng.choice(
            [f'Group::"{rng.choice(GROUPS)}"'] * 3
            + [f'Site::"{rng.choice(list(SITES))}"', f'Jurisdiction::"{rng.choice(list(SITES.values()))}"']
            + [self.node(), rng.choice(odd)]
        )

    def action(self) -> str:
        rng = self.rng
        names = sorted({*ACTIONS, *ACTION_GROUPS})
        some = ", ".join(f'Action::"{name}"' for name in rng.sample(names, rng.randint(1, 4)))
        return rng.choice(
            ["action"] * 4
            + [f"action in [{some}]"] * 3
            + [f'action == Action::"{rng.choice(sorted(ACTIONS))}"']
        )

    def resource(self) -> str:
        rng, kind = self.rng, self.rng.choice(RESOURCE_KINDS)
        return rng.choice(
            ["resource"] * 5
            + [f"resource is {kind}", f'resource in {kind}Group::"{rng.choice(GROUPS)}"']
            + [f'resource in Site::"{rng.choice(list(SITES))}"', f"resource in {self.node()}"]
            + [f'resource is {kind} in {kind}Group::"{rng.choice(GROUPS)}"']
            + [f'resource == {kind}::"r{rng.randint(0, 5)}@{rng.choice(["n1", "n2"])}.paris"']
        )

    def boolean(self, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.2:
            return self.leaf()
        a, b = self.boolean(depth - 1), self.boolean(depth - 1)
        return self.rng.choice(
            [
                f"({a} && {b})",
                f"({a} || {b})",
                f"!({a})",
                f"({a}) == ({b})",
                f"({a}) != ({b})",
                f"(if {a} then {b} else {self.boolean(depth - 1)})",
            ]
        )

    def leaf(self) -> str:
        return self.rng.choice(
            [self.strings, self.strings, self.digits, self.digits, self.sets, self.entities, self.rest]
        )()

    def string(self) -> tuple[str, str, str]:
        """A string of the request, and two literals that it may equal."""
        rng = self.rng
        field, values = rng.choice(
            [
                ("principal.site", tuple(SITES)),
                ("principal.jurisdiction", tuple(SITES.values())),
                ("context.purpose", PURPOSES),
                ("context.protocol", ("openai", "http")),
                ("context.method", ("GET", "POST")),
                ("context.path", ("/v1/models", "/x*y")),
                ("resource.site", tuple(SITES)),
                ("resource.owner", OWNERS),
                ("resource.name", ("r0", "r1")),
            ]
        )
        first, second = rng.choice([*values, "odd,OU=x"]), rng.choice(values)
        return field, f'"{first}"', f'"{second}"'

    def strings(self) -> str:
        field, first, second = self.string()
        other = self.rng.choice(["resource.site", "resource.jurisdiction", "resource.owner"])
        pattern = self.rng.choice(
            ["*", "p*", "*s", "*a*i*", "/v1/*", "/x\\*y", "**e", "r*0", "*r*r*", "", "GET"]
        )
        region = self.rng.choice(
            [
                'context.subject_region == "fr"',
                "principal.regions.contains(context.subject_region)",
                "true",
                '["us", "de"].contains(context.subject_region)',
                'context.subject_region like "*r"',
            ]
        )
        return self.rng.choice(
            [
                f"{field} == {first}",
                f"{second} != {field}",
                f"[{first}, {second}].contains({field})",
                f"{field} == {other}",
                f'{field} like "{pattern}"',
                f"{field} == {field}",
                f"(context has subject_region && {region})",
                f"(if context has subject_region then {region} else {first} == {second})",
            ]
        )

    def digits(self) -> str:
        rng = self.rng
        fields = ["principal.tier", "principal.class_ceiling", "context.data_class", "resource.max_class"]
        other = rng.choice([*fields, *(str(digit) for digit in (-1, 0, 1, 2, 3, 4, 5, 9223372036854775807))])
        pair = [rng.choice(fields), other]
        rng.shuffle(pair)
        return f"{pair[0]} {rng.choice(['==', '!=', '<', '<=', '>', '>='])} {pair[1]}"

    def sets(self) -> str:
        rng = self.rng
        field, words = rng.choice([("principal.purposes", PURPOSES), ("principal.regions", REGIONS)])
        some = ", ".join(f'"{word}"' for word in rng.sample([*words, "odd,"], rng.randint(1, 3)))
        return rng.choice(
            [
                f'{field}.contains("{rng.choice(words)}")',
                f"{field}.containsAll([{some}])",
                f"{field}.containsAny([{some}])",
                f"[{some}].containsAny({field})",
                "principal.purposes.contains(context.purpose)",
                f"{field}.contains(resource.site)",
                f"[1, {rng.randint(0, 4)}].contains(context.data_class)",
                f"[{some}].containsAll([{some}])",
            ]
        )

    def entities(self) -> str:
        rng, kind = self.rng, self.rng.choice(RESOURCE_KINDS)
        name = rng.choice(sorted({*ACTIONS, *ACTION_GROUPS}))
        return rng.choice(
            [
                f"principal {self.above()}",
                f"principal == {self.node()}",
                "principal == resource",
                f"principal in [{self.node()}, {self.node()}]",
                "resource in principal",
                "principal in resource",
                f"resource is {kind}",
                f'resource in {kind}Group::"{rng.choice(GROUPS)}"',
                "principal is Node",
                f"resource in [{self.node()}]",
                'resource in Jurisdiction::"FR"',
                "principal is Node in principal",
                f'action == Action::"{name}"',
                f'action in [Action::"{name}", Action::"chat"]',
                "action in action",
            ]
        )

    def rest(self) -> str:
        return self.rng.choice(
            [
                "context.stream",
                "context.stream == true",
                "true",
                "false",
                "context has subject_region",
                "principal has tier",
                "principal has nothing",
                "context has now",
                "resource has owner",
                "1 < 2",
                '"a" like "*a"',
                "context.stream == (context.data_class < 2)",
            ]
        )


def entities(principal: Principal, resources: Sequence[ResourceFacts]) -> cedarpy.Entities:
    """The world as Cedar wants it; `principal` is one of its nodes."""
    nodes = {item.key.node for item in resources} | {principal.node}
    found = [
        _entity("Node", node, {}, [("Site", node.split(".")[1]), ("Jurisdiction", SITES[node.split(".")[1]])])
        for node in sorted(nodes - {principal.node})
    ]
    found.append(
        _entity(
            "Node",
            principal.node,
            {
                "site": principal.site,
                "jurisdiction": principal.jurisdiction,
                "tier": principal.tier,
                "purposes": sorted(principal.purposes),
                "regions": sorted(principal.regions),
                "class_ceiling": principal.class_ceiling,
            },
            [("Site", principal.site), ("Jurisdiction", principal.jurisdiction)]
            + [("Group", group) for group in sorted(principal.groups)],
        )
    )
    for item in resources:
        attributes = {
            "name": item.key.name,
            "site": item.site,
            "jurisdiction": item.jurisdiction,
            "owner": item.owner,
            "max_class": item.max_class,
        }
        parents = [
            ("Node", item.key.node),
            *((f"{item.key.kind}Group", group) for group in sorted(item.groups)),
        ]
        found.append(_entity(item.key.kind, item.key.uid, attributes, parents))
    for group, members in ACTION_GROUPS.items():
        found += [_entity("Action", member, {}, [("Action", group)]) for member in members]
    return cedarpy.Entities.from_json_str(json.dumps(found))


def _entity(
    kind: str, id_: str, attrs: dict[str, object], parents: list[tuple[str, str]]
) -> dict[str, object]:
    return {
        "uid": {"type": kind, "id": id_},
        "attrs": attrs,
        "parents": [{"type": parent, "id": name} for parent, name in parents],
    }


def cedar_request(request: Request) -> dict[str, object]:
    assert request.resource is not None
    context: dict[str, object] = {
        "purpose": request.purpose,
        "data_class": request.data_class,
        "protocol": request.protocol,
        "method": request.method,
        "path": request.path,
        "stream": request.stream,
        "now": {"__extn": {"fn": "datetime", "arg": "2026-01-01"}},
        "source_ip": {"__extn": {"fn": "ip", "arg": "192.0.2.1"}},
    }
    if request.subject_region is not None:
        context["subject_region"] = request.subject_region
    return {
        "principal": {"type": "Node", "id": request.principal.node},
        "action": {"type": "Action", "id": request.action},
        "resource": {"type": request.resource.kind, "id": request.resource.uid},
        "context": context,
    }


def cedar_decisions(text: str, asked: Sequence[Request], world: cedarpy.Entities) -> list[Decision]:
    """Cedar's answers in our words. Its forbids that err are skipped by it and deny with us (invariant 6)."""
    policies = cedarpy.PolicySet.from_str(text)
    answers = cedarpy.is_authorized_batch([cedar_request(item) for item in asked], policies, world)
    return [_decision(answer) for answer in answers]


def _decision(answer: cedarpy.AuthzResult) -> Decision:
    # Validated policies do not err, so that invariant 6 never has to speak here.
    assert answer.diagnostics.errors == []
    because = tuple(sorted(answer.diagnostics.id_annotations_by_reason.values()))
    if answer.allowed:
        return Decision(code=None, because=because)
    return Decision(code=Code.FORBIDDEN if because else Code.NO_PERMIT, because=because)
