"""A running Envoy and the evaluator of compiled rules answer every request alike: same verdict, same policy.

One Envoy holds many random worlds as routes. At ingress the caller is a real certificate over mTLS; at egress it is folded
into the rules. What the classifier writes comes from the test, so that any request can be asked.
"""

import http.client
import json
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from google.protobuf import json_format
from pki import TD, Leaf, Pki
from sidecar import tls
from worlds import Policies, facts, principals, requests

from agent import identity
from agent.envoy import authorize, pb, process
from agent.envoy.actions import Stamp, Verdict, parse
from certs import keys, spiffe
from certs.attributes import Attributes
from policies import parse as cedar
from policies.compile import compile_egress, compile_ingress
from policies.evaluate import Evaluator
from policies.model import Code, Decision, Principal, Request, Rules

TYPE = "type.googleapis.com/envoy.extensions."
STAMP = Stamp(generation=41, policy_version=3)
NAME = "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%"
DENIED = "rbac_access_denied_matched_policy["


@dataclass
class World:
    """Rules as one sidecar holds them, and who asks it what. `peers` None: ingress."""

    rules: Rules
    peers: dict[str, str] | None
    asked: list[tuple[Principal, list[Request]]] = field(default_factory=list)


@dataclass
class Engine:
    """A running Envoy: world *i* of either direction is behind the header `x-world: i`."""

    pki: Pki
    ports: dict[str, int]


def worlds(seeds: range, *, policies: int, callers: int, per_caller: int) -> tuple[list[World], list[World]]:
    """Random policies, compiled as for a callee and as for each of its callers."""
    ingress, egress = [], []
    for seed in seeds:
        rng = random.Random(seed)
        parsed = cedar.load({"p.cedar": Policies(rng).text(policies)})
        resources = [facts(rng, number) for number in range(6)]
        peers = {item.key.node: str(spiffe_id(item.key.node, item.jurisdiction)) for item in resources}
        callee = World(compile_ingress(parsed, resources), None)
        for _ in range(callers):
            principal = principals(rng)
            asked = [requests(rng, principal, rng.choice(resources).key) for _ in range(per_caller)]
            callee.asked.append((principal, asked))
            egress.append(World(compile_egress(parsed, principal, resources), peers, [(principal, asked)]))
        ingress.append(callee)
    return ingress, egress


def spiffe_id(node: str, jurisdiction: str) -> spiffe.SpiffeId:
    name, _, site = node.partition(".")
    return spiffe.node_id(TD, jurisdiction, site, name)


def leaf_of(pki: Pki, principal: Principal) -> Leaf:
    attributes = Attributes(
        tier=principal.tier,
        groups=principal.groups,
        purposes=principal.purposes,
        regions=principal.regions,
        class_floor=principal.class_floor,
        class_ceiling=principal.class_ceiling,
    )
    name, _, site = principal.node.partition(".")
    return pki.node(name, site, principal.jurisdiction, attributes)


# --- one Envoy -----------------------------------------------------------------------------------------------------


def any_of(rbac: RBAC) -> dict[str, Any]:
    """As a route's own configuration of an RBAC filter."""
    return json_format.MessageToDict(pb.packed(RBACPerRoute(rbac=rbac)), preserving_proto_field_name=True)


def route(number: int, world: World) -> dict[str, Any]:
    return {
        "match": {"prefix": "/", "headers": [{"name": "x-world", "string_match": {"exact": str(number)}}]},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": {"key": "x-decided", "value": NAME}}],
        "typed_per_filter_config": {
            "forbids": any_of(authorize.forbids(world.rules, world.peers, STAMP)),
            "permits": any_of(authorize.permits(world.rules, world.peers, STAMP)),
        },
    }


def listener(name: str, held: Sequence[World], transport: dict[str, Any]) -> dict[str, Any]:
    empty = {"@type": TYPE + "filters.http.rbac.v3.RBAC"}
    router = {"@type": TYPE + "filters.http.router.v3.Router"}
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [route(i, one) for i, one in enumerate(held)]}
            ]
        },
        "http_filters": [
            {"name": "forbids", "typed_config": empty},
            {"name": "permits", "typed_config": empty},
            {"name": "router", "typed_config": router},
        ],
        "local_reply_config": {
            "body_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE_DETAILS%"}}
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": address, "filter_chains": [{"filters": filters, **transport}]}


def mutual(pki: Pki) -> dict[str, Any]:
    leaf = pki.node("gpu-1", "berlin", "DE", Attributes(class_ceiling=4))
    pair = {
        "certificate_chain": {"inline_string": identity.pem(leaf.der).decode()},
        "private_key": {"inline_string": keys.dump_private(leaf.key, None).decode()},
    }
    trusted = {"trusted_ca": {"inline_string": identity.pem(pki.node_ca).decode()}}
    config = {
        "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {"tls_certificates": [pair], "validation_context": trusted},
    }
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": config}}


@contextmanager
def running(
    ingress: Sequence[World], egress: Sequence[World], directory: Path
) -> Iterator[Callable[[], Any]]:
    """Yields a coroutine function that returns the engine once it listens."""
    pki = Pki(now=int(time.time()))
    document = {
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock")}}},
        "static_resources": {
            "listeners": [listener("ingress", ingress, mutual(pki)), listener("egress", egress, {})]
        },
    }
    envoy = process.EnvoyProcess(process.find_binary(None), directory, 1, 20)
    envoy.start(json.dumps(document), "test")

    async def ready() -> Engine:
        return Engine(pki, await envoy.listening())

    try:
        yield ready
    finally:
        envoy.stop()
        envoy._child.wait(10)


# --- asking --------------------------------------------------------------------------------------------------------


def headers_of(number: int, request: Request, peers: dict[str, str] | None) -> dict[str, str]:
    """What the classifier would have written."""
    assert request.resource is not None
    found = {
        "x-world": str(number),
        "writ-verdict": "ok",
        "writ-action": request.action,
        "writ-resource": f"{request.resource.kind}/{request.resource.name}",
        "writ-purpose": request.purpose,
        "writ-data-class": str(request.data_class),
        "writ-protocol": request.protocol,
        "writ-path": request.path,
        "writ-stream": str(request.stream).lower(),
    }
    if request.subject_region is not None:
        found["writ-subject-region"] = request.subject_region
    if peers is not None:
        found["writ-peer"] = peers[request.resource.node]
    return found


def connect(engine: Engine, world: World, principal: Principal) -> http.client.HTTPConnection:
    if world.peers is not None:
        return http.client.HTTPConnection("127.0.0.1", engine.ports["egress"], timeout=10)
    context: ssl.SSLContext = tls(leaf_of(engine.pki, principal))
    return http.client.HTTPSConnection("127.0.0.1", engine.ports["ingress"], timeout=10, context=context)


def ask(connection: http.client.HTTPConnection, method: str, headers: dict[str, str]) -> Verdict:
    """What Envoy decided, from the name of the action."""
    connection.request(method, "/", headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    allowed = response.status == 200
    name = response.headers["x-decided"] if allowed else body.removeprefix(DENIED).removesuffix("]")
    verdict = parse(name)
    assert verdict is not None, (response.status, body, name)
    assert (verdict.code is None) == allowed
    return verdict


def same(verdict: Verdict, expected: Decision) -> bool:
    """Envoy names one policy, the evaluator all that caused it."""
    named = verdict.policy in expected.because if expected.because else verdict.policy == ""
    return verdict.code == expected.code and named and verdict.stamp == STAMP


def compare(engine: Engine, held: Sequence[World]) -> Counter[Code | None]:
    """Every request of every world; raises where the engines differ."""
    seen: Counter[Code | None] = Counter()
    for number, world in enumerate(held):
        evaluator = Evaluator(world.rules)
        for principal, asked in world.asked:
            connection = connect(engine, world, principal)
            for request in asked:
                expected = evaluator.decide(request)
                verdict = ask(connection, request.method, headers_of(number, request, world.peers))
                assert same(verdict, expected), (number, verdict, expected, request, world.rules)
                seen[expected.code] += 1
            connection.close()
    return seen


async def agree(directory: Path, seeds: range, **size: int) -> None:
    ingress, egress = worlds(seeds, **size)
    with running(ingress, egress, directory) as ready:
        engine = await ready()
        for held in (ingress, egress):
            seen = compare(engine, held)
            total = sum(seen.values())
            # A comparison of denials alone would prove little.
            assert seen[None] >= total / 5, seen
            assert seen[Code.FORBIDDEN] >= total / 10, seen


async def test_envoy_and_rules_agree(tmp_path: Path) -> None:
    await agree(tmp_path, range(5000, 5030), policies=7, callers=4, per_caller=8)


async def test_what_has_no_verdict_is_denied_whatever_the_rules_say(tmp_path: Path) -> None:
    ingress, egress = worlds(range(5000, 5003), policies=7, callers=1, per_caller=8)
    with running(ingress, egress, tmp_path) as ready:
        engine = await ready()
        for number, world in enumerate(egress):
            principal, asked = world.asked[0]
            connection = connect(engine, world, principal)
            for request in asked:
                headers = headers_of(number, request, world.peers)
                for verdict in ("unheard_of", "ok,ok", "OK", ""):
                    odd = {**headers, "writ-verdict": verdict}
                    assert ask(connection, request.method, odd).code is Code.UNEVALUABLE
                del headers["writ-verdict"]
                assert ask(connection, request.method, headers).code is Code.UNEVALUABLE
            connection.close()
