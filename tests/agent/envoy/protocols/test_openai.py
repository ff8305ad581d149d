"""OpenAI-compatible HTTP: what the `openai` client sends, how it is denied, and the realtime WebSocket."""

import socket

from harness import Place, described
from sidecar import CALLEE


def test_what_the_client_sends_is_what_it_is(place: Place) -> None:
    assert place.replay("openai") == [
        ("POST /v1/chat/completions", "openai chat Model/ngram read"),
        ("POST /v1/chat/completions", "openai chat Model/ngram read stream"),
        ("POST /v1/completions", "openai completion Model/ngram read"),
        ("POST /v1/responses", "openai respond Model/ngram read"),
        ("POST /v1/embeddings", "openai embed Model/ngram read"),
        ("GET /v1/models", "openai discover Service/openai none"),
        ("GET /v1/models/ngram", "openai discover Model/ngram none"),
        ("POST /v1/audio/speech", "openai media Model/ngram read"),
        ("POST /v1/audio/transcriptions", "openai media Service/openai none"),
        ("POST /v1/images/generations", "openai media Model/ngram read"),
        ("POST /v1/files", "openai push Service/openai none"),
        ("GET /v1/files/file-1/content", "openai pull Service/openai none"),
        ("POST /v1/fine_tuning/jobs", "openai train Model/ngram read"),
        ("POST /v1/chat/completions", "denied"),
    ]


def test_a_denial_is_the_error_object_that_the_client_knows(place: Place) -> None:
    reply = place.ask("POST", "/v1/chat/completions", b'{"model":"other"}')
    error = reply.json["error"]
    assert (reply.status, error["code"], error["type"], error["param"]) == (
        403,
        "unknown_resource",
        "writ_denied",
        None,
    )
    assert error["record"] == reply.headers["writ-record-id"]


HANDSHAKE = (
    "GET /v1/realtime?model={model} HTTP/1.1\r\nHost: " + CALLEE + ".mesh\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_a_realtime_websocket_is_the_model_of_its_query_and_opaque(place: Place) -> None:
    with socket.create_connection(("127.0.0.1", place.web.egress_port), timeout=10) as connection:
        connection.sendall(HANDSHAKE.format(model="ngram").encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"frame")
        assert connection.recv(65536) == b"frame"
    seen = {name.lower(): value for name, value in place.web.backend.seen[-1]["headers"].items()}
    assert described(seen) == "openai respond Model/ngram opaque stream"
    assert seen["upgrade"] == "websocket"


def test_a_websocket_to_another_model_or_another_path_is_denied(place: Place) -> None:
    before = len(place.web.backend.seen)
    for line in (HANDSHAKE.format(model="other"), HANDSHAKE.replace("/v1/realtime?model={model}", "/open")):
        with socket.create_connection(("127.0.0.1", place.web.egress_port), timeout=10) as connection:
            connection.sendall(line.encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")
    assert len(place.web.backend.seen) == before
