"""The two listeners and what runs in them. Static: a change of policy, peer or certificate never drains one.

Ingress: strip headers, then gate, classify, sessions, forbids, permits, route to the local application.
Egress: strip headers, then classify, gate, forbids, permits, route to the peer. One classifier script for both.
"""

import re
from typing import Any

from agent.envoy import accesslog, classifier, denials, extraction, gate, sessions
from agent.envoy.settings import EnvoySettings

TYPE = "type.googleapis.com/envoy.extensions."
ADS = {"ads": {}, "resource_api_version": "V3"}
CLAIMS = ("writ-purpose", "writ-data-class", "writ-subject-region")
PREFIX = "writ-"
FORGEABLE = (
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "x-http-method-override",  # some servers let these say what the request line has said
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
)
FORGEABLE_PREFIXES = ("x-envoy-", "x-ai-eg-", "x-gateway-")  # what proxies and gateways believe of each other
CURVES = ["X25519MLKEM768", "X25519", "P-256"]  # hybrid first: recorded traffic outlives its secrets


def ingress(settings: EnvoySettings) -> dict[str, Any]:
    """MTLS from peers to the application beside us."""
    classify = [extraction.http_filter(), _classifier(egress=False)]
    classify.append(sessions.http_filter(settings.session_key))
    filters = [_ecds("gate-in"), *classify, _ecds("forbids-in"), _ecds("permits-in")]
    keep = (*CLAIMS, "writ-request-id")
    return {
        "name": "ingress",
        "address": _address(settings.ingress_host, settings.ingress_port),
        "per_connection_buffer_limit_bytes": settings.max_body_bytes,
        "filter_chains": [
            {
                "filters": [_manager(settings, "in", "ingress", filters, keep)],
                "transport_socket": _tls(settings),
            }
        ],
    }


def egress(settings: EnvoySettings) -> dict[str, Any]:
    """Plain HTTP from the local application to peers."""
    classify = [extraction.http_filter(), _classifier(egress=True)]
    filters = [*classify, _ecds("gate-out"), _ecds("forbids-out"), _ecds("permits-out")]
    return {
        "name": "egress",
        "address": _address(settings.egress_host, settings.egress_port),
        "per_connection_buffer_limit_bytes": settings.max_body_bytes,
        "filter_chains": [{"filters": [_manager(settings, "out", "egress", filters, CLAIMS)]}],
    }


def _manager(
    settings: EnvoySettings, direction: str, routes: str, filters: list[dict[str, Any]], keep: tuple[str, ...]
) -> dict[str, Any]:
    log = str(settings.access_log)
    config = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": routes,
        "codec_type": "AUTO",
        "rds": {"route_config_name": routes, "config_source": ADS},
        "http_filters": [*filters, _router(settings, direction)],
        "early_header_mutation_extensions": [_strip(keep)],
        "local_reply_config": denials.local_replies(direction),
        "access_log": accesslog.logs(log, direction),
        "access_log_options": {"access_log_flush_interval": f"{accesslog.OPEN_EVERY_S}s"},
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "strip_any_host_port": direction == "in",
        "use_remote_address": True,
        "forward_client_cert_details": "SANITIZE",
        "generate_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": f"{settings.idle_s}s",
        "request_headers_timeout": "10s",
        # A cut stream must end for the application too, not a second later (Envoy's default).
        "delayed_close_timeout": "0.02s",
        "max_request_headers_kb": 60,
        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
        "http_protocol_options": {"allow_absolute_url": True},
        "http2_protocol_options": {
            "allow_connect": True,  # a WebSocket between sidecars; a route must enable it
            "max_concurrent_streams": 1024,
            "initial_stream_window_size": 1 << 20,
            "initial_connection_window_size": 4 << 20,
        },
        "common_http_protocol_options": {
            "idle_timeout": f"{settings.idle_s}s",
            "max_connection_duration": f"{settings.max_connection_s}s",
            "max_stream_duration": f"{settings.max_stream_s}s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _strip(keep: tuple[str, ...]) -> dict[str, Any]:
    """Before anything runs, remove every header that would be believed if it came from outside: of ours all but `keep`; and
    say what the classifier and the rules ask for that Envoy knows: time, path, and all that precedes a body in one.
    """
    ours = {"safe_regex": {"regex": PREFIX + _other_than({name.removeprefix(PREFIX) for name in keep})}}
    said = (
        (gate.NOW, "%START_TIME(%s)%"),
        ("writ-path", "%PATH(NQ:PATH)%"),
        (classifier.KEY, classifier.NONE),  # what stands for an absent header in the next
        (classifier.KEY, classifier.key()),
    )
    config = {
        "@type": TYPE + "http.early_header_mutation.header_mutation.v3.HeaderMutation",
        "mutations": [
            {"remove_on_match": {"key_matcher": ours}},
            *({"remove": name} for name in FORGEABLE),
            *({"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in FORGEABLE_PREFIXES),
            *(_say(name, value) for name, value in said),
        ],
    }
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": config}


def _say(name: str, value: str) -> dict[str, Any]:
    header = {"key": name, "value": value}
    return {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


def _other_than(words: set[str]) -> str:
    """A pattern of every text that is none of `words`, letter by letter: RE2 cannot look ahead."""
    heads = sorted({word[0] for word in words if word})
    ways = [re.escape(head) + _other_than({word[1:] for word in words if word[:1] == head}) for head in heads]
    ways.append(f"[^{''.join(map(re.escape, heads))}].*" if heads else ".+")
    if "" not in words:
        ways.append("")  # a beginning of one is not one
    return f"(?:{'|'.join(ways)})"


def _classifier(*, egress: bool) -> dict[str, Any]:
    config = {
        "@type": TYPE + "filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": classifier.source(egress=egress)},
    }
    return {"name": "envoy.filters.http.lua", "typed_config": config}


def _ecds(name: str) -> dict[str, Any]:
    """A filter that comes over xDS. No default: without it every request is answered 500, and nothing passes."""
    return {
        "name": name,
        "config_discovery": {
            "config_source": {**ADS, "initial_fetch_timeout": "15s"},
            "type_urls": [TYPE + "filters.http.rbac.v3.RBAC"],
        },
    }


def _router(settings: EnvoySettings, direction: str) -> dict[str, Any]:
    config = {
        "@type": TYPE + "filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
        "upstream_log": [accesslog.up(str(settings.access_log), direction)],
        "upstream_log_options": {"flush_upstream_log_on_upstream_stream": True},
    }
    return {"name": "envoy.filters.http.router", "typed_config": config}


def _tls(settings: EnvoySettings) -> dict[str, Any]:
    prefix = f"spiffe://{settings.trust_domain}/"
    config = {
        "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        # A resumed session was accepted with a certificate that had expired.
        "disable_stateless_session_resumption": True,
        "disable_stateful_session_resumption": True,
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
                "ecdh_curves": CURVES,
            },
            "tls_certificate_sds_secret_configs": [{"name": "identity", "sds_config": ADS}],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": prefix}}]
                },
                "validation_context_sds_secret_config": {"name": "peers", "sds_config": ADS},
            },
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
