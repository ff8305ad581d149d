"""A session belongs to the caller that it was given to, and its server never sees how that is known."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pki import Leaf
from sidecar import CALLEE, CALLER, Answer, Backend, Running, Sidecar

from agent.envoy import sessions
from policies.model import ResourceKey

LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
ME = "spiffe://acme.example/fr/paris/app-1"
POLICY = '@id("all") permit (principal, action, resource);'
pytestmark = pytest.mark.timeout(60)


class Mcp(Backend):
    """Names a session in every answer."""

    given = "s-1"

    def head(self, _seen: dict[str, Any]) -> tuple[int, dict[str, str]]:
        return 200, {"mcp-session-id": self.given}


@dataclass
class Place:
    """A sidecar before a server that knows sessions."""

    sidecar: Sidecar
    server: Mcp
    other: Leaf = field(init=False)

    def __post_init__(self) -> None:
        self.other = self.sidecar.pki.node("app-2", "paris", "FR", CALLER)

    def ask(self, session: str, leaf: Leaf | None = None, *, method: str = "POST") -> Answer:
        headers = [("mcp-session-id", session)] if session else []
        body = LIST if method == "POST" else None
        return self.sidecar.ask(leaf, method=method, path="/mcp", body=body, headers=headers)

    def seen(self) -> str | None:
        found: str | None = self.server.seen[-1]["headers"].get("mcp-session-id")
        return found


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    server = Mcp()
    keys = (ResourceKey("Service", "mcp", CALLEE),)
    with Running(policy=POLICY, resources=keys, backend_port=server.server_port) as sidecar:
        yield Place(sidecar, server)
    server.shutdown()
    server.server_close()


@pytest.fixture
def session(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Mcp, "given", "s-1")
    answer = place.ask("")
    assert (answer.allowed, place.seen()) == (True, None)
    return answer.session


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_whoever_was_given_a_session_uses_it(place: Place, session: str, method: str) -> None:
    assert session != "s-1"
    assert place.ask(session, method=method).session == session
    assert place.seen() == "s-1"


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_stolen_session_is_denied_and_the_server_hears_nothing(
    place: Place, session: str, method: str
) -> None:
    before = len(place.server.seen)
    assert place.ask(session, place.other, method=method) == Answer(403, "claim_not_allowed")
    assert len(place.server.seen) == before
    assert place.ask("", place.other).session != session


@pytest.mark.parametrize(
    "change",
    [
        lambda session: "s-1",
        lambda session: "s-2" + session[3:],
        lambda session: session[:-1],
        lambda session: session + "0",
        lambda session: session.upper(),
        lambda session: session + "." + session.partition(".")[2],
        lambda session: session[3:],
        lambda session: f"{session}, {session}",
        lambda session: "s-1." + "0" * 64,
    ],
)
def test_a_session_that_was_never_given_is_denied(place: Place, session: str, change) -> None:
    before = len(place.server.seen)
    assert place.ask(change(session)) == Answer(403, "claim_not_allowed")
    assert len(place.server.seen) == before


@pytest.mark.parametrize("length", [1, 17, 18, 19, 55, 64, 81, 82, 83, 128, 512])
def test_the_seal_is_hmac_sha256_over_caller_and_session(place: Place, monkeypatch, length: int) -> None:
    """At every length at which a block begins or ends."""
    monkeypatch.setattr(Mcp, "given", "~" * length)
    key = (place.sidecar.directory / "session.key").read_bytes()
    seal = hmac.new(key, f"{ME}\n{'~' * length}".encode(), "sha256").hexdigest()
    assert place.ask("").session == f"{'~' * length}.{seal}"
    assert place.ask(f"{'~' * length}.{seal}").allowed


def test_a_session_of_endless_length_is_denied(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(Mcp, "given", "~" * 513)
    assert place.ask(place.ask("").session).code == "claim_not_allowed"


def test_a_node_keeps_its_key_and_replaces_one_that_is_broken(tmp_path: Path) -> None:
    first = sessions.key(tmp_path)
    assert sessions.key(tmp_path) == first
    (tmp_path / "session.key").write_bytes(first[:-1])
    assert len(sessions.key(tmp_path)) == len(first)
    assert (tmp_path / "session.key").stat().st_mode & 0o777 == 0o600


def test_the_server_is_told_who_calls(place: Place) -> None:
    place.ask("")
    assert place.server.seen[-1]["headers"]["writ-peer"] == ME
    place.ask("", place.other)
    assert place.server.seen[-1]["headers"]["writ-peer"] == "spiffe://acme.example/fr/paris/app-2"
