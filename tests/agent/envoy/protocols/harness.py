"""One sidecar that is its own peer, before servers that answer what the clients expect: for captures and their replay."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import captured
import grpc
from captured import Captured
from grpc_backend import GrpcBackend
from pki import CLINICAL
from sidecar import CALLEE, Backend, Running, Sidecar

from policies.model import ResourceKey

KEYS = tuple(
    ResourceKey(kind, name, CALLEE)
    for kind, name in (
        ("Model", "ngram"),
        ("Model", "other"),
        ("Tool", "add"),
        ("Tool", "other"),
        ("Dataset", "note://one"),
        ("Dataset", "ask"),
        *(("Service", name) for name in ("openai", "oip", "flower", "mcp", "a2a", "http", "x.Y")),
    )
)
POLICY = """
@id("all-but-one-model") permit (principal, action, resource is Model) when { resource.name == "ngram" };
@id("all-but-one-tool") permit (principal, action, resource is Tool) when { resource.name == "add" };
@id("data") permit (principal, action, resource is Dataset);
@id("services") permit (principal, action, resource is Service);
@id("no-administration") forbid (principal, action == Action::"admin", resource == Service::"a2a@gpu-1.berlin");
"""


def running(port: int) -> Running:
    """Claims need not be made: the node has one purpose and one region."""
    return Running(policy=POLICY, resources=KEYS, attributes=CLINICAL, loop=True, backend_port=port)


class Answering(Backend):
    """Answers so that each client goes on."""

    def answer(self, seen: dict[str, Any]) -> tuple[str, bytes]:
        path, body = seen["path"], seen["body"]
        if path.startswith("/v1/fleet/"):
            return "application/protobuf", b""
        if '"stream":true' in body or path.endswith(":stream"):
            return "text/event-stream", b""
        if path == "/a2a":
            return self._called(json.loads(body))
        if path.endswith("/infer"):
            return "application/json", b'{"model_name":"ngram","outputs":[]}'
        return "application/json", b'{"object":"list","data":[{"embedding":[0.5]}]}' if path.startswith(
            "/v1/"
        ) else b"{}"

    def _called(self, call: dict[str, Any]) -> tuple[str, bytes]:
        if "Streaming" in call["method"]:
            return "text/event-stream", b""
        return "application/json", json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": {}}).encode()


@dataclass(frozen=True)
class Reply:
    """What the application was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Place:
    """A sidecar before each server: sends as an application does, and tells what the server and the policies saw."""

    web: Sidecar
    rpc: Sidecar
    server: GrpcBackend
    given: list[str] = field(default_factory=list)
    """Sessions, as the application was told of them: other ones than were captured."""

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
        """Headers with `_` for `-`."""
        return self.send(
            method, target, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )

    def send(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.egress_port, timeout=20)
        try:
            connection.request(method, target, body, {**headers, "Host": f"{CALLEE}.mesh"})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def call(self, one: Captured) -> grpc.Call | None:
        """None: it went through. Else how it was denied."""
        options = [("grpc.default_authority", f"{CALLEE}.mesh")]
        with grpc.insecure_channel(f"127.0.0.1:{self.rpc.egress_port}", options) as channel:
            metadata = [
                (name, value) for name, value in one.headers if not name.startswith(("grpc-", "user-"))
            ]
            try:
                list(channel.stream_stream(one.target)(iter(one.messages), metadata=metadata, timeout=10))
            except grpc.RpcError as denied:
                return denied
        return None

    def replay(self, client: str) -> list[tuple[str, str]]:
        """Each request of a client, and what it is; a denied one never reached the server."""
        return [(f"{one.method} {one.target}", self._replayed(one)) for one in captured.load(client)]

    def _replayed(self, one: Captured) -> str:
        seen = self.server.seen if one.is_grpc else self.web.backend.seen
        before = len(seen)
        headers = dict(one.headers)
        if "mcp-session-id" in headers:
            headers["mcp-session-id"] = self.given[-1]
        if one.is_grpc:
            if self.call(one):
                assert len(seen) == before
                return "denied"
            assert seen[-1].messages == list(one.messages)
            return described(seen[-1].metadata)
        reply = self.send(one.method, one.target, one.body or None, headers)
        self.given.extend(filter(None, [reply.headers.get("mcp-session-id")]))
        if reply.status != http.client.OK:
            assert len(seen) == before
            return "denied"
        assert (seen[-1]["path"], seen[-1]["body"].encode("latin-1")) == (one.target, one.body)
        return described({name.lower(): value for name, value in seen[-1]["headers"].items()})


def described(headers: Mapping[str, str]) -> str:
    """What the callee's policies decided on: protocol, action, resource, body, and whether it is a stream."""
    words = [headers[f"writ-{name}"] for name in ("protocol", "action", "resource", "body")]
    return " ".join([*words, "stream"] if headers["writ-stream"] == "true" else words)
