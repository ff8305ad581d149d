"""What a server keeps for one caller, asked for by another.

A session of MCP has its owner (`agent.envoy.sessions`). What bodies and paths name, answers and tasks and conversations, is
the server's: policy decides on who asks now, and the server is told exactly that.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from bypass.wire import CHAT, CHATS
from sidecar import CALLEE, CALLER, Running, Sidecar

from policies.model import ResourceKey

pytestmark = pytest.mark.timeout(60)

POLICY = """
@id("first-may") permit (principal == Node::"app-1.paris", action, resource);
@id("second-may-less") permit (principal == Node::"app-2.paris", action, resource) when { resource.name != "large" };
"""
KEYS = (
    *(ResourceKey("Model", name, CALLEE) for name in ("ngram", "large")),
    *(ResourceKey("Service", name, CALLEE) for name in ("a2a", "mcp", "openai")),
)
TASK = b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"task-of-first"}}'
SEND = b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"contextId":"c-of-first","taskId":"t"}}}'
KEPT = {
    "an answer": ("POST", "/v1/responses", b'{"model":"ngram","previous_response_id":"resp_of_first"}'),
    "a conversation": ("POST", "/v1/responses", b'{"model":"ngram","conversation":"conv_of_first"}'),
    "a file": ("GET", "/v1/files/file-of-first/content", None),
    "a job": ("GET", "/v1/fine_tuning/jobs/job-of-first", None),
    "a task by JSON-RPC": ("POST", "/a2a", TASK),
    "a context": ("POST", "/a2a", SEND),
    "a task by path": ("GET", "/tasks/task-of-first", None),
    "a task's stream": ("GET", "/tasks/task-of-first:subscribe", None),
}


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    with Running(policy=POLICY, resources=KEYS) as running:
        yield running


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("forged", [[], [("writ-peer", "spiffe://acme.example/fr/paris/app-1")]])
def test_the_server_is_told_who_asks_and_that_is_who_was_decided_on(
    sidecar: Sidecar, outcomes: Counter[tuple[str, str]], kept: str, forged: list[tuple[str, str]]
) -> None:
    method, path, body = KEPT[kept]
    for name in ("app-1", "app-2"):
        leaf = sidecar.pki.node(name, "paris", "FR", CALLER)
        assert sidecar.ask(leaf, method=method, path=path, body=body, headers=forged).allowed
        seen = {key.lower(): value for key, value in sidecar.backend.seen[-1]["headers"].items()}
        assert seen["writ-peer"] == f"spiffe://acme.example/fr/paris/{name}"
    outcomes["state of others 17", "harmless"] += 1


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_what_somebody_else_has_kept_opens_no_model(
    sidecar: Sidecar, outcomes: Counter[tuple[str, str]], field: str
) -> None:
    before, other = len(sidecar.backend.seen), sidecar.pki.node("app-2", "paris", "FR", CALLER)
    body = b'{"model":"large","%s":"of_first"}' % field.encode()
    assert not sidecar.ask(other, path="/v1/responses", body=body).allowed
    assert not sidecar.ask(other, path=CHATS, body=CHAT.replace(b"ngram", b"large")).allowed
    assert len(sidecar.backend.seen) == before
    outcomes["state of others 17", "denied"] += 2


def test_a_session_of_somebody_else_is_denied(sidecar: Sidecar, outcomes: Counter[tuple[str, str]]) -> None:
    given = sidecar.ask(path="/mcp", body=b'{"method":"initialize"}').session
    before, other = len(sidecar.backend.seen), sidecar.pki.node("app-2", "paris", "FR", CALLER)
    for method, body in (("POST", b'{"method":"ping"}'), ("GET", None), ("DELETE", None)):
        named = [("mcp-session-id", given)]
        assert (
            sidecar.ask(other, method=method, path="/mcp", body=body, headers=named).code
            == "claim_not_allowed"
        )
    assert len(sidecar.backend.seen) == before
    outcomes["state of others 17", "denied"] += 3


def test_a_stream_of_somebody_else_is_opened_by_nobody(
    sidecar: Sidecar, outcomes: Counter[tuple[str, str]]
) -> None:
    """Realtime sessions have no name that another request could give: the socket is the session."""
    before, other = len(sidecar.backend.seen), sidecar.pki.node("app-2", "paris", "FR", CALLER)
    upgrade = [("connection", "upgrade"), ("upgrade", "websocket")]
    asked = "/v1/realtime?model=large&session=sess_of_first"
    assert not sidecar.ask(other, method="GET", path=asked, body=None, headers=upgrade).allowed
    assert len(sidecar.backend.seen) == before
    outcomes["state of others 17", "denied"] += 1
