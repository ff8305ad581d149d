"""A running Envoy as an engine: many worlds' rules at once, asked over real connections, answering in our words.

World *i* is behind the header `x-world: i`. At ingress the caller is a real certificate over mTLS; at egress it is folded
into the rules. On both, the test writes what the classifier would have written, so that any request can be asked; behind
`bodies` the classifier itself reads the request, so that the body decides.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from envoy.type.matcher.v3 import string_pb2
from pki import TD, Leaf, Pki
from sidecar import tls

from agent import identity
from agent.envoy import authorize, bootstrap, classifier, listeners, pb, process
from agent.envoy.actions import Stamp, Verdict, parse
from certs import keys, spiffe
from certs.attributes import Attributes
from policies.arguments import told
from policies.model import Decision, Principal, Request, Rules

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
    """Where the listeners of a running Envoy are."""

    pki: Pki
    ports: dict[str, int]


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


def routes(name: str, held: Sequence[World]) -> bytes:
    """A file of routes, binary: matcher trees are deeper than JSON readers go."""
    host = components.VirtualHost(name="all", domains=["*"])
    for number, world in enumerate(held):
        host.routes.append(_route(number, world))
    configuration = route_pb2.RouteConfiguration(name=name, virtual_hosts=[host])
    return DiscoveryResponse(version_info="1", resources=[pb.packed(configuration)]).SerializeToString()


def _route(number: int, world: World) -> components.Route:
    is_world = components.HeaderMatcher(
        name="x-world", string_match=string_pb2.StringMatcher(exact=str(number))
    )
    made = components.Route(match=components.RouteMatch(prefix="/", headers=[is_world]))
    made.direct_response.status = 200
    decided = made.response_headers_to_add.add()
    decided.header.key, decided.header.value = "x-decided", NAME
    for part, rbac in (
        ("forbids", authorize.forbids(world.rules, world.peers, STAMP)),
        ("permits", authorize.permits(world.rules, world.peers, STAMP)),
    ):
        made.typed_per_filter_config[part].CopyFrom(pb.packed(RBACPerRoute(rbac=rbac)))
    return made


def _listener(name: str, file: Path, transport: dict[str, Any], *, classify: bool = False) -> dict[str, Any]:
    empty = {"@type": TYPE + "filters.http.rbac.v3.RBAC"}
    script = {
        "@type": TYPE + "filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": classifier.source(egress=False)},
    }
    router = {"@type": TYPE + "filters.http.router.v3.Router"}
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": file.stem, "config_source": source},
        "http_filters": [
            *([{"name": "envoy.filters.http.lua", "typed_config": script}] if classify else []),
            {"name": "forbids", "typed_config": empty},
            {"name": "permits", "typed_config": empty},
            {"name": "router", "typed_config": router},
        ],
        "local_reply_config": {
            "body_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE_DETAILS%"}}
        },
    }
    if classify:
        manager["early_header_mutation_extensions"] = [listeners._strip(listeners.CLAIMS)]
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": address, "filter_chains": [{"filters": filters, **transport}]}


def _mutual(pki: Pki) -> dict[str, Any]:
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
    files = {"ingress": ingress, "egress": egress}
    for name, held in files.items():
        (directory / f"{name}.pb").write_bytes(routes(name, held))
    mutual = _mutual(pki)
    three = [
        _listener("ingress", directory / "ingress.pb", mutual),
        _listener("bodies", directory / "ingress.pb", mutual, classify=True),
        _listener("egress", directory / "egress.pb", {}),
    ]
    document = {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock")}}},
        "static_resources": {"listeners": three},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": bootstrap.RUNTIME}]},
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


def headers_of(request: Request, peers: dict[str, str] | None) -> dict[str, str]:
    """What the classifier would have written."""
    assert request.resource is not None
    found = {
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
    if request.arguments is not None and request.arguments.read is not None:
        found["writ-arguments"] = told(dict(request.arguments.given), request.arguments.read)
    if peers is not None:
        found["writ-peer"] = peers[request.resource.node]
    return found


class Connections:
    """To one world as one caller: one connection per listener and source address, kept open."""

    def __init__(self, engine: Engine, number: int, world: World, principal: Principal) -> None:
        self._engine, self._number, self._world = engine, number, world
        self._tls = tls(leaf_of(engine.pki, principal)) if world.peers is None else None
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._open.values():
            one.close()

    def decide(self, request: Request) -> Verdict:
        """Everything but the certificate as the classifier would have written it."""
        listener = "ingress" if self._world.peers is None else "egress"
        return self.ask(listener, request, request.method, "/", headers_of(request, self._world.peers))

    def decide_body(self, request: Request, body: bytes) -> Verdict:
        """Through the classifier: path, claims and body as an application sends them."""
        claims = {"writ-purpose": request.purpose, "writ-data-class": str(request.data_class)}
        if request.subject_region is not None:
            claims["writ-subject-region"] = request.subject_region
        return self.ask("bodies", request, request.method, request.path, claims, body)

    def ask(
        self,
        listener: str,
        request: Request,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None = None,
    ) -> Verdict:
        connection = self._connection(listener, str(request.source_ip or "127.0.0.1"))
        connection.request(method, path, body=body, headers={"x-world": str(self._number), **headers})
        response = connection.getresponse()
        text = response.read().decode()
        allowed = response.status == 200
        name = response.headers["x-decided"] if allowed else text.removeprefix(DENIED).removesuffix("]")
        verdict = parse(name)
        assert verdict is not None, (response.status, text, name)
        assert (verdict.code is None) == allowed
        return verdict

    def _connection(self, listener: str, source: str) -> http.client.HTTPConnection:
        if (listener, source) not in self._open:
            port, origin = self._engine.ports[listener], (source, 0)
            self._open[listener, source] = (
                http.client.HTTPSConnection(
                    "127.0.0.1", port, timeout=10, context=self._tls, source_address=origin
                )
                if self._tls
                else http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=origin)
            )
        return self._open[listener, source]


def same(verdict: Verdict, expected: Decision) -> bool:
    """Envoy names one policy, the evaluator all that caused it."""
    named = verdict.policy in expected.because if expected.because else verdict.policy == ""
    return verdict.code == expected.code and named and verdict.stamp == STAMP
