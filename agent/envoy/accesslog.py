"""The two lines Envoy writes per request, as JSON: `end` when a stream has ended, `up` when it got its upstream.

`up` lines name the loopback sockets of open streams and carry the decision's inputs, so that an open stream can be decided
again, and ended. Keys are short: each is written for every request.
"""

from typing import Any

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
    return _file(path, {"k": "end", "boot": boot, "dir": direction, **COMMON, **PEER[direction], **END})


def up(path: str, boot: str, direction: str) -> dict[str, Any]:
    """The log of streams that got an upstream connection, of one router."""
    return _file(path, {"k": "up", "boot": boot, "dir": direction, **COMMON, **PEER[direction]})


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
