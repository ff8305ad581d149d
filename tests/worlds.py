"""A small world, random requests in it, and Cedar's own answer to them."""

import ipaddress
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

import cedarpy

from policies.arguments import NONE, Arguments
from policies.compile import KINDS_OF, ResourceFacts
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

Groups = Mapping[tuple[str, str], frozenset[str]]
SITES = {"berlin": "DE", "paris": "FR", "ohio": "US"}
GROUPS = (
    "clin",
    "clinical",
    "edge",
)  # one the beginning of another: a test that looks too short confuses them
NODE_GROUPS = {
    f"n{number}.{site}": frozenset(
        group for bit, group in enumerate(GROUPS) if (3 * number + place) >> bit & 1
    )
    for number in (1, 2)
    for place, site in enumerate(SITES)
}
"""Of nodes that serve; others have any."""
PURPOSES = ("care", "careful", "research")
REGIONS = ("de", "fr", "us")
OWNERS = ("radiology", "paris", "")
SOURCES = ("127.0.0.1", "127.1.2.3", "10.0.0.1", "192.0.2.7", "::1", "2001:db8::1")
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
MOMENTS = tuple(NOW_MS + hours * HOUR_MS for hours in (-400, -26, -7, -1, 0, 3, 9, 25, 9000))


def principals(rng: random.Random) -> Principal:
    site = rng.choice(list(SITES))
    ceiling = rng.randint(0, 4)
    node = f"{rng.choice(['n1', 'n2', 'n3', 'n4'])}.{site}"
    return Principal(
        node=node,
        site=site,
        jurisdiction=SITES[site],
        tier=rng.randint(0, 4),
        groups=NODE_GROUPS.get(node, frozenset(rng.sample(GROUPS, rng.randint(0, 3)))),
        purposes=frozenset(rng.sample(PURPOSES, rng.randint(1, 3))),
        regions=frozenset(rng.sample(REGIONS, rng.randint(0, 3))),
        class_floor=rng.randint(0, ceiling),
        class_ceiling=ceiling,
    )


def facts(rng: random.Random, number: int) -> ResourceFacts:
    site = rng.choice(list(SITES))
    node = f"n{rng.randint(1, 2)}.{site}"
    # Several models, so that what a body names can decide.
    return ResourceFacts(
        key=ResourceKey(
            kind="Model" if number < 3 else rng.choice(RESOURCE_KINDS), name=f"r{number}", node=node
        ),
        groups=frozenset(rng.sample(GROUPS, rng.randint(0, 2))),
        owner=rng.choice(OWNERS),
        max_class=rng.randint(0, 4),
        site=site,
        jurisdiction=SITES[site],
        node_groups=NODE_GROUPS[node],
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
        now_ms=rng.choice(MOMENTS) + rng.choice([-1, 0, 1, 12_345_678]),
        source_ip=ipaddress.ip_address(rng.choice(SOURCES)),
    )


def moment(ms: int) -> str:
    """A Cedar datetime."""
    text = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03}Z"


def entities(
    principal: Principal,
    resources: Sequence[ResourceFacts],
    groups: Groups = MappingProxyType({}),
    calls: Iterable[Arguments] = (),
) -> cedarpy.Entities:
    """The world as Cedar wants it; `principal` is one of its nodes. `groups`: what each is directly in; `calls`: what
    arguments there are.
    """
    nodes = {item.key.node for item in resources} | {principal.node}
    found = [
        _entity(
            "Node",
            node,
            {},
            [("Site", node.split(".")[1]), ("Jurisdiction", SITES[node.split(".")[1]])]
            + [("Group", group) for group in sorted(NODE_GROUPS[node])],
        )
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
    for (kind, name), above in groups.items():
        found.append(_entity(kind, name, {}, [(kind, up) for up in sorted(above)]))
    for call in dict.fromkeys(calls):
        found.append({**_entity("Arguments", _call_id(call), {}, []), "tags": dict(call.given)})
    return cedarpy.Entities.from_json_str(json.dumps(found))


def _call_id(call: Arguments) -> str:
    return json.dumps(call.given)


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
        "now": {"__extn": {"fn": "datetime", "arg": moment(request.now_ms or 0)}},
        "source_ip": {"__extn": {"fn": "ip", "arg": str(request.source_ip or "127.0.0.1")}},
    }
    if request.subject_region is not None:
        context["subject_region"] = request.subject_region
    if request.action == "tool":
        call = _call_id(request.arguments or NONE)
        context["arguments"] = {"__entity": {"type": "Arguments", "id": call}}
    return {
        "principal": {"type": "Node", "id": request.principal.node},
        "action": {"type": "Action", "id": request.action},
        "resource": {"type": request.resource.kind, "id": request.resource.uid},
        "context": context,
    }


def cedar_decisions(
    policies: cedarpy.PolicySet, asked: Sequence[Request], world: cedarpy.Entities
) -> list[Decision]:
    """Cedar's answers in our words. Its forbids that err are skipped by it and deny with us (invariant 6)."""
    answers = cedarpy.is_authorized_batch([cedar_request(item) for item in asked], policies, world)
    return [_decision(answer) for answer in answers]


def _decision(answer: cedarpy.AuthzResult) -> Decision:
    # Validated policies do not err, so that invariant 6 never has to speak here.
    assert answer.diagnostics.errors == []
    because = tuple(sorted(answer.diagnostics.id_annotations_by_reason.values()))
    if answer.allowed:
        return Decision(code=None, because=because)
    return Decision(code=Code.FORBIDDEN if because else Code.NO_PERMIT, because=because)
