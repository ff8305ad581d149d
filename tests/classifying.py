"""The classifier alone in a real Envoy, which answers with what was written down."""

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.envoy import bootstrap, classifier, listeners
from agent.envoy.process import EnvoyProcess, find_binary
from policies.model import Principal

TYPE = "type.googleapis.com/envoy.extensions.filters."
SUBJECT = (
    "OU=tier:2,OU=region:fr,OU=region:de,OU=purpose:research,OU=purpose:care,OU=group:clinical,OU=class-floor:1,"
    "OU=class-ceiling:3,C=FR,L=paris,serialNumber=3,O=acme.example,CN=edge-1"
)
NODE = Principal(
    node="edge-1.paris",
    site="paris",
    jurisdiction="FR",
    tier=2,
    groups=frozenset({"clinical"}),
    purposes=frozenset({"care", "research"}),
    regions=frozenset({"fr", "de"}),
    class_floor=1,
    class_ceiling=3,
)
CLAIMS = {"writ-purpose": "care", "writ-data-class": "2", "writ-subject-region": "fr"}
TELL = """
function envoy_on_request(handle)
  local told = {}
  for _, name in ipairs({"verdict", "protocol", "action", "resource", "body", "stream", "path", "purpose", "data-class",
                         "subject-region"}) do
    told[#told + 1] = name .. "=" .. (handle:headers():get("writ-" .. name) or "")
  end
  handle:respond({[":status"] = "200", told = table.concat(told, "|")}, "")
end
"""


def lua(name: str, source: str) -> dict[str, Any]:
    return {
        "name": name,
        "typed_config": {"@type": TYPE + "http.lua.v3.Lua", "default_source_code": {"inline_string": source}},
    }


def listener(name: str) -> dict[str, Any]:
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 500},
        "metadata": {"filter_metadata": {"envoy.filters.http.lua": {"who": f"spiffe://x/y {SUBJECT}"}}},
    }
    manager = {
        "@type": TYPE + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "early_header_mutation_extensions": [listeners._strip(listeners.CLAIMS)],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            lua("envoy.filters.http.lua", classifier.source(egress=True)),
            lua("tell", TELL),
            {"name": "router", "typed_config": {"@type": TYPE + "http.router.v3.Router"}},
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "per_connection_buffer_limit_bytes": 4 << 20,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


@contextlib.contextmanager
def running(directory: Path) -> Iterator[int]:
    """The port of an Envoy that says what the classifier wrote."""
    document = {
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock")}}},
        "static_resources": {"listeners": [listener("ingress"), listener("egress")]},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": bootstrap.RUNTIME}]},
    }
    process = EnvoyProcess(find_binary(None), directory, concurrency=1, flush_ms=50)
    process.start(json.dumps(document), "boot")
    try:
        yield asyncio.run(process.listening())["egress"]
    finally:
        process.stop()
        asyncio.run(process.died())


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> dict[str, str]:
    """Twice: the second time, the classifier knows it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        first, again = (_ask(connection, method, path, body, headers or {}) for _ in range(2))
    finally:
        connection.close()
    assert first == again
    return first


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
):
    connection.request(method, path, body, CLAIMS | headers)
    response = connection.getresponse()
    response.read()
    return read(response)


def read(response: http.client.HTTPResponse) -> dict[str, str]:
    """In a header: an answer to HEAD has no body, and one to gRPC is made by Envoy."""
    return dict(item.split("=", 1) for item in (response.getheader("told") or "").split("|"))


def raw(port: int, path: str, *more: tuple[str, str]) -> bytes:
    """The whole answer to a request that clients would not send."""
    lines = "".join(f"{key}: {value}\r\n" for key, value in [*CLAIMS.items(), *more])
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))
