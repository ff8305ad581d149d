"""The peers of `datapath`: the same two Envoys with the same certificates, plain mTLS, no access log, no filters; and the same
with ext_authz at both ends to a small Python service.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agent.envoy import process
from benchmarks.mesh import CALLEE, CALLER
from controlplane.cli.demo.mesh import Mesh

TYPE = "type.googleapis.com/envoy.extensions."


@contextlib.contextmanager
def pair(
    directory: Path,
    mesh: Mesh,
    backend: int,
    *,
    authorise: bool = False,
    name: str = "plain",
    filters: Sequence[dict[str, Any]] = (),
) -> Iterator[int]:
    """Two plain Envoys; the port of the first. `filters` run at the second, the authoriser is asked by both."""
    place = directory / ("asked" if authorise else name)
    place.mkdir()
    running: list[subprocess.Popen[bytes]] = []
    try:
        authoriser = place / "authz.sock"
        if authorise:
            service = str(Path(__file__).with_name("authoriser.py"))
            running.append(subprocess.Popen([sys.executable, service, str(authoriser)]))
            while not authoriser.exists():
                time.sleep(0.01)
        asking = [_ext_authz()] if authorise else []
        inner = _envoy(
            place,
            "callee",
            _tls_in(mesh, CALLEE, place),
            _cluster(backend),
            [*asking, *filters],
            authoriser,
            running,
        )
        outer = _envoy(
            place,
            "caller",
            None,
            {**_cluster(inner), **_tls_out(mesh, CALLER, place)},
            asking,
            authoriser,
            running,
        )
        yield outer
    finally:
        for one in running:
            one.kill()
            one.wait()


def _envoy(
    place: Path,
    name: str,
    transport: dict[str, Any] | None,
    cluster: dict[str, Any],
    filters: list[dict[str, Any]],
    authoriser: Path,
    running: list["subprocess.Popen[bytes]"],
) -> int:
    document = {
        "admin": {"address": {"pipe": {"path": str(place / f"{name}.sock")}}},
        "static_resources": {
            "listeners": [_listener(name, transport, filters)],
            "clusters": [cluster, *([_authorisers(authoriser)] if authoriser.exists() else [])],
        },
    }
    config = place / f"{name}.json"
    config.write_text(json.dumps(document))
    command = [str(process.find_binary(None)), "-c", str(config), "-l", "error"]
    command += ["--disable-hot-restart", "--concurrency", "1"]
    running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
    return _port(place / f"{name}.sock")


def _listener(name: str, transport: dict[str, Any] | None, filters: list[dict[str, Any]]) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}
    router = {"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*filters, router],
    }
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    if transport:
        chain["transport_socket"] = transport
    return {"name": name, "address": _address(0), "filter_chains": [chain]}


def _authorisers(socket: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "name": "authz",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "authz", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _port(admin: Path) -> int:
    while True:
        with contextlib.suppress(Exception):
            listed = json.loads(process.ask(str(admin), "GET", "/listeners?format=json"))
            return int(listed["listener_statuses"][0]["local_address"]["socket_address"]["port_value"])
        time.sleep(0.02)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": "next",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "next", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _context(mesh: Mesh, node: str, place: Path) -> dict[str, Any]:
    """The node's own certificate, TLS 1.3, peers anchored at the node CA."""
    from agent import identity

    root = (mesh.nodes[node].state / "root.der").read_bytes()
    mine = identity.load(mesh.nodes[node].state, root, int(time.time()))
    if mine is None:
        raise SystemExit(f"`{node}` has no identity")
    files = {"key": mine.key_pem, "chain": mine.chain_pem, "ca": identity.pem(mine.chain[1])}
    for name, data in files.items():
        (place / f"{node}.{name}").write_bytes(data)
    path = {name: {"filename": str(place / f"{node}.{name}")} for name in files}
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [{"private_key": path["key"], "certificate_chain": path["chain"]}],
        "validation_context": {"trusted_ca": path["ca"]},
    }


def _tls_in(mesh: Mesh, node: str, place: Path) -> dict[str, Any]:
    context = {
        "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
    }
    return {"name": "tls", "typed_config": {**context, "common_tls_context": _context(mesh, node, place)}}


def _tls_out(mesh: Mesh, node: str, place: Path) -> dict[str, Any]:
    context = {"@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext"}
    http2 = {
        "@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "transport_socket": {
            "name": "tls",
            "typed_config": {**context, "common_tls_context": _context(mesh, node, place)},
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }


def _ext_authz() -> dict[str, Any]:
    config = {
        "@type": TYPE + "filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "http_service": {"server_uri": {"uri": "http://authz", "cluster": "authz", "timeout": "1s"}},
        "allowed_headers": {"patterns": [{"prefix": "writ-"}]},
        "with_request_body": {"max_request_bytes": 65536},
    }
    return {"name": "ext_authz", "typed_config": config}
