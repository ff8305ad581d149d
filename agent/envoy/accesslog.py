"""The lines Envoy writes, as JSON: one when a stream has ended, and while it is open, so that it can be ended.

A request that asks for a streamed answer is written down when it gets its upstream; every other when it has been open for
a second, and each second after. These lines name the loopback sockets and carry what was decided on. A quick request is one
line: each line, and each field of it, costs both Envoy and the agent. Keys are short for the same reason.
"""

from typing import Any

ENDED, OPEN = "end", "open"
OPEN_EVERY_S = 1  # how often a stream that is open says so
ID = {"in": "writ-request-id", "out": "x-request-id"}
"""The header with the id of a request: the caller's Envoy makes it and tells the callee's."""
COMMON = {
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(writ-path)%",
    "protocol": "%REQ(writ-protocol)%",
    "action": "%REQ(writ-action)%",
    "resource": "%REQ(writ-resource)%",
    "stream": "%REQ(writ-stream)%",
    "purpose": "%REQ(writ-purpose)%",
    "class": "%REQ(writ-data-class)%",
    "region": "%REQ(writ-subject-region)%",
}
SOCKETS = {
    "args": "%REQ(writ-arguments)%",  # only while a stream is open, and read by the agent alone: no record has them
    "src": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "upl": "%UPSTREAM_LOCAL_ADDRESS%",
    "upr": "%UPSTREAM_REMOTE_ADDRESS%",
}
RESULT = {
    "0t": "%START_TIME(%s.%3f)%",
    "body": "%REQ(writ-body)%",
    "0ms": "%DURATION%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "rbac": "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%",
    "0rx": "%BYTES_RECEIVED%",
    "0tx": "%BYTES_SENT%",
}
PEER = {
    "in": {"peer": "%DOWNSTREAM_PEER_URI_SAN%", "subject": "%DOWNSTREAM_PEER_SUBJECT%"},
    "out": {"peer": "%REQ(writ-peer)%", "subject": "%UPSTREAM_PEER_SUBJECT%"},
}
CERTIFICATE = {
    "in": {"serial": "%DOWNSTREAM_PEER_SERIAL%", "tls": "%DOWNSTREAM_TLS_VERSION%"},
    "out": {"tls": "%UPSTREAM_TLS_VERSION%"},
}


def logs(path: str, direction: str) -> list[dict[str, Any]]:
    """The logs of one listener: streams that ended, and those that have been open for a while."""
    ended = {"1k": ENDED, **_common(direction), **PEER[direction], **CERTIFICATE[direction], **RESULT}
    return [
        _file(path, ended, _moment("DownstreamEnd")),
        _file(path, _open(direction), _moment("DownstreamPeriodic")),
    ]


def up(path: str, direction: str) -> dict[str, Any]:
    """The log of streamed answers that got an upstream connection, of one router. It would be told of their end too."""
    streamed = {"header_filter": {"header": {"name": "writ-stream", "string_match": {"exact": "true"}}}}
    return _file(
        path, _open(direction), {"and_filter": {"filters": [_moment("UpstreamPoolReady"), streamed]}}
    )


def _open(direction: str) -> dict[str, str]:
    return {"1k": OPEN, **_common(direction), **PEER[direction], **SOCKETS}


def _common(direction: str) -> dict[str, str]:
    return {"0id": f"%REQ({ID[direction]})%", "dir": direction, **COMMON}


def _moment(kind: str) -> dict[str, Any]:
    return {"log_type_filter": {"types": [kind]}}


def _file(path: str, fields: dict[str, str], when: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.file",
        "filter": when,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"json_format": fields, "omit_empty_values": True},
        },
    }
