"""What Envoy reads when it starts: who it is, where the agent's xDS socket is, the two listeners. JSON."""

import json
from typing import Any

from agent.envoy import listeners
from agent.envoy.settings import EnvoySettings

TYPE = "type.googleapis.com/envoy.extensions."
# A restarted agent's first word may be a revocation: Envoy's default would let it wait up to 30 s.
RECONNECT = {"base_interval": "0.02s", "max_interval": "0.5s"}


def render(settings: EnvoySettings) -> str:
    """The bootstrap file."""
    return json.dumps(_document(settings))


def _document(settings: EnvoySettings) -> dict[str, Any]:
    ads = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {"envoy_grpc": {"cluster_name": "agent", "retry_policy": {"retry_back_off": RECONNECT}}}
        ],
    }
    return {
        "node": {
            "id": settings.spiffe_id,
            "cluster": settings.trust_domain,
            "metadata": {"boot": settings.boot},
        },
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "dynamic_resources": {"ads_config": ads, "cds_config": {"ads": {}, "resource_api_version": "V3"}},
        "static_resources": {
            "listeners": [listeners.ingress(settings), listeners.egress(settings)],
            "clusters": [_agent(settings)],
        },
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [{"prefix": p} for p in STATS]}}},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": RUNTIME}]},
    }


# Envoy's bound on patterns is for those of strangers: ours are written here, and RE2 is linear.
RUNTIME = {"re2.max_program_size.error_level": 1000, "re2.max_program_size.warn_level": 1000}
STATS = (
    "http.ingress",
    "http.egress",
    "filesystem",
    "server",
    "listener",
    "cluster_manager",
    "control_plane",
)


def _agent(settings: EnvoySettings) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(settings.xds_socket)}}}}
    http2 = {
        "@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": "agent",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "agent", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }
