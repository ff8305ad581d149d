"""The lines Envoy writes, as JSON: one when a stream has ended, and while it is open, so that it can be ended.

A request that asks for a streamed answer is written down when it gets its upstream; every other when it has been open for
a second, and each second after. These lines name the loopback sockets and carry what was decided on. A quick request is one
line: each line costs both Envoy and the agent. Keys are short for the same reason; `k` is Envoy's own name of the moment.
"""

from typing import Any

ENDED = "DownstreamEnd"
OPEN = frozenset({"UpstreamPoolReady", "DownstreamPeriodic"})
OPEN_EVERY_S = 1  # how often a stream that is open says so
COMMON = {
    "id": "%REQ(writ-request-id)%",
    "t": "%START_TIME(%s.%3f)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(writ-path)%",
    "verdict": "%REQ(writ-verdict)%",
    "protocol": "%REQ(writ-protocol)%",
    "action": "%REQ(writ-action)%",
    "resource": "%REQ(writ-resource)%",
    "body": "%REQ(writ-body)%",
    "stream": "%REQ(writ-stream)%",
    "purpose": "%REQ(writ-purpose)%",
    "class": "%REQ(writ-data-class)%",
    "region": "%REQ(writ-subject-region)%",
    "src": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "upl": "%UPSTREAM_LOCAL_ADDRESS%",
    "upr": "%UPSTREAM_REMOTE_ADDRESS%",
}
END = {
    "ms": "%DURATION%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "rbac": "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%",
    "rx": "%BYTES_RECEIVED%",
    "tx": "%BYTES_SENT%",
    "cx": "%CONNECTION_ID%",
}
PEER = {
    "in": {
        "peer": "%DOWNSTREAM_PEER_URI_SAN%",
        "subject": "%DOWNSTREAM_PEER_SUBJECT%",
        "serial": "%DOWNSTREAM_PEER_SERIAL%",
        "tls": "%DOWNSTREAM_TLS_VERSION%",
    },
    "out": {
        "peer": "%REQ(writ-peer)%",
        "subject": "%UPSTREAM_PEER_SUBJECT%",
        "serial": "",
        "tls": "%UPSTREAM_TLS_VERSION%",
    },
}


def end(path: str, boot: str, direction: str) -> dict[str, Any]:
    """The log of ended streams of one listener."""
    return _file(
        path, {"k": "%ACCESS_LOG_TYPE%", "boot": boot, "dir": direction, **COMMON, **PEER[direction], **END}
    )


def up(path: str, boot: str, direction: str) -> dict[str, Any]:
    """The log of streamed answers that got an upstream connection, of one router."""
    log = _file(path, {"k": "%ACCESS_LOG_TYPE%", "boot": boot, "dir": direction, **COMMON, **PEER[direction]})
    streamed = {"name": "writ-stream", "string_match": {"exact": "true"}}
    return {**log, "filter": {"header_filter": {"header": streamed}}}


def _file(path: str, fields: dict[str, str]) -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {
                "json_format": fields,
                "formatters": [],
                "omit_empty_values": True,
            },
        },
    }
